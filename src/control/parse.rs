//! From a line or a body to a JSON object.

use serde_json::{Map, Value};

use crate::types::{is_utf16, without_mark};

/// The JSON object in a line or a body. A UTF-8 byte order mark in front is skipped, as the pipes and editors of Windows write it.
///
/// # Errors
/// In words that complete "the line …".
pub(super) fn json_object(text: &[u8]) -> Result<Map<String, Value>, String> {
    let text = without_mark(text);
    if is_utf16(text) {
        return Err("is UTF-16: send it as UTF-8".into());
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is not a JSON object".into()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_behind_the_mark_that_windows_puts_before_it() {
        for text in ["{\"cmd\":\"status\"}", "\u{feff}{\"cmd\":\"status\"}\r"] {
            assert_eq!(json_object(text.as_bytes()).unwrap()["cmd"], "status", "{text:?}");
        }
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(json_object(&utf16).unwrap_err().contains("UTF-16"));
        assert!(json_object(b"[]").unwrap_err().contains("object"));
        assert!(json_object(b"{").unwrap_err().contains("is not JSON"));
    }
}
