//! Who gets in and who does not, with real endpoints over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "quic_support/mod.rs"]
mod support;

use std::net::SocketAddr;

use ::lanspread_peer;
use boring::pkey::PKey;
use boring::ssl::{SslContextBuilder, SslMethod, SslVerifyMode};
use boring::x509::X509;
use lanspread_peer::config::Config;
use lanspread_peer::identity::{IDENTITY_FILE, Identity, IdentityError, peer_id_of_certificate};
use lanspread_peer::quic::{ALPN, Event};
use support::{Node, drive, fresh_identity, identity_with, quiet_config};

/// What a client of the tests' own making ended with.
struct Outcome {
    /// Crypto error code of the server's CONNECTION_CLOSE, without the 0x100.
    alert: Option<u64>,
    established: bool,
    session: bool,
    resumed: bool,
}

/// Connects a client that is not lanspread to `server`, and waits until one side gave up or the server reports it.
fn foreign_client(server: &mut Node, alpn: &[u8], setup: impl FnOnce(&mut SslContextBuilder)) -> (Outcome, Vec<Event>) {
    let mut tls = SslContextBuilder::new(SslMethod::tls()).unwrap();
    tls.set_verify(SslVerifyMode::NONE);
    setup(&mut tls);
    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls).unwrap();
    config.set_application_protos(&[alpn]).unwrap();
    config.set_initial_max_data(1 << 20);
    config.set_initial_max_streams_bidi(4);
    let io = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    io.set_nonblocking(true).unwrap();
    let local = io.local_addr().unwrap();
    let remote = server.addr();
    let mut client =
        quiche::connect(None, &quiche::ConnectionId::from_ref(&[7; 16]), local, remote, &mut config).unwrap();
    let mut events = Vec::new();
    let mut buffer = vec![0; 65_536];
    drive("the client is accepted or refused", || {
        while let Ok((len, _)) = client.send(&mut buffer) {
            io.send_to(&buffer[..len], remote).unwrap();
        }
        server.turn();
        events.extend(server.events());
        while let Ok((len, from)) = io.recv_from(&mut buffer) {
            let _ = client.recv(&mut buffer[..len], quiche::RecvInfo { from, to: local });
        }
        client.on_timeout();
        client.peer_error().is_some()
            || client.local_error().is_some()
            || client.is_closed()
            || (client.is_established() && !events.is_empty())
    });
    // What a ticket would ride on: packets after the handshake.
    for _ in 0..20 {
        while let Ok((len, _)) = client.send(&mut buffer) {
            io.send_to(&buffer[..len], remote).unwrap();
        }
        server.turn();
        events.extend(server.events());
        while let Ok((len, from)) = io.recv_from(&mut buffer) {
            let _ = client.recv(&mut buffer[..len], quiche::RecvInfo { from, to: local });
        }
    }
    let alert = client.peer_error().filter(|error| !error.is_app).map(|error| error.error_code - 0x100);
    let outcome = Outcome {
        alert,
        established: client.is_established(),
        session: client.session().is_some(),
        resumed: client.is_resumed(),
    };
    (outcome, events)
}

fn present(tls: &mut SslContextBuilder, key: &rcgen::KeyPair, certificate_der: &[u8]) {
    tls.set_certificate(&X509::from_der(certificate_der).unwrap()).unwrap();
    tls.set_private_key(&PKey::private_key_from_pkcs8(key.serialized_der()).unwrap()).unwrap();
}

fn self_signed(key: &rcgen::KeyPair) -> rcgen::Certificate {
    rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(key).unwrap()
}

#[test]
fn the_expected_peer_is_reached_and_both_learn_who_the_other_is() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let expect = Some(b.peer_id());
    let (at_a, at_b) = a.connect(&mut b, expect);
    assert_eq!(at_a.peer_id, b.peer_id());
    assert_eq!(at_b.peer_id, a.peer_id());
    assert_eq!((at_a.dial, at_b.dial), (Some(1), None));
    assert_eq!((at_a.remote, at_b.local), (b.addr(), b.addr()));
    assert_eq!((at_b.remote, at_a.local), (a.addr(), a.addr()));
}

