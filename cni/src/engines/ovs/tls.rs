//! TLS towards the database, as Open vSwitch's own programs have it: both ends have a certificate of an
//! authority that the other one trusts. Names are not compared: those certificates name the program that
//! they were made for, and not a host.
//!
//! Spec: ovsdb-server(1), "Public Key Infrastructure Options"; ovs-pki(8)

use super::OvsError;
use super::address::Timed;
use crate::plan::TlsFiles;
use crate::state::read_file;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is in the files by which both ends know each other.
#[derive(Debug, Clone)]
pub struct Credentials {
    config: Arc<ClientConfig>,
    files: TlsFiles,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// [`OvsError::Credentials`]
    pub fn read(files: &TlsFiles) -> Result<Self, OvsError> {
        Ok(Self { config: Arc::new(configuration(files)?), files: files.clone() })
    }
}

/// A connection that is encrypted.
#[derive(Debug)]
pub struct TlsStream {
    stream: StreamOwned<ClientConnection, Timed>,
    files: TlsFiles,
}

impl TlsStream {
    /// Agrees with the database on a connection to `host`, by the deadline of `socket`.
    ///
    /// # Errors
    /// [`OvsError::Tls`]; [`OvsError::Io`] when the connection breaks or its time is over.
    pub fn connect(socket: Timed, host: &str, by: &Credentials) -> Result<Self, OvsError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| OvsError::Address { given: host.to_owned() })?;
        let connection = ClientConnection::new(Arc::clone(&by.config), name);
        let connection = connection.map_err(|e| refusal(&e, &by.files))?;
        let stream = StreamOwned::new(connection, socket);
        let mut this = Self { stream, files: by.files.clone() };
        let agreed = this.stream.conn.complete_io(&mut this.stream.sock);
        agreed.map_err(|error| this.failure(error))?;
        Ok(this)
    }

    /// Sets by when the next reading or writing must be done.
    pub const fn set_deadline(&mut self, deadline: Instant) {
        self.stream.sock.set_deadline(deadline);
    }

    /// What an error means.
    pub fn failure(&self, error: io::Error) -> OvsError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => refusal(error, &self.files),
            None if error.kind() == io::ErrorKind::UnexpectedEof => OvsError::Closed,
            None => OvsError::Io(error),
        }
    }
}

impl Read for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }
}

impl Write for TlsStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn refusal(error: &rustls::Error, files: &TlsFiles) -> OvsError {
    let reason = match error {
        rustls::Error::InvalidCertificate(_) => {
            format!("its certificate is none of {}: {error}", files.ca_cert.display())
        }
        rustls::Error::AlertReceived(_) => {
            format!("it does not take {}: {error}", files.certificate.display())
        }
        _ => error.to_string(),
    };
    OvsError::Tls { reason }
}

fn configuration(files: &TlsFiles) -> Result<ClientConfig, OvsError> {
    let provider = Arc::new(ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for authority in certificates("caCert", &files.ca_cert)? {
        authorities
            .add(authority)
            .map_err(|e| credentials("caCert", &files.ca_cert, &e.to_string()))?;
    }
    let chain = certificates("certificate", &files.certificate)?;
    let key = read("privateKey", &files.private_key)?;
    // What is wrong with a key is not for errors.
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| credentials("privateKey", &files.private_key, "it holds no private key"))?;
    let verifier = Arc::new(OfAuthority { authorities, provider: Arc::clone(&provider) });
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            builder.with_client_auth_cert(chain, key)
        })
        .map_err(|_| {
            let reason = format!("it does not fit {}", files.certificate.display());
            credentials("privateKey", &files.private_key, &reason)
        })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, OvsError> {
    let pem = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| credentials(key, path, "it holds no certificates"))
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, OvsError> {
    read_file(path).map_err(|e| credentials(key, path, &e.to_string()))
}

fn credentials(key: &'static str, path: &Path, reason: &str) -> OvsError {
    OvsError::Credentials { key, path: path.to_owned(), reason: reason.to_owned() }
}

/// Takes a database whose certificate is of an authority, whatever its name.
#[derive(Debug)]
struct OfAuthority {
    authorities: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.authorities,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
