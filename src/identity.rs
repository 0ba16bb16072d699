//! Who this machine is: a P-256 key and its self-signed certificate, made once and kept for ever.
//!
//! Everybody else knows this machine by its [`PeerId`], which is derived from the key. Losing the file means becoming a
//! stranger, so it is written durably, never replaced, and a file that cannot be read stops the start instead of being
//! quietly made anew.

mod party;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use boring::pkey::PKey;
use boring::x509::X509;
use ring::digest::{SHA256, digest};

use crate::small_file;
use crate::types::PeerId;

pub use party::{EXPORTER_BYTES, EXPORTER_LABEL, PartyKey, PartyKeyError, PartyKeyFault};

/// Name of the file in the state directory: a PKCS#8 private key and a certificate, both PEM.
pub const IDENTITY_FILE: &str = "identity.pem";

/// A larger file is certainly something else.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A private key, its certificate, and the id derived from them.
#[derive(Clone)]
pub struct Identity {
    peer_id: PeerId,
    /// DER.
    certificate: Vec<u8>,
    /// DER, PKCS#8.
    key: Vec<u8>,
    /// The party that it belongs to; not part of the file.
    party: Option<PartyKey>,
}

impl Identity {
    /// Reads the identity of `state_dir`, or makes one when there is none. The directory is created if needed.
    ///
    /// The new file is complete, readable by its owner only and on disk before it gets its name, and never takes the
    /// place of another one: of two daemons that start at once, both use the identity of the first.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the file, what is wrong with it and what to do. An existing file is never touched.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join(IDENTITY_FILE);
        if let Some(identity) = Self::load(&path)? {
            return Ok(identity);
        }
        let (pem, fresh) = Self::generate().map_err(|fault| IdentityError::Damaged { path: path.clone(), fault })?;
        match store(state_dir, &path, &pem) {
            Ok(()) => Ok(fresh),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(&path)?.ok_or(IdentityError::Store { path, source })
            }
            Err(source) => Err(IdentityError::Store { path, source }),
        }
    }

    /// From the text of an identity file.
    ///
    /// # Errors
    ///
    /// [`IdentityFault`] when key or certificate are missing, not P-256, or do not belong together. The dates of the
    /// certificate do not matter.
    pub fn from_pem(text: &str) -> Result<Self, IdentityFault> {
        let key = PKey::private_key_from_pem(text.as_bytes()).map_err(|_| IdentityFault::NoKey)?;
        let certificate = X509::from_pem(text.as_bytes()).map_err(|_| IdentityFault::NoCertificate)?;
        let certificate = certificate.to_der().map_err(|_| IdentityFault::NoCertificate)?;
        let spki = p256_spki(&certificate).map_err(IdentityFault::Certificate)?;
        if key.public_key_to_der().ok().as_deref() != Some(spki) {
            return Err(IdentityFault::Mismatch);
        }
        let peer_id = peer_id_of_spki(spki);
        let key = key.private_key_to_der_pkcs8().map_err(|_| IdentityFault::NoKey)?;
        Ok(Self { peer_id, certificate, key, party: None })
    }

    /// The same, as a member of a party: every connection must prove its key.
    pub fn in_party(mut self, key: PartyKey) -> Self {
        self.party = Some(key);
        self
    }

    /// The key of the party, if there is one.
    pub fn party_key(&self) -> Option<&PartyKey> {
        self.party.as_ref()
    }

    /// The id that everybody derives from the certificate.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key in DER (PKCS#8).
    pub(crate) fn private_key_der(&self) -> &[u8] {
        &self.key
    }

    /// `None`: there is no such file.
    fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let unreadable = |source| IdentityError::Unreadable { path: path.to_owned(), source };
        let length = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => return Err(unreadable(io::Error::other("it is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dangling link is a lost identity, not a missing one.
                return match fs::symlink_metadata(path) {
                    Ok(_) => Err(unreadable(error)),
                    Err(_) => Ok(None),
                };
            }
            Err(error) => return Err(unreadable(error)),
        };
        if length > MAX_FILE_BYTES {
            return Err(unreadable(io::Error::other(format!("it has {length} bytes, more than {MAX_FILE_BYTES}"))));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let damaged = |fault| IdentityError::Damaged { path: path.to_owned(), fault };
        Self::from_pem(&text).map(Some).map_err(damaged)
    }

    fn generate() -> Result<(String, Self), IdentityFault> {
        let fault = |error: rcgen::Error| IdentityFault::Generate(error.to_string());
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(fault)?;
        let mut params = rcgen::CertificateParams::new(Vec::new()).map_err(fault)?;
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "lanspread");
        params.distinguished_name = name;
        let certificate = params.self_signed(&key).map_err(fault)?;
        let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
        let identity = Self::from_pem(&pem)?;
        Ok((pem, identity))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}

