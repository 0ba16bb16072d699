//! Events as sentences.

use std::io::{self, Write};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use crate::api::{Operation, PeerEvent};
use crate::types::{GameId, KeptAside};

/// Writes each event as a line until `events` ends. Progress is left out: it belongs to a progress bar.
pub fn serve(mut output: impl Write + Send + 'static, events: Receiver<PeerEvent>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("events".into()).spawn(move || {
        for event in events.iter() {
            if let Some(line) = describe(&event) {
                // A terminal that went away is no reason to stop serving games.
                let _ = writeln!(output, "{line}");
            }
        }
    })
}

/// The event in words; `None` for what is only noise on a terminal. One line, no control characters.
pub fn describe(event: &PeerEvent) -> Option<String> {
    let text = match event {
        PeerEvent::LocalPeerReady { peer_id, listen_addr, control } => {
            let door = control
                .as_ref()
                .map(|url| format!(", control at {url}; `lanspread open` shows the page"))
                .unwrap_or_default();
            format!("ready: {peer_id} on {listen_addr}{door}")
        }
        PeerEvent::PeerDiscovered { peer_id, addr } => format!("peer found: {peer_id} at {addr}"),
        PeerEvent::PeerConnected { peer_id, addr, hostname, game_count } => {
            let name = hostname.clone().unwrap_or_else(|| peer_id.to_string());
            format!("peer connected: {name} at {addr}, {}", games(*game_count))
        }
        PeerEvent::PeerLibraryChanged { peer_id, rev, game_count } => {
            format!("peer {peer_id} now has {} (revision {rev})", games(*game_count))
        }
        PeerEvent::PeerRefused { peer_id, addr, reason } => format!("peer refused: {peer_id} at {addr}: {reason}"),
        PeerEvent::CatalogChanged { games, serial } => format!("new catalog: {games} games, serial number {serial}"),
        PeerEvent::PeerLost { peer_id, reason } => format!("peer gone: {peer_id} ({reason})"),
        PeerEvent::LocalLibraryChanged { rev, games: count, .. } => {
            format!("library here: {} (revision {rev})", games(*count))
        }
        PeerEvent::GameDirectoryGone { reason, .. } => reason.clone(),
        PeerEvent::GameDirectoryBack { path, games: count } => {
            format!("the game directory {} is there again, with {}", path.display(), games(*count))
        }
        PeerEvent::ActiveOperationsChanged { operations } if operations.is_empty() => "nothing is running".into(),
        PeerEvent::ActiveOperationsChanged { operations } => {
            let running = operations.iter().map(|row| {
                let what = match row.operation {
                    Operation::Queued => "waiting to download",
                    Operation::Downloading => "downloading",
                    Operation::Installing => "installing",
                    Operation::Updating => "updating",
                    Operation::Uninstalling => "uninstalling",
                    Operation::Adopting => "adopting",
                    Operation::Removing => "removing",
                    Operation::Verifying => "verifying",
                    Operation::Later => "busy with",
                };
                format!("{what} {}", row.game)
            });
            running.collect::<Vec<_>>().join(", ")
        }
        PeerEvent::GotGameFiles { game, files, bytes } => format!("{game}: {files} files, {}", size(*bytes)),
        PeerEvent::DownloadBegin { game, bytes, sources } => {
            format!("{game}: download of {} from {sources} source(s) begins", size(*bytes))
        }
        // Whoever said it knows it.
        PeerEvent::SettingsChanged { .. }
        | PeerEvent::Traffic { .. }
        | PeerEvent::DownloadChecking { .. }
        | PeerEvent::DownloadProgress { .. }
        | PeerEvent::InstallProgress { .. }
        | PeerEvent::VerifyProgress { .. } => return None,
        PeerEvent::DownloadSourceBanned { game, peer_id, url, reason, chunk } => {
            let source = url.as_ref().map_or_else(|| peer_id.to_string(), ToString::to_string);
            let chunk = chunk.map(|chunk| format!(" (chunk {})", chunk.0)).unwrap_or_default();
            format!("{game}: {source} is not asked any more: {reason}{chunk}")
        }
        PeerEvent::DownloadFinished { game, bytes, duration_ms, mbit_per_s, kept_aside, .. } => {
            let (seconds, bytes) = (*duration_ms as f64 / 1000.0, size(*bytes));
            let aside = self::kept_aside(kept_aside);
            format!("{game}: downloaded and verified, {bytes} in {seconds:.1} s ({mbit_per_s:.0} Mbit/s){aside}")
        }
        PeerEvent::DownloadFailed { game, message, kept_aside, .. } => {
            format!("{game}: download failed: {message}{}", self::kept_aside(kept_aside))
        }
        PeerEvent::InstallBegin { game } => format!("{game}: installation begins"),
        PeerEvent::InstallFinished { game, carried_over, kept_aside, kept_in } => {
            let carried =
                self::carried_over(*carried_over as u64).map_or(String::new(), |carried| format!("; {carried}"));
            format!(
                "{game}: installed{carried}{}{}",
                self::kept_aside(kept_aside),
                self::kept_in(game, kept_in.as_deref())
            )
        }
        PeerEvent::InstallFailed { game, message, .. } => format!("{game}: installation failed: {message}"),
        PeerEvent::UninstallBegin { game } => format!("{game}: the installation is being removed"),
        PeerEvent::UninstallFinished { game, kept_in } => {
            format!("{game}: uninstalled{}", self::kept_in(game, kept_in.as_deref()))
        }
        PeerEvent::UninstallFailed { game, message, .. } => format!("{game}: not uninstalled: {message}"),
        PeerEvent::AdoptBegin { game } => format!("{game}: its installation is being adopted"),
        PeerEvent::AdoptFinished { game } => format!("{game}: its installation is lanspread's now"),
        PeerEvent::AdoptFailed { game, message, .. } => format!("{game}: its installation was not adopted: {message}"),
        PeerEvent::RemoveBegin { game } => format!("{game}: the downloaded files are being removed"),
        PeerEvent::RemoveFinished { game } => format!("{game}: the downloaded files are gone"),
        PeerEvent::RemoveFailed { game, message, .. } => {
            format!("{game}: the downloaded files could not be removed: {message}")
        }
        PeerEvent::VerifyFinished { game, bad_chunks: 0, missing_dirs: 0, chunks } => {
            format!("{game}: all {chunks} chunks are good")
        }
        PeerEvent::VerifyFinished { game, bad_chunks, missing_dirs: 0, chunks } => {
            format!("{game}: {bad_chunks} of {chunks} chunks are damaged; download it again to mend it")
        }
        PeerEvent::VerifyFinished { game, bad_chunks, missing_dirs, chunks } => format!(
            "{game}: {bad_chunks} of {chunks} chunks are damaged and {missing_dirs} empty folders are missing; download it \
             again to mend it"
        ),
        PeerEvent::VerifyFailed { game, message, .. } => format!("{game}: not verified: {message}"),
        PeerEvent::RuntimeError { message, .. } => format!("problem: {message}"),
    };
    // Names and messages may come from the network: none of them may steer the terminal.
    Some(printable(&text))
}

