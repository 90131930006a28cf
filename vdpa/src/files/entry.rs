//! A device and its socket.

use super::{ContentError, DEVICES_MAX, Place};
use crate::pci::PciAddress;
use ringport::socket::ADDRESS_MAX;
use std::collections::HashMap;
use std::hash::Hash;
use thiserror::Error;

/// A VF, and where its vhost-user socket is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pci_address: PciAddress,
    socket_path: String,
}

/// A path that no socket can have for others to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the socket's path {0}")]
pub struct EntryError(&'static str);

impl Entry {
    /// A device with its socket, whose path must be absolute, of at most 107 bytes, and printable.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn new(
        pci_address: PciAddress,
        socket_path: impl Into<String>,
    ) -> Result<Self, EntryError> {
        let socket_path = socket_path.into();
        check_path(&socket_path)?;
        Ok(Self { pci_address, socket_path })
    }

    /// The device.
    #[must_use]
    pub fn pci_address(&self) -> PciAddress {
        self.pci_address
    }

    /// Its socket.
    #[must_use]
    pub fn socket_path(&self) -> &str {
        &self.socket_path
    }
}

pub(crate) fn check_path(path: &str) -> Result<(), EntryError> {
    if path.is_empty() {
        return Err(EntryError("is empty"));
    }
    if !path.starts_with('/') {
        return Err(EntryError("does not begin with /, and others would look for it elsewhere"));
    }
    if path.len() > ADDRESS_MAX {
        return Err(EntryError("is of more than 107 bytes, which no socket's can be"));
    }
    if path.chars().any(char::is_control) {
        return Err(EntryError("contains a control character"));
    }
    Ok(())
}

/// Checks that entries make a list: at most [`DEVICES_MAX`], each device once, each socket once.
///
/// # Errors
/// [`ContentError`] with the second entry of two.
pub fn check(entries: &[Entry]) -> Result<(), ContentError> {
    if entries.len() > DEVICES_MAX {
        let count = entries.len();
        return Err(ContentError::of_all(format!(
            "{count} devices, and at most {DEVICES_MAX} fit"
        )));
    }
    let (mut devices, mut sockets) = (HashMap::new(), HashMap::new());
    for (at, entry) in (1..).zip(entries) {
        once(&mut devices, entry.pci_address, at)?;
        once(&mut sockets, entry.socket_path.as_str(), at)?;
    }
    Ok(())
}

fn once<K>(seen: &mut HashMap<K, usize>, key: K, at: usize) -> Result<(), ContentError>
where
    K: Eq + Hash + Copy + std::fmt::Display,
{
    match seen.insert(key, at) {
        None => Ok(()),
        Some(first) => {
            Err(ContentError::at(Place::Entry(at), format!("{key} is in entry {first} already")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, path: &str) -> Entry {
        Entry::new(address.parse().unwrap(), path).unwrap()
    }

    #[test]
    fn paths_that_no_socket_can_have_are_refused() {
        let long = format!("/{}", "p".repeat(ADDRESS_MAX));
        let cases = [
            ("", "empty"),
            ("vdpa-0", "begin with /"),
            (long.as_str(), "107"),
            ("/a\nb", "control"),
            ("/a\0b", "control"),
        ];
        for (path, why) in cases {
            let error = Entry::new("82:00.2".parse().unwrap(), path).unwrap_err();
            assert!(error.to_string().contains(why), "{path:?}: {error}");
        }
        entry("82:00.2", &long[..ADDRESS_MAX]);
    }

    #[test]
    fn device_or_socket_that_comes_twice_is_named_with_its_first_place() {
        let a = entry("82:00.2", "/a");
        assert_eq!(check(&[a.clone(), entry("82:00.3", "/b")]), Ok(()));
        let twice = check(&[a.clone(), entry("0000:82:00.2", "/b")]).unwrap_err();
        assert_eq!(twice.to_string(), "entry 2: 0000:82:00.2 is in entry 1 already");
        let twice = check(&[a, entry("82:00.3", "/a")]).unwrap_err();
        assert_eq!(twice.to_string(), "entry 2: /a is in entry 1 already");
    }

    #[test]
    fn most_devices_fit_and_one_more_does_not() {
        let address = |n: u32| PciAddress::new(n, 0, 0, 0).unwrap();
        let many = 0..=u32::try_from(DEVICES_MAX).unwrap();
        let many: Vec<_> = many.map(|n| Entry::new(address(n), format!("/{n}")).unwrap()).collect();
        assert_eq!(check(&many[1..]), Ok(()));
        assert!(check(&many).unwrap_err().to_string().contains("4097 devices"));
    }
}