/// The identity of this machine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is there, and the system does not let it be read.
    #[error(
        "cannot read the identity {}: {source}. Other PCs know this one by that file; make it readable for this user, \
         or restore it from a backup. To start as a new, unknown PC instead, move it away",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there, and it is not an identity.
    #[error(
        "the identity {} is damaged: {fault}. Restore it from a backup. To start as a new, unknown PC instead, move it \
         away",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: IdentityFault,
    },
    /// There is no file, and none could be made.
    #[error("cannot store a new identity in {}: {source}. Check that the directory is writable and not full", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with the content of an identity file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// No PEM private key.
    #[error("it holds no private key in PEM form")]
    NoKey,
    /// No PEM certificate.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// The certificate is not one of a P-256 key.
    #[error("its certificate is not usable: {0}")]
    Certificate(CertificateError),
    /// They belong to different keys.
    #[error("its private key and its certificate do not belong together")]
    Mismatch,
    /// The system has no randomness, or the like.
    #[error("a new key could not be made: {0}")]
    Generate(String),
}

/// Why a certificate gives no [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of an X.509 certificate.
    #[error("it is not a DER-encoded X.509 certificate")]
    Malformed,
    /// The key is of another kind, or encoded in another way.
    #[error("its key is not an uncompressed P-256 key")]
    NotP256,
}

/// The id of whoever holds the key of this certificate (DER). Says nothing about whether somebody holds it: that is
/// proved by the handshake.
///
/// # Errors
///
/// [`CertificateError`] when the bytes are not a certificate of a P-256 key.
pub fn peer_id_of_certificate(der: &[u8]) -> Result<PeerId, CertificateError> {
    p256_spki(der).map(peer_id_of_spki)
}

fn peer_id_of_spki(spki: &[u8]) -> PeerId {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, spki).as_ref());
    PeerId::from_spki_sha256(&hash)
}

/// What precedes the 64 bytes of the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480): one
/// key, one encoding, one id.
const P256_SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

fn p256_spki(certificate: &[u8]) -> Result<&[u8], CertificateError> {
    let spki = spki(certificate).ok_or(CertificateError::Malformed)?;
    if spki.len() == P256_SPKI_PREFIX.len() + 64 && spki.starts_with(&P256_SPKI_PREFIX) {
        Ok(spki)
    } else {
        Err(CertificateError::NotP256)
    }
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1), exactly as its bytes stand there.
fn spki(certificate: &[u8]) -> Option<&[u8]> {
    const INTEGER: u8 = 0x02;
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (certificate, rest) = element(certificate, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (mut tbs, _) = element(certificate.content, SEQUENCE)?;
    if tbs.content.first() == Some(&VERSION) {
        tbs.content = element(tbs.content, VERSION)?.1;
    }
    let mut rest = tbs.content;
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    Some(element(rest, SEQUENCE)?.0.whole)
}

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The first DER element of `bytes`, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, after_tag) = bytes.split_first()?;
    let (&first, after_first) = after_tag.split_first()?;
    let (length, header) = match first {
        0..=0x7f => (usize::from(first), 2),
        0x81 => (usize::from(*after_first.first()?), 3),
        0x82 => (usize::from(*after_first.first()?) << 8 | usize::from(*after_first.get(1)?), 4),
        _ => return None,
    };
    let end = header + length;
    let element = Element { whole: bytes.get(..end)?, content: bytes.get(header..end)? };
    (found == tag).then_some((element, bytes.get(end..)?))
}

/// Gives the text its name only when it is complete and on disk, and only when the name is free.
fn store(state_dir: &Path, path: &Path, pem: &str) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    small_file::create(path, pem.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let first = Identity::load_or_create(&state).unwrap();
        let second = Identity::load_or_create(&state).unwrap();
        assert_eq!(first.peer_id(), second.peer_id());
        assert_eq!(first.certificate_der(), second.certificate_der());
        assert_eq!(peer_id_of_certificate(first.certificate_der()), Ok(first.peer_id()));
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [IDENTITY_FILE], "nothing else is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(state.join(IDENTITY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn daemons_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<PeerId> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Identity::load_or_create(dir.path()).unwrap().peer_id())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn the_id_is_the_hash_of_the_key_as_others_parse_it() {
        use x509_parser::prelude::*;
        let (_, identity) = Identity::generate().unwrap();
        let (_, parsed) = X509Certificate::from_der(identity.certificate_der()).unwrap();
        assert_eq!(peer_id_of_spki(parsed.public_key().raw), identity.peer_id());
    }

    #[test]
    fn no_prefix_of_a_certificate_and_no_flipped_length_is_a_certificate_of_another_key() {
        let (_, identity) = Identity::generate().unwrap();
        let der = identity.certificate_der();
        for end in 0..der.len() {
            assert_eq!(peer_id_of_certificate(&der[..end]), Err(CertificateError::Malformed));
        }
        for at in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x82, 0x84, 0xff] {
                let mut bent = der.to_vec();
                bent[at] = value;
                let _ = peer_id_of_certificate(&bent);
            }
        }
    }
}
