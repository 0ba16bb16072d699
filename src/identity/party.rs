//! The party key: a secret that the PCs of one party share, and the proof that somebody holds it.
//!
//! A proof is bound to one connection by what TLS exports of it, to both certificates, and to the side that says it.
//! So it is worth nothing on another connection, in another's mouth, or sent back.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::types::{PartyProof, PartyProofs, without_mark};

/// Label of the TLS exporter (RFC 8446, section 7.5; no context).
pub const EXPORTER_LABEL: &str = "EXPORTER-lanspread-party";
/// Bytes that are exported.
pub const EXPORTER_BYTES: usize = 32;
/// First bytes of what is authenticated.
const PREFIX: &[u8] = b"lanspread-party-1\n";
/// Whoever is proved to may try keys at leisure: a short one would be found.
const MIN_BYTES: usize = 16;
/// A larger file is certainly something else.
const MAX_BYTES: usize = 4 << 10;

/// The secret of a party.
#[derive(Clone)]
pub struct PartyKey(hmac::Key);

impl PartyKey {
    /// Reads a key file: its bytes without a UTF-8 byte order mark and without white space at both ends, as editors add
    /// them, 16 to 4,096 of them.
    ///
    /// # Errors
    ///
    /// [`PartyKeyError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, PartyKeyError> {
        let failed = |fault| PartyKeyError { path: path.to_owned(), fault };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(2 * MAX_BYTES as u64).read_to_end(&mut bytes));
        read.map_err(|source| failed(PartyKeyFault::Unreadable(source)))?;
        Self::new(&bytes).map_err(failed)
    }

    /// From the bytes of a key file.
    ///
    /// # Errors
    ///
    /// Too few or too many bytes are left.
    pub fn new(bytes: &[u8]) -> Result<Self, PartyKeyFault> {
        let key = without_mark(bytes).trim_ascii();
        match key.len() {
            0..MIN_BYTES => Err(PartyKeyFault::TooShort(key.len())),
            MIN_BYTES..=MAX_BYTES => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key))),
            _ => Err(PartyKeyFault::TooLong),
        }
    }

    /// What the two sides of a connection say. `dialled`: this side opened it. `exported`: [`EXPORTER_BYTES`] of TLS.
    pub fn proofs(&self, dialled: bool, own_der: &[u8], peer_der: &[u8], exported: &[u8]) -> PartyProofs {
        let (dialler, listener) = if dialled { (own_der, peer_der) } else { (peer_der, own_der) };
        let proof = |role: &[u8]| {
            let mut hmac = hmac::Context::with_key(&self.0);
            for part in [PREFIX, role, digest(&SHA256, dialler).as_ref(), digest(&SHA256, listener).as_ref(), exported]
            {
                hmac.update(part);
            }
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hmac.sign().as_ref());
            PartyProof(bytes)
        };
        let (of_dialler, of_listener) = (proof(b"dialler\n"), proof(b"listener\n"));
        if dialled {
            PartyProofs { own: of_dialler, peer: of_listener }
        } else {
            PartyProofs { own: of_listener, peer: of_dialler }
        }
    }
}

impl std::fmt::Debug for PartyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PartyKey")
    }
}

/// The party key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the party key file {} cannot be used: {fault}", path.display())]
pub struct PartyKeyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: PartyKeyFault,
}

/// What is wrong with a party key file.
#[derive(Debug, thiserror::Error)]
pub enum PartyKeyFault {
    /// The system refuses.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It could be guessed.
    #[error("it holds {0} bytes (white space at both ends not counted), a key has at least {MIN_BYTES}")]
    TooShort(usize),
    /// It is something else.
    #[error("it holds more than {MAX_BYTES} bytes")]
    TooLong,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn proofs(key: &[u8], dialled: bool, certificates: [&[u8]; 2], exported: u8) -> PartyProofs {
        PartyKey::new(key).unwrap().proofs(dialled, certificates[0], certificates[1], &[exported; EXPORTER_BYTES])
    }

    #[test]
    fn both_sides_agree_and_everything_that_differs_makes_another_proof() {
        let key = b"correct horse battery";
        let dialler = proofs(key, true, [b"A", b"B"], 1);
        let listener = proofs(b"\xef\xbb\xbf correct horse battery\r\n", false, [b"B", b"A"], 1);
        assert_eq!((dialler.own, dialler.peer), (listener.peer, listener.own));
        assert!(dialler.own.matches(&listener.peer) && !dialler.own.matches(&listener.own));
        for other in [
            proofs(b"correct horse batterx", true, [b"A", b"B"], 1),
            proofs(key, true, [b"A", b"C"], 1),
            proofs(key, true, [b"C", b"B"], 1),
            proofs(key, true, [b"B", b"A"], 1),
            proofs(key, true, [b"A", b"B"], 2),
        ] {
            assert!(!other.own.matches(&dialler.own) && !other.peer.matches(&dialler.peer));
        }
        assert!(!format!("{dialler:?}").contains(&dialler.peer.to_string()), "expected proofs stay out of logs");
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        assert!(matches!(PartyKey::new(b" 123456789012345\n"), Err(PartyKeyFault::TooShort(15))));
        assert!(PartyKey::new(b" 1234567890123456\n").is_ok());
        assert!(matches!(PartyKey::new(&[b'x'; MAX_BYTES + 1]), Err(PartyKeyFault::TooLong)));
    }
}
