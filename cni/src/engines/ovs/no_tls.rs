//! A build without TLS.

use super::OvsError;
use super::address::Timed;
use crate::plan::TlsFiles;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::time::Instant;

/// Credentials: there are none.
#[derive(Debug, Clone)]
pub struct Credentials(Infallible);

impl Credentials {
    /// Refuses.
    ///
    /// # Errors
    /// [`OvsError::Tls`], always.
    pub fn read(_: &TlsFiles) -> Result<Self, OvsError> {
        Err(OvsError::Tls { reason: "this build has no TLS".to_owned() })
    }
}

/// A connection that is encrypted: there is none.
#[derive(Debug)]
pub struct TlsStream(Infallible);

impl TlsStream {
    /// Nothing.
    ///
    /// # Errors
    /// None.
    pub const fn connect(_: Timed, _: &str, by: &Credentials) -> Result<Self, OvsError> {
        match by.0 {}
    }

    /// Nothing.
    pub const fn set_deadline(&mut self, _: Instant) {
        match self.0 {}
    }

    /// Nothing.
    pub fn failure(&self, _: io::Error) -> OvsError {
        match self.0 {}
    }
}

impl Read for TlsStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for TlsStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