/// The text without anything that could steer a terminal or turn the order of what follows around (control characters;
/// the bidirectional controls of Unicode TR9): each becomes U+FFFD.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether a terminal could do more with it than show it.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Which files of the user's have other names now, as the end of a sentence.
fn kept_aside(files: &[KeptAside]) -> String {
    match files {
        [] => String::new(),
        [one] => format!("; your own {} is now {}", printable(one.file.as_str()), printable(one.kept_as.as_str())),
        [first, more @ ..] => format!(
            "; your own {} is now {}, and {} more files are kept as NAME.mine",
            printable(first.file.as_str()),
            printable(first.kept_as.as_str()),
            more.len()
        ),
    }
}

/// How many files of the user's are in a new installation; `None`: there were none.
pub(super) fn carried_over(count: u64) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 file of your own was carried over".to_owned()),
        more => Some(format!("{more} files of your own were carried over")),
    }
}

/// Where files of the user's are that were in an installation, as the end of a sentence.
fn kept_in(game: &GameId, dir: Option<&str>) -> String {
    dir.map_or(String::new(), |dir| format!("; your own files of it are kept in {game}/{}", printable(dir)))
}

fn games(count: usize) -> String {
    if count == 1 { "1 game".into() } else { format!("{count} games") }
}

/// Bytes with a binary unit and three significant digits or so: `1.20 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 {
        format!("{value:.2} {unit}")
    } else if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ErrorCode;
    use crate::types::PeerId;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1 << 20, "1.00 MiB"),
            (1_288_490_188, "1.20 GiB"),
            (150 << 30, "150 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn text_from_the_network_cannot_steer_the_terminal() {
        let event = PeerEvent::PeerConnected {
            peer_id: PeerId::from_spki_sha256(&[1; 32]),
            addr: "192.168.0.9:7".parse().unwrap(),
            hostname: Some("\u{1b}[2Jevil\r\n".into()),
            game_count: 1,
        };
        let line = describe(&event).unwrap();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains("1 game") && line.contains("192.168.0.9:7"));
        let error = PeerEvent::RuntimeError { code: ErrorCode::Io, message: "a\nb".into() };
        assert!(!describe(&error).unwrap().contains('\n'));
    }
}
