//! What is wrong, as far as the engine knows: findings with a remedy each. The disk and the adapters are looked at elsewhere.

use super::queries::Query;
use crate::api::WatchState;
use crate::types::{Finding, FindingCode, directory_is_gone};

impl Query<'_> {
    /// For `diagnose`: what is wrong here, and with the other PCs, as far as the engine knows. `gone`, `watch`: as for `status`.
    pub(super) fn findings(&self, gone: Option<&str>, watch: WatchState) -> Vec<Finding> {
        let mut found = self.findings_of_peers();
        let mut add = |code, message: String, remedy: &str| found.push(Finding::new(code, message, remedy));
        if let Some(reason) = gone {
            let message = directory_is_gone(self.parts.library.dir(), reason);
            add(
                FindingCode::GameDirectoryGone,
                message,
                "plug the drive in, or mount it; the daemon goes on by itself",
            );
        }
        if watch == WatchState::Polling {
            let message =
                "the system has no file watches left: changes in the game directory are noticed within five minutes";
            add(FindingCode::NoWatches, message.into(), "raise fs.inotify.max_user_watches, and start the daemon anew");
        }
        if self.transfers.is_paused() {
            add(FindingCode::Paused, "all transfers are paused".into(), "let them go on: lanspread resume");
        }
        found
    }

    fn findings_of_peers(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut add = |code, message: String, remedy: &str| found.push(Finding::new(code, message, remedy));
        let peers = &self.parts.peers;
        for (name, addrs) in peers.unreachable() {
            let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
            let message = format!("{name} is seen on the network and does not answer at {}", addrs.join(", "));
            let remedy = "allow lanspread in the firewalls of both PCs, for private and public networks; a guest Wi-Fi may keep PCs apart";
            add(FindingCode::Unreachable, message, remedy);
        }
        match peers.incompatible().len() {
            0 => {}
            count => {
                let message = format!("{count} PCs nearby speak another version of the protocol");
                add(FindingCode::OtherVersion, message, "install the same version of lanspread on all PCs");
            }
        }
        match peers.strangers() {
            0 => {}
            count => {
                let message = format!("{count} PCs nearby have another party key, or only one side has one");
                add(
                    FindingCode::OtherPartyKey,
                    message,
                    "give all PCs of the party the same --party-key-file, or none",
                );
            }
        }
        for row in peers.too_large() {
            let message =
                format!("the list of games of {} is too large and left out", row.hostname.as_deref().unwrap_or("a PC"));
            add(FindingCode::LibraryTooLarge, message, "raise limits.library_bytes in the configuration file");
        }
        if peers.is_alone() {
            let remedy = "check the cable and that all PCs are in one network; allow lanspread in the firewall; or name one: lanspread connect HOST:PORT";
            add(FindingCode::NobodyFound, "no other PC was found".into(), remedy);
        }
        found
    }
}
