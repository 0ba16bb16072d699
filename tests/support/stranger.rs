//! A client that was written from `docs/PROTOCOL.md` alone: its own QUIC loop, its own JSON, nothing of the library. What
//! it can do, and what it is refused, is what the specification promises to everybody.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const ALPN: &[u8] = b"lanspread/1";
const PATIENCE: Duration = Duration::from_secs(15);

/// How a request, or the whole connection, came to its end without an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The daemon closed the connection. `app`: by an application code.
    Closed { app: bool, code: u64 },
    /// The daemon reset the stream.
    Reset(u64),
}

/// What a stranger answers to a request: raw bytes, then FIN. `None`: as an honest stranger without games.
pub(crate) type Script = Box<dyn FnMut(&Value) -> Option<Vec<u8>>>;

/// One connection to a daemon.
pub(crate) struct Stranger {
    conn: quiche::Connection,
    socket: UdpSocket,
    next_bi: u64,
    next_uni: u64,
    inbound: BTreeMap<u64, Vec<u8>>,
    outbox: BTreeMap<u64, Vec<u8>>,
    script: Option<Script>,
    /// In DER.
    certificate: Vec<u8>,
    /// Derived from the own certificate.
    pub(crate) peer_id: String,
    /// Derived from the daemon's certificate.
    pub(crate) daemon_id: String,
}

