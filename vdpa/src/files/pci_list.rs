//! `pciList.dat`: the VFs that are to have sockets, one PCI address a line.
//!
//! ```text
//! 0000:82:00.2
//! 0000:82:00.3
//! ```
//!
//! Whoever writes it appends, so a device may come again after a restart: it counts once, where it came
//! first. Lines may end as on Windows; the last one may lack its end. Blanks around an address, empty lines,
//! and all from a `#` on mean nothing.

use super::{ContentError, DEVICES_MAX, FileError, Place, read};
use crate::pci::PciAddress;
use std::collections::HashSet;
use std::path::Path;

/// Reads a list.
///
/// # Errors
/// [`FileError`]; what makes no sense is named with its line.
pub fn load(path: &Path) -> Result<Vec<PciAddress>, FileError> {
    parse(&read(path)?).map_err(|content| FileError::Content { path: path.to_owned(), content })
}

/// Takes a list apart.
///
/// # Errors
/// A line is no text, or no address; or there are more than [`DEVICES_MAX`] devices.
pub fn parse(bytes: &[u8]) -> Result<Vec<PciAddress>, ContentError> {
    let (mut list, mut seen) = (Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let at = Place::Line(number);
        let Some(address) = address(line).map_err(|why| ContentError::at(at, why))? else {
            continue;
        };
        if seen.insert(address) {
            list.push(address);
        }
        if list.len() > DEVICES_MAX {
            let why = format!("one device more than the {DEVICES_MAX} that fit");
            return Err(ContentError::at(at, why));
        }
    }
    Ok(list)
}

fn address(line: &[u8]) -> Result<Option<PciAddress>, String> {
    let line = str::from_utf8(line).map_err(|_| "is not UTF-8 text".to_owned())?;
    let text = line.split('#').next().unwrap_or_default().trim_matches([' ', '\t', '\r']);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: crate::pci::PciAddressError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[PciAddress]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn file_of_a_device_plugin_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pciList.dat");
        std::fs::write(&path, "0000:82:00.3\n0000:82:00.2\n").unwrap();
        assert_eq!(shown(&load(&path).unwrap()), ["0000:82:00.3", "0000:82:00.2"]);
    }

    #[test]
    fn repeated_devices_count_once_and_what_means_nothing_is_skipped() {
        let text = b"# VFs\r\n\n82:00.3\r\n \t0000:82:00.2 # second\n0000:82:00.3\n\n82:00.4";
        let list = parse(text).unwrap();
        assert_eq!(shown(&list), ["0000:82:00.3", "0000:82:00.2", "0000:82:00.4"]);
        assert!(parse(b"").unwrap().is_empty());
        assert!(parse(b"\n#\n").unwrap().is_empty());
    }

    #[test]
    fn line_that_is_no_address_is_named() {
        let cases: [(&[u8], usize, &str); 5] = [
            (b"0000:82:00.2\n0000:82:00\n", 2, "no dot"),
            (b"\r\n\n0000:82:00.2 0000:82:00.3\n", 3, "domain"),
            (b"[{\"pciAddress\": \"0000:82:00.2\"}]\n", 1, "no PCI address"),
            (b"0000:82:00.2\n\xff\xfe\n", 2, "UTF-8"),
            (b"0000:82:00.2\0\n", 1, "function"),
        ];
        for (text, line, why) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.place, Some(Place::Line(line)), "{error}");
            assert!(error.reason.contains(why), "{error}");
        }
    }

    #[test]
    fn error_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pciList.dat");
        std::fs::write(&path, "0000:82:00.2\nvdpa0\n").unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: line 2: \"vdpa0\"", path.display())), "{error}");
    }

    #[test]
    fn more_devices_than_fit_are_refused_at_the_line() {
        let lines = |count| {
            let line = |n: usize| format!("{n:04x}:00:00.0\n");
            (0..count).map(line).collect::<String>()
        };
        assert_eq!(parse(lines(DEVICES_MAX).repeat(2).as_bytes()).unwrap().len(), DEVICES_MAX);
        let error = parse(lines(DEVICES_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(error.place, Some(Place::Line(DEVICES_MAX + 1)));
    }
}
