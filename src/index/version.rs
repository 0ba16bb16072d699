//! What a `version.ini` says.

use crate::types::MAX_VERSION_BYTES;

/// The version that the bytes of a `version.ini` state: the value of the first line `version = …` (any case, spaces
/// around key and value do not count), else the first line without the spaces around it. An empty file states the
/// empty version, which is a version like any other: the game is there, nobody said which one it is.
///
/// The text is UTF-8, or UTF-16 with a byte order mark (as the editor of Windows may write it); what is not valid in it
/// is replaced by U+FFFD, because a remark in an old code page must not hide the version beside it.
///
/// # Errors
/// In words, when the version is longer than 128 bytes or holds control characters.
pub fn parse_version(bytes: &[u8]) -> Result<String, &'static str> {
    let text = decode(bytes);
    let lines = || text.split(['\n', '\r']).map(str::trim);
    let version = lines().find_map(value_of_version).or_else(|| lines().next()).unwrap_or_default();
    if version.len() > MAX_VERSION_BYTES {
        return Err("version.ini states a version that is longer than 128 bytes");
    }
    if version.chars().any(char::is_control) {
        return Err("version.ini states a version with control characters");
    }
    Ok(version.to_owned())
}

fn value_of_version(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    key.trim_end().eq_ignore_ascii_case("version").then(|| value.trim())
}

fn decode(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::MAX_SENTINEL_BYTES;

    fn version(text: &str) -> String {
        parse_version(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_key_wins_over_the_first_line_wherever_it_stands() {
        assert_eq!(version("20240131\n"), "20240131");
        assert_eq!(version("[game]\r\n  Version =  1.06 b \r\nversion=2"), "1.06 b");
        assert_eq!(version("; version notes\nVERSION=1=2"), "1=2");
        assert_eq!(version("conversion=7\nsubversion = 8"), "conversion=7");
        assert_eq!(version("version="), "");
        assert_eq!(version(""), "");
        assert_eq!(version("\nsecond line"), "");
    }

    #[test]
    fn byte_order_marks_and_old_code_pages_do_not_matter() {
        assert_eq!(parse_version(b"\xef\xbb\xbf1.2\r\n").unwrap(), "1.2");
        let utf16: Vec<u8> = "\u{feff}version=1.2\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse_version(&utf16).unwrap(), "1.2");
        let utf16: Vec<u8> = "\u{feff}1.3".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(parse_version(&utf16).unwrap(), "1.3");
        assert_eq!(parse_version(b"; \xfcber\nversion=1.4").unwrap(), "1.4");
    }

    #[test]
    fn versions_that_no_summary_can_carry_are_refused() {
        assert_eq!(version(&"9".repeat(128)).len(), 128);
        assert!(parse_version("9".repeat(129).as_bytes()).is_err());
        assert!(parse_version(b"1.\x002").is_err());
        assert!(parse_version(&[b'\n'; MAX_SENTINEL_BYTES]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_bounded_clean_version_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(version) = parse_version(&bytes) {
                prop_assert!(version.len() <= MAX_VERSION_BYTES);
                prop_assert!(!version.chars().any(char::is_control));
                prop_assert_eq!(version.trim(), &version);
            }
        }

        #[test]
        fn the_stated_version_is_found_between_other_lines(
            before in "([a-z]{0,8}( = [0-9]{1,3})?\r?\n){0,4}",
            key in "[vV][eE][rR][sS][iI][oO][nN] {0,2}=[ \t]{0,3}",
            value in "[!-~]([ -~]{0,20}[!-~])?",
            after in "\r?\n[ -~\n]{0,40}",
        ) {
            prop_assume!(!before.lines().any(|line| line.starts_with("version =")));
            prop_assert_eq!(version(&format!("{before}{key}{value}{after}")), value);
        }
    }
}
