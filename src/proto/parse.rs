//! Decoding with room for newer peers: a message of an unknown type is not a malformed one.

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{FrameError, Notification, Request, decode};

/// What one frame holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Parsed<T> {
    /// A message of this version.
    Known(T),
    /// A well-formed message whose `type` this version does not know (cut to 64 characters).
    Unknown(String),
}

/// Decodes a request.
pub fn parse_request(json: &[u8]) -> Result<Parsed<Request>, FrameError> {
    parse(json, &["Prove", "Hello", "Ping", "GetLibrary", "GetLibraryDelta", "GetManifest", "GetChunks"])
}

/// Decodes a notification.
pub fn parse_notification(json: &[u8]) -> Result<Parsed<Notification>, FrameError> {
    parse(json, &["Goodbye", "LibrarySummary", "LibraryDelta", "HaveChunks", "BadChunks"])
}

fn parse<T: DeserializeOwned>(json: &[u8], known: &[&str]) -> Result<Parsed<T>, FrameError> {
    let error = match decode::<T>(json) {
        Ok(message) => return Ok(Parsed::Known(message)),
        Err(error) => error,
    };
    // Only a message that failed pays for a second look.
    match message_type(json) {
        Some(name) if !known.contains(&name.as_str()) => Ok(Parsed::Unknown(name.chars().take(64).collect())),
        _ => Err(error),
    }
}

fn message_type(json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Tag {
        r#type: String,
        #[serde(flatten)]
        _rest: std::collections::HashMap<String, IgnoredAny>,
    }
    serde_json::from_slice::<Tag>(json).ok().map(|tag| tag.r#type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_told_from_a_malformed_message() {
        assert_eq!(
            parse_request(br#"{"type":"Ping","nonce":3,"new":[1]}"#).unwrap(),
            Parsed::Known(Request::Ping { nonce: 3 })
        );
        assert_eq!(parse_request(br#"{"type":"Teleport","to":1}"#).unwrap(), Parsed::Unknown("Teleport".into()));
        for bad in [
            &br#"{"type":"Ping","nonce":"x"}"#[..],
            b"{}",
            b"[]",
            b"",
            b"\xff",
            br#"{"type":7}"#,
            br#"{"type":"Ping"}"#,
        ] {
            assert!(parse_request(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(parse_notification(br#"{"type":"Hello"}"#).is_ok_and(|p| p == Parsed::Unknown("Hello".into())));
    }
}
