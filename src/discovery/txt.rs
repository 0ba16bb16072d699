//! The TXT record: written here, hostile until parsed here.

use mdns_sd::TxtProperties;

use crate::types::{Epoch, LibraryStamp, MAX_HOSTNAME_BYTES, PeerId, Revision};

use super::DiscoveryConfig;

/// The keys and values of an advertisement.
pub(super) fn write(config: &DiscoveryConfig, stamp: LibraryStamp) -> Vec<(String, String)> {
    let mut out = vec![
        ("peer_id".to_owned(), config.peer_id.to_string()),
        ("proto_ver".to_owned(), config.proto_ver.to_string()),
        ("library_epoch".to_owned(), stamp.epoch.to_string()),
        ("library_rev".to_owned(), stamp.rev.to_string()),
    ];
    if let Some(hostname) = config.hostname.as_deref().and_then(presentable) {
        out.push(("hostname".to_owned(), hostname));
    }
    out
}

/// What a TXT record says.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Txt {
    pub(super) peer_id: PeerId,
    pub(super) proto_ver: u32,
    pub(super) stamp: LibraryStamp,
    pub(super) hostname: Option<String>,
}

/// `None`: not an advertisement of a lanspread daemon. A peer of another version must only say who it is and which
/// version it speaks, since what else it says may have changed.
pub(super) fn parse(properties: &TxtProperties, own_version: u32) -> Option<Txt> {
    let text = |key: &str| std::str::from_utf8(properties.get(key)?.val()?).ok();
    let peer_id = text("peer_id")?.parse().ok()?;
    let proto_ver = u32::try_from(number(text("proto_ver")?)?).ok()?;
    let stamp = || {
        let epoch = text("library_epoch")?.parse().ok()?;
        Some(LibraryStamp { epoch, rev: Revision(number(text("library_rev")?)?) })
    };
    let stamp = match stamp() {
        Some(stamp) => stamp,
        None if proto_ver != own_version => LibraryStamp { epoch: Epoch(0), rev: Revision(0) },
        None => return None,
    };
    Some(Txt { peer_id, proto_ver, stamp, hostname: text("hostname").and_then(presentable) })
}

/// Digits only: `FromStr` would also take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A name that can be shown as it is.
fn presentable(name: &str) -> Option<String> {
    let name = name.trim();
    let ok = !name.is_empty() && name.len() <= MAX_HOSTNAME_BYTES && !name.chars().any(char::is_control);
    ok.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use mdns_sd::IntoTxtProperties;

    use super::*;

    const ID: &str = "01234567-89ab-8def-8123-456789abcdef";

    fn parse_pairs(pairs: &[(&str, &str)]) -> Option<Txt> {
        parse(&pairs.into_txt_properties(), 1)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = DiscoveryConfig::new(ID.parse().unwrap(), 1, 1);
        config.hostname = Some(" Pötzi's PC ".into());
        let stamp = LibraryStamp { epoch: Epoch(7), rev: Revision(u64::MAX) };
        let pairs = write(&config, stamp);
        let txt = parse(&pairs.as_slice().into_txt_properties(), 1).unwrap();
        assert_eq!(txt.stamp, stamp);
        assert_eq!(txt.peer_id, config.peer_id);
        assert_eq!(txt.hostname.as_deref(), Some("Pötzi's PC"));
    }

    #[test]
    fn forged_records_are_not_advertisements() {
        let good = [("peer_id", ID), ("proto_ver", "1"), ("library_epoch", "00000000000000aa"), ("library_rev", "3")];
        assert!(parse_pairs(&good).is_some());
        for (at, value) in [
            (0, "01234567-89ab-4def-8123-456789abcdef"),
            (0, "../../etc/passwd"),
            (0, ""),
            (1, "+1"),
            (1, "4294967296"),
            (1, "-1"),
            (2, "aa"),
            (2, "00000000000000AA"),
            (3, "18446744073709551616"),
            (3, ""),
            (3, " 3"),
        ] {
            let mut forged = good;
            forged[at].1 = value;
            assert_eq!(parse_pairs(&forged), None, "{} = {value:?}", good[at].0);
        }
        for missing in 0..good.len() {
            let mut forged = good.to_vec();
            forged.remove(missing);
            assert_eq!(parse_pairs(&forged), None, "without {}", good[missing].0);
        }
    }

    #[test]
    fn a_peer_of_another_version_needs_only_an_id_and_a_version() {
        let txt = parse_pairs(&[("peer_id", ID), ("proto_ver", "2")]).unwrap();
        assert_eq!((txt.proto_ver, txt.stamp.rev), (2, Revision(0)));
    }

    #[test]
    fn a_name_that_cannot_be_shown_is_left_out() {
        let long = "x".repeat(64);
        for name in ["", "  ", "a\u{1b}[31mb", "a\nb", long.as_str()] {
            assert_eq!(presentable(name), None, "{name:?}");
        }
    }
}
