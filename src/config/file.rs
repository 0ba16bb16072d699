//! The configuration file: its keys outside the tables, the file that `config init` writes, and what counts in the end.

use std::fmt::Display;
use std::path::Path;

use super::settings::{SETTINGS, TABLES};
use super::units::format_rate;
use super::{Config, RunSettings};
use crate::types::CatalogSource;

/// A key of the file outside its tables.
struct Key {
    name: &'static str,
    /// The flags of `run` that set the same, by their clap ids.
    flags: &'static [&'static str],
    /// What it means.
    about: &'static str,
    /// A value, where there is none by default.
    example: &'static str,
    /// The value as TOML; `None`: there is none.
    show: fn(&RunSettings) -> Option<String>,
}

/// Every key outside the tables; `Draft::read_toml_key` reads them, and a test compares the two.
const KEYS: &[Key] = &[
    Key {
        name: "game_dir",
        flags: &["game_dir"],
        about: "Directory of games: one folder for each. Made when it is missing, if nobody names another one.",
        example: "\"~/Games/lanspread\"",
        show: |settings| Some(path(&settings.config.game_dir)),
    },
    Key {
        name: "state_dir",
        flags: &["state_dir"],
        about: "Directory of the identity. Looked at only in a file that --config names: the other one lies in it.",
        example: "\"~/.local/state/lanspread\"",
        show: |settings| Some(path(&settings.config.state_dir)),
    },
    Key {
        name: "hostname",
        flags: &["hostname"],
        about: "Name for people, at most 63 bytes. By default that of the PC.",
        example: "\"Anna's PC\"",
        show: |settings| settings.config.hostname.as_deref().map(quoted),
    },
    Key {
        name: "player",
        flags: &["player"],
        about: "Name of the player, put into the files of installed games that keep one: account_name.txt, SmartSteamEmu.ini.",
        example: "\"Anna\"",
        show: |settings| settings.config.personal.player.as_deref().map(quoted),
    },
    Key {
        name: "language",
        flags: &["language"],
        about: "Language of such games, put into language.txt.",
        example: "\"german\"",
        show: |settings| settings.config.personal.language.as_deref().map(quoted),
    },
    Key {
        name: "catalog",
        flags: &["catalog"],
        about: "Catalog of the party's games: a file, or a URL. Without one every valid game id is admitted.",
        example: "\"http://192.168.0.10/catalog.json\"",
        show: |settings| {
            settings.config.catalog.as_ref().map(|catalog| match catalog {
                CatalogSource::File(file) => path(file),
                CatalogSource::Url(url) => quoted(url),
            })
        },
    },
    Key {
        name: "catalog_key",
        flags: &["catalog_key"],
        about: "Public key of whoever signs the catalog, or a file that holds it: only a catalog with its signature counts.",
        example: "\"catalog.pub\"",
        show: |settings| settings.config.catalog_key.as_ref().map(quoted),
    },
    Key {
        name: "party_key_file",
        flags: &["party_key_file"],
        about: "File with the secret that all PCs of the party share. Without one everybody is let in.",
        example: "\"party.key\"",
        show: |settings| settings.config.party_key_file.as_deref().map(path),
    },
    Key {
        name: "listen",
        flags: &["listen"],
        about: "Addresses to listen on, at most one for each family, with one port. Port 0: a free one.",
        example: "",
        show: |settings| Some(list(&settings.config.listen)),
    },
    Key {
        name: "peers",
        flags: &["peers"],
        about: "Peers to keep connected without multicast, as HOST:PORT.",
        example: "",
        show: |settings| Some(list(&settings.config.static_peers)),
    },
    Key {
        name: "mirrors",
        flags: &["mirrors"],
        about: "Web servers that hand out games: at most 8 URLs.",
        example: "",
        show: |settings| Some(list(&settings.config.mirrors)),
    },
    Key {
        name: "mdns",
        flags: &["no_mdns"],
        about: "Find the other PCs, and be found, by mDNS.",
        example: "",
        show: |settings| Some(settings.config.mdns.to_string()),
    },
    Key {
        name: "swarm",
        flags: &["no_swarm"],
        about: "Hand out and fetch parts of games that are still being downloaded.",
        example: "",
        show: |settings| Some(settings.config.swarm.to_string()),
    },
    Key {
        name: "max_upload",
        flags: &["max_upload"],
        about: "How fast games may go out to the peers: \"unlimited\", or a rate such as \"50MB/s\" or \"400Mbit/s\".",
        example: "",
        show: |settings| Some(rate(settings.config.rates.max_upload)),
    },
    Key {
        name: "max_download",
        flags: &["max_download"],
        about: "How fast games may come in from the peers.",
        example: "",
        show: |settings| Some(rate(settings.config.rates.max_download)),
    },
    Key {
        name: "ping_guard",
        flags: &["no_ping_guard"],
        about: "Slow down before the packets of games have to wait. false: fill the network as congestion control allows.",
        example: "",
        show: |settings| Some(settings.config.ping_guard.to_string()),
    },
    Key {
        name: "control",
        flags: &["control", "no_control"],
        about: "Loopback address of the HTTP door, for the page and for `lanspread status` and the like. false: none. Port 0: a free one.",
        example: "",
        show: |settings| Some(settings.control.map_or_else(|| "false".into(), quoted)),
    },
    Key {
        name: "log",
        flags: &["log"],
        about: "What goes to the log: error, warn, info, debug, trace, or a filter such as \"info,quiche=debug\".",
        example: "",
        show: |settings| Some(quoted(&settings.log)),
    },
];