#[test]
fn an_impostor_at_the_address_of_a_peer_is_refused_and_named() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let expected = fresh_identity().peer_id();
    a.dial(5, b.addr(), Some(expected));
    let failed = a.wait_for(&mut [&mut b], "the dial fails", |event| Some(event.clone()));
    let Event::DialFailed { dial: 5, identity_mismatch: true, actual, .. } = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(actual, Some(b.peer_id()));
    drive("the impostor is told", || {
        b.turn();
        b.events();
        b.endpoint.stats().connections == 0
    });
}

#[test]
fn a_changed_identity_under_one_address_is_noticed() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (addr, id) = (b.addr(), b.peer_id());
    a.connect(&mut b, Some(id));
    drop(b);
    let mut config = quiet_config();
    config.listen = vec![addr];
    let mut stranger = Node::with(&config, fresh_identity());
    a.dial(2, addr, Some(id));
    let failed = a.wait_for(&mut [&mut stranger], "the dial fails", |event| match event {
        Event::DialFailed { dial: 2, identity_mismatch, actual, .. } => Some((*identity_mismatch, *actual)),
        _ => None,
    });
    assert_eq!(failed, (true, Some(stranger.peer_id())));
}

#[test]
fn the_own_certificate_on_the_other_side_is_reported_like_any_other() {
    let mut a = Node::new();
    let (addr, id) = (a.addr(), a.peer_id());
    a.dial(9, addr, None);
    let mut ups = Vec::new();
    drive("both ends of the connection to itself are up", || {
        a.turn();
        for event in a.events() {
            if let Event::Up { peer_id, dial, .. } = event {
                ups.push((peer_id, dial));
            }
        }
        ups.len() == 2
    });
    ups.sort();
    assert_eq!(ups, [(id, None), (id, Some(9))]);
}

#[test]
fn an_expired_certificate_is_accepted() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.not_before = rcgen::date_time_ymd(1999, 1, 1);
    params.not_after = rcgen::date_time_ymd(2000, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let mut a = Node::with(&quiet_config(), identity_with(&key, &certificate));
    let mut b = Node::new();
    let (at_a, at_b) = a.connect(&mut b, None);
    assert_eq!((at_a.peer_id, at_b.peer_id), (b.peer_id(), a.peer_id()));
}

