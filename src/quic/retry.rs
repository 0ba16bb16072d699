//! Stateless Retry (RFC 9000, section 8.1.2): under load a newcomer must first show that it receives what is sent to its
//! address. Nothing is kept for it in the meantime: the token carries everything, authenticated by a key that lives as
//! long as the endpoint.
//!
//! ```text
//! token = u32 seconds since the endpoint was bound | original destination connection id | 32 bytes HMAC-SHA-256
//! HMAC over: IP (16 bytes, IPv4 mapped) | u16 port | retry source connection id (8 bytes) | all of the token before the HMAC
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ring::hmac;

/// How long a token is good for.
const LIFETIME: Duration = Duration::from_secs(15);
const TIME_LEN: usize = 4;
const MAC_LEN: usize = 32;
/// Longest connection id (RFC 9000, section 17.2).
const MAX_CID_LEN: usize = 20;

/// Makes and checks tokens.
pub(super) struct Tokens {
    key: hmac::Key,
    start: Instant,
}

impl Tokens {
    /// With a fresh random key.
    pub(super) fn new(random: &dyn ring::rand::SecureRandom, now: Instant) -> Result<Self, ring::error::Unspecified> {
        Ok(Self { key: hmac::Key::generate(hmac::HMAC_SHA256, random)?, start: now })
    }

    /// The token for whoever sent an Initial from `remote` to the connection id `original`, to be used with `retry_cid`.
    pub(super) fn mint(&self, remote: SocketAddr, original: &[u8], retry_cid: &[u8], now: Instant) -> Vec<u8> {
        let mut token = Vec::with_capacity(TIME_LEN + original.len() + MAC_LEN);
        token.extend_from_slice(&self.seconds(now).to_be_bytes());
        token.extend_from_slice(original);
        let mac = hmac::sign(&self.key, &authenticated(remote, retry_cid, &token));
        token.extend_from_slice(mac.as_ref());
        token
    }

    /// The original connection id, if the token was minted here for this address and connection id, not long ago.
    pub(super) fn check<'t>(
        &self,
        token: &'t [u8],
        remote: SocketAddr,
        retry_cid: &[u8],
        now: Instant,
    ) -> Option<&'t [u8]> {
        let (body, mac) = token.split_at_checked(token.len().checked_sub(MAC_LEN)?)?;
        let (time, original) = body.split_at_checked(TIME_LEN)?;
        if original.len() > MAX_CID_LEN {
            return None;
        }
        hmac::verify(&self.key, &authenticated(remote, retry_cid, body), mac).ok()?;
        let minted = u32::from_be_bytes(time.try_into().ok()?);
        let age = self.seconds(now).checked_sub(minted)?;
        (u64::from(age) <= LIFETIME.as_secs()).then_some(original)
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }
}

fn authenticated(remote: SocketAddr, retry_cid: &[u8], body: &[u8]) -> Vec<u8> {
    let ip = match remote.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    [&ip.octets(), &remote.port().to_be_bytes()[..], retry_cid, body].concat()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_its_connection_id_and_a_short_time_only() {
        let now = Instant::now();
        let tokens = Tokens::new(&ring::rand::SystemRandom::new(), now).unwrap();
        let here: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let token = tokens.mint(here, b"original", b"retrycid", now + Duration::from_secs(5));
        let later = now + Duration::from_secs(20);
        assert_eq!(tokens.check(&token, here, b"retrycid", later), Some(&b"original"[..]));
        for (remote, cid, at) in [
            ("10.0.0.1:4001", &b"retrycid"[..], later),
            ("10.0.0.2:4000", b"retrycid", later),
            ("10.0.0.1:4000", b"retrycie", later),
            ("10.0.0.1:4000", b"retrycid", later + Duration::from_secs(1)),
            ("10.0.0.1:4000", b"retrycid", now),
        ] {
            assert_eq!(tokens.check(&token, remote.parse().unwrap(), cid, at), None, "{remote}");
        }
        for end in 0..token.len() {
            assert_eq!(tokens.check(&token[..end], here, b"retrycid", later), None);
        }
        for at in 0..token.len() {
            let mut bent = token.clone();
            bent[at] ^= 1;
            assert_eq!(tokens.check(&bent, here, b"retrycid", later), None);
        }
    }
}
