//! How a browser comes in without the bearer token.
//!
//! ```text
//! lanspread open ─bearer token─▶ POST /api/v1/page ─▶ http://127.0.0.1:PORT/?key=KEY   (works once, for a minute)
//! browser ─▶ GET /?key=KEY ─▶ 303 to /, with a cookie (HttpOnly, SameSite=Strict) that scripts cannot read
//! browser ─cookie─▶ everything else
//! ```
//!
//! A cookie says until when it counts, and is signed with a secret that lies in the state directory with the port: a page that is open
//! outlives a restart of the daemon.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::request::Head;
use super::response::Refusal;
use crate::small_file::{self, Readers};

/// A one-time key counts for so long.
const KEY_LIFE: Duration = Duration::from_secs(60);
/// One-time keys at once; with one more the oldest is void.
const MAX_KEYS: usize = 16;
/// A cookie counts for so long.
const COOKIE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// In the state directory, for its user alone.
const FILE: &str = "page.json";
const FORMAT: u32 = 1;
const MAX_STORED_BYTES: u64 = 4 << 10;

/// What outlives the daemon.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    port: u16,
    secret: [u8; 32],
}

/// The keys and cookies of one door.
pub(super) struct Sessions {
    /// Cookies do not know ports: the name holds it, so that two daemons on a PC do not take each other's.
    cookie: String,
    secret: [u8; 32],
    keys: Mutex<VecDeque<(blake3::Hash, Instant)>>,
}

/// The port of the last door of this state directory.
pub(super) fn last_port(state_dir: &Path) -> Option<u16> {
    load(state_dir).map(|stored| stored.port)
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

fn load(state_dir: &Path) -> Option<Stored> {
    let text = small_file::read(&path(state_dir), MAX_STORED_BYTES).ok()??;
    serde_json::from_slice::<Stored>(&text).ok().filter(|stored| stored.format == FORMAT)
}

impl Sessions {
    /// Of the door on `port`. Where the last one had another port the secret is a new one: whoever listens at the old port now may have been
    /// shown cookies.
    ///
    /// # Errors
    /// The file cannot be written, or the system gives no random bytes.
    pub(super) fn open(state_dir: &Path, port: u16) -> io::Result<Self> {
        let stored = match load(state_dir).filter(|stored| stored.port == port) {
            Some(stored) => stored,
            None => {
                let stored = Stored { format: FORMAT, port, secret: random()? };
                small_file::replace(&path(state_dir), &serde_json::to_vec(&stored)?, Readers::Owner)?;
                stored
            }
        };
        Ok(Self { cookie: format!("lanspread-{port}"), secret: stored.secret, keys: Mutex::default() })
    }

    /// A key that lets one browser in.
    pub(super) fn new_key(&self) -> io::Result<String> {
        let key = hex(&random()?);
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.truncate(MAX_KEYS - 1);
        keys.push_front((blake3::hash(key.as_bytes()), now() + KEY_LIFE));
        Ok(key)
    }

    /// The header Set-Cookie for whoever shows a key that counts; the key is used up.
    pub(super) fn redeem(&self, key: &str) -> Option<String> {
        let (hash, now) = (blake3::hash(key.as_bytes()), now());
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.retain(|(_, until)| *until > now);
        let found = keys.iter().position(|(known, _)| *known == hash)?;
        keys.remove(found);
        let until = (wall() + COOKIE_LIFE).as_secs();
        let (name, life) = (&self.cookie, COOKIE_LIFE.as_secs());
        Some(format!("{name}={until}.{}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict", self.sign(until).to_hex()))
    }

    fn sign(&self, until: u64) -> blake3::Hash {
        blake3::keyed_hash(&self.secret, format!("page until {until}").as_bytes())
    }

    /// Whether the request shows a cookie of this door, and is one that a page of this door made itself. A page of another port of this PC is
    /// of the same site, so that its requests carry the cookie too: the browser says where they come from.
    pub(super) fn admits(&self, head: &Head) -> Result<bool, Refusal> {
        let Some(cookies) = head.header("cookie")? else { return Ok(false) };
        let ours = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut values = ours.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value);
        if !values.any(|value| self.counts(value)) {
            return Ok(false);
        }
        let foreign = || Refusal::new(403, "forbidden-origin", "pages of other origins have no access");
        match head.header("sec-fetch-site")? {
            Some("same-origin" | "none") => Ok(true),
            Some(_) => Err(foreign()),
            // Browsers from before 2023: for whatever changes something they name the Origin, which was checked.
            None if matches!(head.method.as_str(), "GET" | "HEAD") || head.header("origin")?.is_some() => Ok(true),
            None => Err(foreign()),
        }
    }

    fn counts(&self, value: &str) -> bool {
        let Some((until, signature)) = value.split_once('.') else { return false };
        let (Ok(until), Ok(signature)) = (until.parse::<u64>(), blake3::Hash::from_hex(signature)) else {
            return false;
        };
        // Hashes compare in constant time.
        self.sign(until) == signature && wall().as_secs() < until
    }
}

pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[expect(clippy::disallowed_methods, reason = "a key is void after a minute")]
fn now() -> Instant {
    Instant::now()
}

/// Since 1970.
#[expect(clippy::disallowed_methods, reason = "a cookie is void after a week, whether or not the daemon ran")]
fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Head {
        super::super::request::parse(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap().unwrap().0
    }

    fn cookie(set: &str) -> &str {
        set.split(';').next().unwrap()
    }

    #[test]
    fn a_key_lets_one_browser_in_whose_cookie_outlives_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(dir.path(), 4711).unwrap();
        let key = sessions.new_key().unwrap();
        assert_eq!(sessions.redeem("nonsense"), None);
        let set = sessions.redeem(&key).unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict"), "{set}");
        assert_eq!(sessions.redeem(&key), None, "it works once");
        let with = head(&format!("Cookie: other=1; {}\r\n", cookie(&set)));
        assert!(sessions.admits(&with).unwrap());
        assert!(Sessions::open(dir.path(), 4711).unwrap().admits(&with).unwrap(), "a restart");
        assert_eq!(last_port(dir.path()), Some(4711));
        assert!(!Sessions::open(dir.path(), 4712).unwrap().admits(&with).unwrap(), "another port");
        assert!(!Sessions::open(dir.path(), 4711).unwrap().admits(&with).unwrap(), "its secret is a new one");
    }

    #[test]
    fn cookies_that_are_made_up_or_over_are_none_and_pages_of_other_ports_have_no_access() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(dir.path(), 4711).unwrap();
        let set = sessions.redeem(&sessions.new_key().unwrap()).unwrap();
        let good = cookie(&set);
        let over = format!("lanspread-4711={}.{}", 1_000, sessions.sign(1_000).to_hex());
        let longer = good.replace('.', "0.");
        for bad in ["lanspread-4711=", "lanspread-4711=9.9", &over, &longer, &good.replace("4711", "4710")] {
            assert!(!sessions.admits(&head(&format!("Cookie: {bad}\r\n"))).unwrap(), "{bad}");
        }
        for (site, status) in [("same-origin", 0), ("none", 0), ("same-site", 403), ("cross-site", 403)] {
            let head = head(&format!("Cookie: {good}\r\nSec-Fetch-Site: {site}\r\n"));
            assert_eq!(sessions.admits(&head).map_or_else(|refusal| refusal.status, |_| 0), status, "{site}");
        }
        let post = format!("POST / HTTP/1.1\r\nCookie: {good}\r\n\r\n");
        let post = super::super::request::parse(post.as_bytes()).unwrap().unwrap().0;
        assert_eq!(sessions.admits(&post).unwrap_err().status, 403, "neither Origin nor Sec-Fetch-Site");
    }

    #[test]
    fn only_the_latest_keys_count() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(dir.path(), 4711).unwrap();
        let keys: Vec<_> = (0..=MAX_KEYS).map(|_| sessions.new_key().unwrap()).collect();
        assert_eq!(sessions.redeem(&keys[0]), None);
        assert!(sessions.redeem(&keys[1]).is_some());
        let key = sessions.new_key().unwrap();
        sessions.keys.lock().unwrap().iter_mut().for_each(|(_, until)| *until = now());
        assert_eq!(sessions.redeem(&key), None, "a minute later");
    }
}
