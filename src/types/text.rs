//! Texts from elsewhere: what editors and pipes put before them, and what must not be passed on.

/// The text without the UTF-8 byte order mark that Windows writes before it.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Whether a text says, by its byte order mark, that it is UTF-16.
pub fn is_utf16(text: &[u8]) -> bool {
    text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")
}

/// `text` without control characters, cut to `max` bytes at a character's edge: what others refuse must not be sent.
pub fn shortened(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}