/// UUID version 8 of the first 16 bytes of SHA-256(SubjectPublicKeyInfo).
fn peer_id_of(certificate: &[u8]) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
    let mut id: Vec<u8> = digest.as_ref()[..16].to_vec();
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Stranger {
    /// A QUIC connection with a fresh certificate; nothing was said yet.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::connect_with_window(addr, 4 << 20)
    }

    /// The same; of each answer the daemon may send so many bytes before they are read.
    pub(crate) fn connect_with_window(addr: SocketAddr, window: u64) -> Self {
        Self::connect_as(&Self::certificate(), addr, window)
    }

    /// A certificate with its key, to connect with more than once.
    pub(crate) fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(vec!["stranger".to_owned()]).unwrap()
    }

    /// A QUIC connection with this certificate.
    pub(crate) fn connect_as(own: &rcgen::CertifiedKey<rcgen::KeyPair>, addr: SocketAddr, window: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
        config.load_cert_chain_from_pem_file(cert.to_str().unwrap()).unwrap();
        config.load_priv_key_from_pem_file(key.to_str().unwrap()).unwrap();
        config.set_application_protos(&[ALPN]).unwrap();
        config.verify_peer(false);
        config.set_max_idle_timeout(30_000);
        config.set_initial_max_data(16 << 20);
        config.set_initial_max_stream_data_bidi_local(window);
        config.set_initial_max_stream_data_bidi_remote(1 << 20);
        config.set_initial_max_stream_data_uni(1 << 20);
        config.set_initial_max_streams_bidi(64);
        config.set_initial_max_streams_uni(64);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut scid = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut scid).unwrap();
        let conn = quiche::connect(
            None,
            &quiche::ConnectionId::from_ref(&scid),
            socket.local_addr().unwrap(),
            addr,
            &mut config,
        )
        .unwrap();
        let mut stranger = Self {
            conn,
            socket,
            next_bi: 0,
            next_uni: 2,
            inbound: BTreeMap::new(),
            outbox: BTreeMap::new(),
            script: None,
            peer_id: peer_id_of(own.cert.der()),
            certificate: own.cert.der().to_vec(),
            daemon_id: String::new(),
        };
        stranger.drive("the handshake", |conn| conn.is_established().then_some(())).expect("a handshake");
        stranger.daemon_id = peer_id_of(stranger.conn.peer_cert().expect("the daemon shows its certificate"));
        stranger
    }

    /// The message that introduces the stranger: an empty library.
    pub(crate) fn hello_message(&self) -> Value {
        json!({
            "type": "Hello", "peer_id": self.peer_id, "proto_ver": 1,
            "listen_addr": self.socket.local_addr().unwrap().to_string(), "hostname": "stranger",
            "library_epoch": "00000000000000aa", "library_rev": 1,
            "library_digest": EMPTY_LIBRARY_DIGEST, "game_count": 0, "features": ["a-feature-of-tomorrow"],
            "a_field_of_tomorrow": {"x": [1, 2]},
        })
    }

    /// From now on the daemon's requests are answered by `script`.
    #[allow(dead_code, reason = "not every test needs all of it")]
    pub(crate) fn on_request(&mut self, script: impl FnMut(&Value) -> Option<Vec<u8>> + 'static) {
        self.script = Some(Box::new(script));
    }

    /// A fresh stream both ways, on which nothing was said.
    pub(crate) fn new_stream(&mut self) -> u64 {
        self.next_bi += 4;
        self.next_bi - 4
    }

    /// Proofs of a party key on this connection: the stranger's, then the daemon's.
    #[allow(dead_code, reason = "not every test needs all of it")]
    pub(crate) fn party_proofs(&mut self, key: &[u8]) -> [String; 2] {
        let mut exported = [0; 32];
        let tls: &mut boring::ssl::SslRef = self.conn.as_mut();
        tls.export_keying_material(&mut exported, "EXPORTER-lanspread-party", None).unwrap();
        let sha256 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        let (dialler, listener) = (sha256(&self.certificate), sha256(self.conn.peer_cert().unwrap()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        ["dialler", "listener"].map(|role| {
            let text =
                [format!("lanspread-party-1\n{role}\n").as_bytes(), dialler.as_ref(), listener.as_ref(), &exported]
                    .concat();
            ring::hmac::sign(&key, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }

    /// Says hello; the answer must be a HelloAck. Returns it.
    pub(crate) fn hello(&mut self) -> Value {
        let (answer, _) = self.request(&self.hello_message()).expect("an answer to Hello");
        assert_eq!(answer["type"], "HelloAck", "{answer}");
        assert_eq!(answer["peer_id"], self.daemon_id.as_str(), "the daemon is who its certificate says");
        answer
    }

    /// One request on its own stream: the answer and the raw bytes behind it.
    pub(crate) fn request(&mut self, message: &Value) -> Result<(Value, Vec<u8>), Ending> {
        self.request_raw(&frame(message))
    }

    /// The same with bytes that need not be a frame.
    pub(crate) fn request_raw(&mut self, bytes: &[u8]) -> Result<(Value, Vec<u8>), Ending> {
        let stream = self.new_stream();
        let mut sent = 0;
        let mut received = Vec::new();
        let mut buffer = vec![0; 65_536];
        let bytes = bytes.to_vec();
        self.drive("the answer", |conn| {
            if sent < bytes.len() {
                sent += conn.stream_send(stream, &bytes[sent..], true).unwrap_or(0);
            }
            loop {
                match conn.stream_recv(stream, &mut buffer) {
                    Ok((len, fin)) => {
                        received.extend_from_slice(&buffer[..len]);
                        if fin {
                            return Some(Ok(()));
                        }
                    }
                    Err(quiche::Error::StreamReset(code)) => return Some(Err(Ending::Reset(code))),
                    Err(_) => return None,
                }
            }
        })??;
        assert!(received.len() >= 4, "an answer has a length: {received:?}");
        let len = u32::from_be_bytes([received[0], received[1], received[2], received[3]]) as usize;
        let json = serde_json::from_slice(&received[4..4 + len]).expect("the answer is JSON");
        Ok((json, received[4 + len..].to_vec()))
    }

    /// One notification on its own stream.
    pub(crate) fn notify(&mut self, message: &Value) {
        let stream = self.next_uni;
        self.next_uni += 4;
        let bytes = frame(message);
        let mut sent = 0;
        self.drive("room for a notification", |conn| {
            sent += conn.stream_send(stream, &bytes[sent..], true).unwrap_or(0);
            (sent == bytes.len()).then_some(())
        })
        .expect("the connection stands");
        self.flush();
    }

    /// Waits until the daemon closes the connection.
    pub(crate) fn wait_close(&mut self) -> Ending {
        match self.drive::<()>("the close", |_| None) {
            Err(ending) => ending,
            Ok(()) => unreachable!("nothing but a close ends this wait"),
        }
    }

    /// Answers what the daemon asks: the library is empty, pings come back.
    fn serve(&mut self) {
        let mut buffer = [0; 4096];
        // Streams that the daemon opened with an answer due: 1, 5, 9, …
        let asked: Vec<u64> = self.conn.readable().filter(|stream| stream % 4 == 1).collect();
        for stream in asked {
            let request = self.inbound.entry(stream).or_default();
            while let Ok((len, fin)) = self.conn.stream_recv(stream, &mut buffer) {
                request.extend_from_slice(&buffer[..len]);
                if !fin {
                    continue;
                }
                let message: Value = serde_json::from_slice(&request[4..]).expect("a request is JSON");
                if let Some(bytes) = self.script.as_mut().and_then(|script| script(&message)) {
                    self.outbox.insert(stream, bytes);
                    break;
                }
                let answer = match message["type"].as_str() {
                    Some("Ping") => json!({"type": "Pong", "nonce": message["nonce"]}),
                    Some("GetLibrary" | "GetLibraryDelta") => json!({
                        "type": "LibrarySnapshot", "peer_id": self.peer_id,
                        "snapshot": {"epoch": "00000000000000aa", "rev": 1, "games": []},
                    }),
                    _ => json!({"type": "Error", "code": "not-served", "message": "a stranger serves nothing"}),
                };
                self.outbox.insert(stream, frame(&answer));
                break;
            }
        }
        // What does not fit now goes the next time; what nobody wants any more is dropped.
        let conn = &mut self.conn;
        self.outbox.retain(|&stream, rest| match conn.stream_send(stream, rest, true) {
            Ok(sent) => {
                rest.drain(..sent);
                !rest.is_empty()
            }
            Err(error) => error == quiche::Error::Done,
        });
    }

    fn flush(&mut self) {
        let mut packet = [0; 1500];
        while let Ok((len, info)) = self.conn.send(&mut packet) {
            let _ = self.socket.send_to(&packet[..len], info.to);
        }
    }

    /// Moves packets until `done` answers or the connection is closed.
    pub(crate) fn drive<T>(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut quiche::Connection) -> Option<T>,
    ) -> Result<T, Ending> {
        let until = Instant::now() + PATIENCE;
        let local = self.socket.local_addr().unwrap();
        let mut packet = vec![0; 65_536];
        loop {
            if let Some(value) = done(&mut self.conn) {
                self.flush();
                return Ok(value);
            }
            self.serve();
            self.flush();
            if let Some(error) = self.conn.peer_error() {
                return Err(Ending::Closed { app: error.is_app, code: error.error_code });
            }
            assert!(
                !self.conn.is_closed(),
                "waited for {what}, but the connection ended: {:?}",
                self.conn.local_error()
            );
            assert!(Instant::now() < until, "waited for {what} in vain");
            let wait =
                self.conn.timeout().unwrap_or(PATIENCE).clamp(Duration::from_millis(1), Duration::from_millis(50));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv_from(&mut packet) {
                Ok((len, from)) => {
                    let _ = self.conn.recv(&mut packet[..len], quiche::RecvInfo { from, to: local });
                }
                Err(_) => self.conn.on_timeout(),
            }
        }
    }
}

/// XXH3-128 of `"lanspread-library-1\n"` and four zero bytes: the vector in the specification.
const EMPTY_LIBRARY_DIGEST: &str = "c8bca1b98e57c5b66282f5cc1df04148";

/// Four bytes of length, big-endian, then the JSON.
pub(crate) fn frame(message: &Value) -> Vec<u8> {
    let json = message.to_string().into_bytes();
    let mut out = (json.len() as u32).to_be_bytes().to_vec();
    out.extend(json);
    out
}