/// One setting, as it counts in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// `hostname`, `limits.downloads`.
    pub key: &'static str,
    /// As TOML; `None`: there is none.
    pub value: Option<String>,
    /// The flags of `run` that set the same, by their clap ids.
    pub flags: &'static [&'static str],
}

/// Every setting with its value, in the order of the file.
pub fn values(settings: &RunSettings) -> Vec<Value> {
    let keys = KEYS.iter().map(|key| Value { key: key.name, value: (key.show)(settings), flags: key.flags });
    let tables = SETTINGS.iter().map(|setting| {
        let flags: &[&str] = if setting.key == "limits.max_watches" { &["max_watches"] } else { &[] };
        Value { key: setting.key, value: Some((setting.show)(&settings.config)), flags }
    });
    keys.chain(tables).collect()
}

/// The known key whose name is most like that of `written`, if one is.
pub(super) fn like(written: &str) -> Option<&'static str> {
    let name = |key: &'_ str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let keys = KEYS.iter().map(|key| key.name).chain(SETTINGS.iter().map(|setting| setting.key));
    let alike = keys.map(|key| (strsim::jaro_winkler(&name(written), &name(key)), key));
    alike.filter(|(alike, _)| *alike > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
}

/// A configuration file in which every setting stands with what it means and its default, each behind a `#`.
pub fn commented() -> String {
    let defaults = RunSettings::defaults();
    let mut text = String::from(
        "# The configuration of lanspread. Every setting stands here with its default; take the # away in front of one to change it.\n\
         # A flag of `lanspread run` and its variable in the environment win over this file. `lanspread config check` reads it over.\n\
         # Relative paths are relative to this file, and ~ is your home.\n",
    );
    for key in KEYS {
        let shown = if key.example.is_empty() { (key.show)(&defaults) } else { None };
        comment(&mut text, key.about);
        text += &format!("#{} = {}\n", key.name, shown.as_deref().unwrap_or(key.example));
    }
    for (table, purpose) in TABLES {
        comment(&mut text, &purpose.concat());
        text += &format!("[{table}]\n");
        for setting in SETTINGS {
            let Some(name) = setting.key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')) else { continue };
            comment(&mut text, &format!("{} Accepted: {}.", setting.about.concat().trim(), setting.form));
            text += &format!("#{name} = {}\n", (setting.show)(&defaults.config));
        }
    }
    text
}

/// A paragraph of comment, at most 100 columns wide, behind an empty line.
fn comment(text: &mut String, words: &str) {
    const WIDTH: usize = 100;
    let mut line = String::from("\n#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            *text += &line;
            line = String::from("\n#");
        }
        line += " ";
        line += word;
    }
    *text += &line;
    *text += "\n";
}

fn path(path: &Path) -> String {
    quoted(path.display())
}

fn quoted(value: impl Display) -> String {
    // What JSON escapes, and how, is a part of what a basic string of TOML may.
    serde_json::Value::from(value.to_string()).to_string()
}

fn list<T: Display>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn rate(rate: Option<u64>) -> String {
    quoted(rate.map_or_else(|| "unlimited".into(), format_rate))
}

impl RunSettings {
    /// What counts when nobody says anything; the directories are empty.
    fn defaults() -> Self {
        Self {
            config: Config::new(Default::default(), Default::default()),
            make_game_dir: false,
            is_default_game_dir: true,
            jsonl: false,
            control: Some(super::DEFAULT_CONTROL),
            log: super::DEFAULT_LOG.into(),
            file: None,
            in_file: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_run_sets_a_key_or_is_about_the_start() {
        let command = <super::super::RunArgs as clap::Args>::augment_args(clap::Command::new("run"));
        let about_the_start = ["create", "config", "jsonl", "set", "max_watches"];
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let known = KEYS.iter().any(|key| key.flags.contains(&id));
            assert!(known || about_the_start.contains(&id), "the flag {id} has no key in the file");
        }
        for flag in KEYS.iter().flat_map(|key| key.flags) {
            assert!(command.get_arguments().any(|arg| arg.get_id() == flag), "there is no flag {flag}");
        }
    }

    #[test]
    fn a_misspelt_key_is_recognised() {
        for (written, meant) in [
            ("max_uplaod", Some("max_upload")),
            ("gamedir", Some("game_dir")),
            ("timers.run_stal", Some("timers.run_stall")),
            ("downloads", Some("limits.downloads")),
            ("limits.mirrors", Some("mirrors")),
            ("limits.colour", None),
            ("colour", None),
        ] {
            assert_eq!(like(written), meant, "{written}");
        }
    }
}
