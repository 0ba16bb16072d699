//! Ed25519 signatures of catalogs: detached, in a file of their own.
//!
//! What is signed is [`PREFIX`], then the bytes of the document as they are. The signature file holds the 64 bytes as 128
//! lower-case hexadecimal digits; white space around them does not count.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::types::{CatalogKey, CatalogSignature};

/// First bytes of what is signed: a signature of a catalog is one of nothing else.
const PREFIX: &[u8] = b"lanspread-catalog-1\n";

/// Whether `signature` is the one that the holder of `key` made for this document.
pub fn verify(key: &CatalogKey, document: &[u8], signature: &CatalogSignature) -> bool {
    UnparsedPublicKey::new(&ED25519, key.0).verify(&signed(document), &signature.0).is_ok()
}

/// Reads a signature file. `None`: it is not one.
pub fn parse(file: &[u8]) -> Option<CatalogSignature> {
    std::str::from_utf8(file).ok()?.trim().parse().ok()
}

/// The content of a signature file.
pub fn write(signature: &CatalogSignature) -> String {
    format!("{signature}\n")
}

/// A private key that signs catalogs.
pub struct SigningKey(Ed25519KeyPair);

/// No private key came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The bytes are not the PKCS#8 of one.
    #[error("it is not an Ed25519 private key (PKCS#8, DER)")]
    NotAKey,
    /// None could be made.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl SigningKey {
    /// A new key, and its PKCS#8 (DER) to be kept.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::NoRandomness`].
    pub fn generate() -> Result<(Self, Vec<u8>), SigningKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.map_err(|_| SigningKeyError::NoRandomness)?.as_ref().to_vec();
        Ok((Self::from_pkcs8(&document)?, document))
    }

    /// From its PKCS#8 (DER), of version 1 or 2.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::NotAKey`].
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, SigningKeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map(Self).map_err(|_| SigningKeyError::NotAKey)
    }

    /// What everybody needs to check signatures.
    pub fn public_key(&self) -> CatalogKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        CatalogKey(bytes)
    }

    /// Signs a document as it is.
    pub fn sign(&self, document: &[u8]) -> CatalogSignature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(&signed(document)).as_ref());
        CatalogSignature(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

fn signed(document: &[u8]) -> Vec<u8> {
    [PREFIX, document].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_for_its_key_and_its_bytes_only() {
        let (key, pkcs8) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let document = br#"{"format":1,"games":[]}"#;
        let signature = key.sign(document);
        assert!(verify(&again.public_key(), document, &signature));
        assert!(!verify(&again.public_key(), br#"{"format":1,"games":[] }"#, &signature), "another byte");
        let (other, _) = SigningKey::generate().unwrap();
        assert!(!verify(&other.public_key(), document, &signature), "another key");
        assert!(!verify(&again.public_key(), &signed(document), &signature), "not of the bytes that are signed");
        assert_eq!(parse(format!("\t{} \r\n", write(&signature)).as_bytes()), Some(signature));
        for bad in [&b""[..], b"00", b"\xff", &[b'0'; 127], &[b'A'; 128]] {
            assert_eq!(parse(bad), None);
        }
        assert_eq!(SigningKey::from_pkcs8(&pkcs8[1..]).unwrap_err(), SigningKeyError::NotAKey);
    }
}
