//! TLS for the HTTP client, by the library that QUIC uses already: a second one would be twice the surface.
//!
//! Servers are verified against the system's certificates, or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` name.

use std::fmt;
use std::io::{Read, Write};

use boring::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVersion};
use boring::x509::X509VerifyError;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Where systems that BoringSSL does not know keep their certificates.
#[cfg(not(windows))]
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Wraps the connections of `https` URLs.
#[derive(Debug)]
pub(super) struct TlsConnector;

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().ok_or(Error::Tls("the URL names no host"))?;
        // An IPv6 address is verified without its brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut adapter = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        adapter.set_timeout(details.timeout);
        let stream = connector().map_err(|error| other(&error))?.connect(host, adapter).map_err(failed)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A connection inside TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: SslStream<TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

/// Verifies chain, dates and host name.
fn connector() -> Result<SslConnector, boring::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    #[cfg(not(windows))]
    for bundle in BUNDLES {
        if std::path::Path::new(bundle).is_file() {
            // One that cannot be read leaves the others.
            let _ = builder.set_ca_file(bundle);
        }
    }
    #[cfg(windows)]
    system_store::add_to(&mut builder);
    Ok(builder.build())
}

fn failed<S>(error: HandshakeError<S>) -> Error {
    match error {
        HandshakeError::SetupFailure(error) => other(&error),
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => {
            let verified = stream.ssl().verify_result();
            match (verified, stream.into_error().into_io_error()) {
                (Err(refused), _) if refused != X509VerifyError::INVALID_CALL => {
                    let reason = refused.error_string();
                    other(&format!("the server's certificate is not accepted: {reason}"))
                }
                // A deadline that has passed comes through as what it is.
                (_, Ok(error)) => error.into(),
                (_, Err(error)) => other(&error),
            }
        }
    }
}

fn other(error: &dyn fmt::Display) -> Error {
    Error::Io(std::io::Error::other(format!("TLS: {error}")))
}

#[cfg(windows)]
mod system_store {
    //! The certificates that Windows trusts.

    use std::ffi::c_void;
    use std::ptr;

    use boring::ssl::SslContextBuilder;
    use boring::x509::X509;

    /// `CERT_CONTEXT`.
    #[repr(C)]
    struct CertContext {
        encoding_type: u32,
        encoded: *const u8,
        encoded_len: u32,
        info: *mut c_void,
        store: *mut c_void,
    }

    #[link(name = "crypt32")]
    unsafe extern "system" {
        fn CertOpenSystemStoreW(provider: usize, protocol: *const u16) -> *mut c_void;
        fn CertEnumCertificatesInStore(store: *mut c_void, previous: *const CertContext) -> *const CertContext;
        fn CertCloseStore(store: *mut c_void, flags: u32) -> i32;
    }

    pub(super) fn add_to(builder: &mut SslContextBuilder) {
        let name: Vec<u16> = "ROOT\0".encode_utf16().collect();
        // SAFETY: the name ends with a zero; 0 is the default provider.
        let store = unsafe { CertOpenSystemStoreW(0, name.as_ptr()) };
        if store.is_null() {
            return;
        }
        let mut certificate: *const CertContext = ptr::null();
        loop {
            // SAFETY: the store is open; the call frees the context that it is given and returns the next one, or null.
            certificate = unsafe { CertEnumCertificatesInStore(store, certificate) };
            if certificate.is_null() {
                break;
            }
            // SAFETY: a context that was returned is valid until it is handed back, as are the bytes it points to.
            let der = unsafe {
                let context = &*certificate;
                std::slice::from_raw_parts(context.encoded, context.encoded_len as usize)
            };
            if let Ok(certificate) = X509::from_der(der) {
                // One that is there twice, or not understood, leaves the others.
                let _ = builder.cert_store_mut().add_cert(certificate);
            }
        }
        // SAFETY: opened above and not used after this.
        unsafe { CertCloseStore(store, 0) };
    }
}
