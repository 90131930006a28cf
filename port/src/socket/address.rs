//! Where a UNIX socket is.

use super::{AddressError, SocketError};
use crate::error::CallError;
use nix::sys::socket::UnixAddr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest socket path or abstract name, in bytes: the kernel's field has 108, of which a path ends
/// in a NUL and an abstract name starts with one.
pub const ADDRESS_MAX: usize = 107;

/// Address of a UNIX socket.
///
/// As text: a path, or `@name` or `abstract:name` for an abstract socket, which has no file and
/// belongs to the network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// A file.
    Path(PathBuf),
    /// An abstract name, without the leading NUL that stands for it in the kernel.
    Abstract(String),
}

impl SocketAddress {
    /// The kernel's form. The length of an abstract address covers the name and nothing behind it,
    /// as VPP, libmemif, DPDK and QEMU have it.
    pub(super) fn to_unix(&self) -> Result<UnixAddr, SocketError> {
        self.check()?;
        let address = match self {
            Self::Path(path) => UnixAddr::new(path),
            Self::Abstract(name) => UnixAddr::new_abstract(name.as_bytes()),
        };
        Ok(address.map_err(CallError::errno("socket address"))?)
    }

    /// Checks that the kernel takes the address.
    ///
    /// # Errors
    /// [`AddressError::TooLong`] and [`AddressError::Bad`].
    pub fn check(&self) -> Result<(), AddressError> {
        let bytes = match self {
            Self::Path(path) => path.as_os_str().as_bytes(),
            Self::Abstract(name) => name.as_bytes(),
        };
        let (len, limit) = (bytes.len(), ADDRESS_MAX);
        if len == 0 || bytes.contains(&0) {
            return Err(AddressError::Bad { address: self.to_string() });
        }
        if len > limit {
            return Err(AddressError::TooLong { address: self.to_string(), len, limit });
        }
        Ok(())
    }
}

impl FromStr for SocketAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let name = text.strip_prefix('@').or_else(|| text.strip_prefix("abstract:"));
        let address = match name {
            Some(name) => Self::Abstract(name.to_owned()),
            None => Self::Path(text.into()),
        };
        address.check()?;
        Ok(address)
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let name = SocketAddress::Abstract("memif".into());
        assert_eq!("@memif".parse(), Ok(name.clone()));
        assert_eq!("abstract:memif".parse(), Ok(name.clone()));
        assert_eq!(name.to_string(), "@memif");
        assert_eq!("/run/x.sock".parse(), Ok(SocketAddress::Path("/run/x.sock".into())));
    }

    #[test]
    fn too_long_names_value_and_limit() {
        let path = format!("/{}", "p".repeat(107));
        let error = path.parse::<SocketAddress>().unwrap_err();
        assert_eq!(error, AddressError::TooLong { address: path, len: 108, limit: 107 });
        let longest: SocketAddress = format!("/{}", "p".repeat(106)).parse().unwrap();
        assert!(longest.to_unix().is_ok());
        let longest: SocketAddress = format!("@{}", "p".repeat(107)).parse().unwrap();
        assert!(longest.to_unix().is_ok());
        assert!(matches!("".parse::<SocketAddress>(), Err(AddressError::Bad { .. })));
        assert!(matches!("@".parse::<SocketAddress>(), Err(AddressError::Bad { .. })));
    }

    #[test]
    fn abstract_address_has_no_trailing_nul() {
        let address = SocketAddress::Abstract("ab".into()).to_unix().unwrap();
        assert_eq!(nix::sys::socket::SockaddrLike::len(&address), 2 + 1 + 2);
        assert_eq!(address.as_abstract(), Some(b"ab".as_slice()));
    }
}