#[test]
fn an_anonymous_client_is_refused() {
    let mut server = Node::new();
    let (outcome, events) = foreign_client(&mut server, ALPN, |_| {});
    assert_eq!(outcome.alert, Some(116), "certificate_required");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let mut server = Node::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = self_signed(&key);
    let (outcome, events) = foreign_client(&mut server, ALPN, |tls| present(tls, &key, certificate.der()));
    assert_eq!(outcome.alert, Some(43), "unsupported_certificate");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_certificate_that_another_key_signed_is_refused() {
    let mut server = Node::new();
    let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new()).unwrap(), other);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let (outcome, events) = foreign_client(&mut server, ALPN, |tls| present(tls, &key, certificate.der()));
    assert_eq!(outcome.alert, Some(42), "bad_certificate");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_malformed_certificate_is_refused() {
    let mut server = Node::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut der = self_signed(&key).der().to_vec();
    // A flipped bit in the signature, at the very end.
    *der.last_mut().unwrap() ^= 1;
    let (outcome, events) = foreign_client(&mut server, ALPN, |tls| present(tls, &key, &der));
    assert_eq!(outcome.alert, Some(42), "bad_certificate");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    use boring::ssl::{PrivateKeyMethod, PrivateKeyMethodError, SslRef, SslSignatureAlgorithm};

    struct Thief(PKey<boring::pkey::Private>);
    impl PrivateKeyMethod for Thief {
        fn sign(
            &self,
            _: &mut SslRef,
            input: &[u8],
            _: SslSignatureAlgorithm,
            output: &mut [u8],
        ) -> Result<usize, PrivateKeyMethodError> {
            let mut signer = boring::sign::Signer::new(boring::hash::MessageDigest::sha256(), &self.0).unwrap();
            signer.update(input).unwrap();
            Ok(signer.sign(output).unwrap())
        }

        fn decrypt(&self, _: &mut SslRef, _: &[u8], _: &mut [u8]) -> Result<usize, PrivateKeyMethodError> {
            Err(PrivateKeyMethodError::FAILURE)
        }

        fn complete(&self, _: &mut SslRef, _: &mut [u8]) -> Result<usize, PrivateKeyMethodError> {
            Err(PrivateKeyMethodError::FAILURE)
        }
    }

    let mut server = Node::new();
    let victim = fresh_identity();
    let own = rcgen::KeyPair::generate().unwrap();
    let (outcome, events) = foreign_client(&mut server, ALPN, |tls| {
        tls.set_certificate(&X509::from_der(victim.certificate_der()).unwrap()).unwrap();
        tls.set_private_key_method(Thief(PKey::private_key_from_pkcs8(own.serialized_der()).unwrap()));
    });
    assert_eq!(outcome.alert, Some(51), "decrypt_error");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn another_application_protocol_is_refused() {
    let mut server = Node::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = self_signed(&key);
    let (outcome, events) = foreign_client(&mut server, b"lanspread/2", |tls| present(tls, &key, certificate.der()));
    assert!(!outcome.established);
    assert!(outcome.alert.is_some());
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn nothing_is_given_that_a_session_could_be_resumed_with() {
    let mut server = Node::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = self_signed(&key);
    for _ in 0..2 {
        let (outcome, events) = foreign_client(&mut server, ALPN, |tls| present(tls, &key, certificate.der()));
        assert!(outcome.established && !outcome.session && !outcome.resumed);
        let id = peer_id_of_certificate(certificate.der()).unwrap();
        assert!(matches!(events[0], Event::Up { peer_id, dial: None, .. } if peer_id == id), "{events:?}");
    }
}

#[test]
fn an_identity_file_that_cannot_be_used_refuses_the_start_and_stays_as_it_is() {
    let good = {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        std::fs::read_to_string(dir.path().join(IDENTITY_FILE)).unwrap()
    };
    let other = {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        std::fs::read_to_string(dir.path().join(IDENTITY_FILE)).unwrap()
    };
    let certificate_at = good.find("-----BEGIN CERTIFICATE").unwrap();
    let other_certificate_at = other.find("-----BEGIN CERTIFICATE").unwrap();
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("text", b"hello".to_vec()),
        ("not text", vec![0xff; 100]),
        ("key only", good.as_bytes()[..certificate_at].to_vec()),
        ("cut off", good.as_bytes()[..good.len() - 100].to_vec()),
        ("key of another", format!("{}{}", &good[..certificate_at], &other[other_certificate_at..]).into_bytes()),
    ];
    for (name, content) in cases {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(IDENTITY_FILE);
        std::fs::File::create(&file).and_then(|mut out| std::io::Write::write_all(&mut out, &content)).unwrap();
        let error = Identity::load_or_create(dir.path()).expect_err(name);
        let message = error.to_string();
        assert!(message.contains(&file.display().to_string()) && message.contains("backup"), "{name}: {message}");
        assert_eq!(std::fs::read(&file).unwrap(), content, "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(IDENTITY_FILE)).unwrap();
    let error = Identity::load_or_create(dir.path()).expect_err("a directory");
    assert!(matches!(error, IdentityError::Unreadable { .. }), "{error}");
}

#[test]
fn a_dial_where_nobody_listens_fails_in_time() {
    let mut config: Config = quiet_config();
    config.timers.dial_timeout = std::time::Duration::from_millis(200);
    let mut a = Node::with(&config, fresh_identity());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (dial, addr) in [(1, silent.local_addr().unwrap()), (2, SocketAddr::from(([0, 0, 0, 0], 9)))] {
        a.dial(dial, addr, None);
        let failed = a.wait_for(&mut [], "the dial fails", |event| match event {
            Event::DialFailed { dial, identity_mismatch: false, actual: None, .. } => Some(*dial),
            _ => None,
        });
        assert_eq!(failed, dial);
    }
    assert_eq!(a.endpoint.stats().connections, 0);
}
