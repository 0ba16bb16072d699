//! Small JSON files that tell whether they are whole: the last member of the object is a checksum (XXH3-128, 32 hex
//! digits) of all bytes before that member.
//!
//! ```text
//! {"format":1,…,"checksum":"32 hex digits"}\n
//! ```

use xxhash_rust::xxh3::xxh3_128;

const BEFORE_CHECKSUM: &[u8] = b",\"checksum\":\"";
const AFTER_CHECKSUM: &[u8] = b"\"}\n";
const CHECKSUM_DIGITS: usize = 32;

/// The bytes of the file, for a JSON object with at least one member on one line.
pub(crate) fn seal(mut object: Vec<u8>) -> Vec<u8> {
    // The closing brace comes after the checksum.
    object.pop();
    let checksum = xxh3_128(&object);
    object.extend_from_slice(BEFORE_CHECKSUM);
    object.extend_from_slice(format!("{checksum:032x}").as_bytes());
    object.extend_from_slice(AFTER_CHECKSUM);
    object
}

/// Whether these are bytes that [`seal`] made: nothing is cut off, added or edited.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    covered_and_stated(bytes)
        .is_some_and(|(covered, stated)| stated == format!("{:032x}", xxh3_128(covered)).as_bytes())
}

fn covered_and_stated(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(AFTER_CHECKSUM)?;
    let (rest, stated) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_DIGITS)?)?;
    Some((rest.strip_suffix(BEFORE_CHECKSUM)?, stated))
}
