//! QUIC and TLS parameters, and who is let in: any peer that proves the key of a well-formed self-signed P-256
//! certificate. Who that is says its [`PeerId`](crate::types::PeerId); whether it is welcome decides the engine.

use boring::pkey::PKey;
use boring::ssl::{
    SslAlert, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyError, SslVerifyMode,
    SslVersion,
};
use boring::x509::X509;
use bytes::Bytes;

use super::BindError;
use crate::config::{Config, Congestion};
use crate::identity::{CertificateError, Identity, peer_id_of_certificate};

/// The one application protocol that is spoken.
pub const ALPN: &[u8] = b"lanspread/1";

/// Streams of each kind that the peer may have open at once.
const PEER_BIDI_STREAMS: u64 = 128;
const PEER_UNI_STREAMS: u64 = 32;
/// Where flow-control windows start; they grow by themselves while the connection is busy. Unread data is bounded by
/// the window, so small windows bound what an idle or hostile peer can make this side hold.
const FIRST_WINDOW: u64 = 256 << 10;
/// Before the first sample. A LAN answers within a few milliseconds, and the standard 333 ms would make the first lost
/// packet of a handshake cost a second.
const INITIAL_RTT: std::time::Duration = std::time::Duration::from_millis(30);
/// Milliseconds that acknowledgements may be held back: a bound for the peer's timers; here they never wait.
const MAX_ACK_DELAY_MS: u64 = 5;

/// Lets quiche keep the caller's own buffers until they are acknowledged, instead of copies.
#[derive(Clone, Debug, Default)]
pub struct SharedBytes;

impl quiche::BufFactory for SharedBytes {
    type Buf = Bytes;
    type DgramBuf = Vec<u8>;

    fn buf_from_slice(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }

    fn dgram_buf_from_slice(bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
}

/// The parameters of all connections, for both roles. `receive_buffer`: bytes that the socket really holds.
pub fn parameters(config: &Config, identity: &Identity, receive_buffer: usize) -> Result<quiche::Config, BindError> {
    let tls = context(identity).map_err(|error| BindError::Tls(error.to_string()))?;
    let build = || -> Result<quiche::Config, quiche::Error> {
        let mut quic = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls)?;
        // Nothing below may call `verify_peer`: it would replace the verification of the context.
        quic.set_application_protos(&[ALPN])?;
        quic.grease(false);
        quic.set_disable_active_migration(true);
        quic.set_active_connection_id_limit(2);
        quic.set_max_idle_timeout(millis(idle_timeout(config)));
        quic.set_initial_rtt(INITIAL_RTT);
        quic.set_max_ack_delay(MAX_ACK_DELAY_MS);
        quic.set_max_recv_udp_payload_size(65_527);
        quic.discover_pmtu(true);
        // A window that is larger than the socket's buffer turns a late reader into packet loss.
        let window = config.transport.max_window.min(receive_buffer as u64).max(FIRST_WINDOW);
        quic.set_initial_max_data(FIRST_WINDOW);
        quic.set_initial_max_stream_data_bidi_local(FIRST_WINDOW);
        quic.set_initial_max_stream_data_bidi_remote(FIRST_WINDOW);
        quic.set_initial_max_stream_data_uni(FIRST_WINDOW);
        quic.set_max_connection_window(window);
        quic.set_max_stream_window(window);
        quic.set_initial_max_streams_bidi(PEER_BIDI_STREAMS);
        quic.set_initial_max_streams_uni(PEER_UNI_STREAMS);
        quic.set_cc_algorithm(match config.transport.congestion {
            Congestion::Bbr2 => quiche::CongestionControlAlgorithm::Bbr2Gcongestion,
            Congestion::Cubic => quiche::CongestionControlAlgorithm::CUBIC,
        });
        quic.enable_pacing(true);
        Ok(quic)
    };
    build().map_err(|error| BindError::Tls(error.to_string()))
}

/// Liveness is the engine's: this only cleans up after peers that the engine has no connection object for any more.
pub(super) fn idle_timeout(config: &Config) -> std::time::Duration {
    config.timers.stale_after.saturating_mul(2)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn context(identity: &Identity) -> Result<SslContextBuilder, boring::error::ErrorStack> {
    let mut tls = SslContextBuilder::new(SslMethod::tls())?;
    let certificate = X509::from_der(identity.certificate_der())?;
    tls.set_certificate(&certificate)?;
    let key = PKey::private_key_from_pkcs8(identity.private_key_der())?;
    tls.set_private_key(&key)?;
    tls.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    tls.set_curves_list("X25519:P-256")?;
    // A resumed session would skip the verification below.
    tls.set_options(SslOptions::NO_TICKET);
    tls.set_session_cache_mode(SslSessionCacheMode::OFF);
    tls.set_custom_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, verify);
    Ok(tls)
}

/// That the peer holds the key is proved by its CertificateVerify, which BoringSSL checks. Dates are ignored: many a
/// party PC has a dead clock battery, and nobody ever renews these certificates.
fn verify(tls: &mut SslRef) -> Result<(), SslVerifyError> {
    let refuse = SslVerifyError::Invalid;
    let certificate = tls.peer_certificate().ok_or(refuse(SslAlert::CERTIFICATE_REQUIRED))?;
    let der = certificate.to_der().map_err(|_| refuse(SslAlert::BAD_CERTIFICATE))?;
    peer_id_of_certificate(&der).map_err(|error| match error {
        CertificateError::Malformed => refuse(SslAlert::BAD_CERTIFICATE),
        CertificateError::NotP256 => refuse(SslAlert::UNSUPPORTED_CERTIFICATE),
    })?;
    let key = certificate.public_key().map_err(|_| refuse(SslAlert::BAD_CERTIFICATE))?;
    match certificate.verify(&key) {
        Ok(true) => Ok(()),
        _ => Err(refuse(SslAlert::BAD_CERTIFICATE)),
    }
}

/// What a transport or TLS error code means (RFC 9000, section 20.1; RFC 8446, section 6).
pub(super) fn describe(code: u64) -> String {
    const CRYPTO: u64 = 0x100;
    let name = match code {
        0x0 => "no error",
        0x1 => "internal error",
        0x2 => "connection refused",
        0x3 => "flow control error",
        0x4 => "stream limit error",
        0x5 => "stream state error",
        0x6 => "final size error",
        0x7 => "frame encoding error",
        0x8 => "transport parameter error",
        0x9 => "connection id limit error",
        0xa => "protocol violation",
        0xb => "invalid token",
        0xd => "crypto buffer exceeded",
        0xe => "key update error",
        0xf => "AEAD limit reached",
        _ if code & !0xff == CRYPTO => match code - CRYPTO {
            40 => "TLS: handshake failure",
            42 => "TLS: bad certificate",
            43 => "TLS: unsupported certificate",
            46 => "TLS: certificate unknown",
            50 => "TLS: decode error",
            51 => "TLS: decrypt error: the key of the certificate was not proved",
            70 => "TLS: protocol version",
            116 => "TLS: a certificate is required",
            120 => "TLS: it speaks another application protocol",
            _ => "TLS alert",
        },
        _ => "unknown error",
    };
    format!("{name} (0x{code:x})")
}
