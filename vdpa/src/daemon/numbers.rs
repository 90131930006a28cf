//! Which number a device's socket has. A device keeps its number, whatever becomes of the others, of the
//! list that it is in, and of the daemon: containers have mounted the socket by its name.
//!
//! They are kept in a file of JSON, `{"0000:82:00.2":0,"0000:82:00.3":1}`. Each new device gets the lowest
//! number that no device has had. When there are as many as devices fit, those of devices that are not
//! served are forgotten.

use super::DeviceName;
use crate::files::{ContentError, DEVICES_MAX, FileError, read, replace};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The numbers of all devices that have had one.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    file: Option<PathBuf>,
    numbers: BTreeMap<DeviceName, u32>,
    /// Whether the file lacks something.
    changed: bool,
}

impl Numbers {
    /// Those of a file, which need not be there; without one they last as long as this.
    pub(super) fn load(file: Option<PathBuf>) -> Result<Self, FileError> {
        let numbers = file.as_deref().map(numbers_in).transpose()?.unwrap_or_default();
        Ok(Self { file, numbers, changed: false })
    }

    /// A device's number.
    pub(super) fn of(&mut self, device: &DeviceName, serves: impl Fn(&DeviceName) -> bool) -> u32 {
        if let Some(&number) = self.numbers.get(device) {
            return number;
        }
        if self.numbers.len() >= DEVICES_MAX {
            self.numbers.retain(|device, _| serves(device));
        }
        let taken: BTreeSet<_> = self.numbers.values().copied().collect();
        let number = (0..).zip(&taken).find(|(free, taken)| free != *taken);
        let number = number.map_or_else(|| taken.last().map_or(0, |last| last + 1), |it| it.0);
        self.numbers.insert(device.clone(), number);
        self.changed = true;
        number
    }

    /// Writes what is new to the file.
    pub(super) fn store(&mut self) -> Result<(), FileError> {
        let Some(file) = self.file.as_deref().filter(|_| self.changed) else { return Ok(()) };
        let failed = |source: io::Error| FileError::Write { path: file.to_owned(), source };
        let mut text = serde_json::to_vec(&self.numbers).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        replace(file, &text)?;
        self.changed = false;
        Ok(())
    }
}

fn numbers_in(path: &Path) -> Result<BTreeMap<DeviceName, u32>, FileError> {
    let bytes = match read(path) {
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(BTreeMap::new());
        }
        bytes => bytes?,
    };
    parse(&bytes).map_err(|reason| {
        let reason = format!("{reason}; without this file all sockets are numbered anew");
        FileError::Content { path: path.to_owned(), content: ContentError { place: None, reason } }
    })
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<DeviceName, u32>, String> {
    let numbers: BTreeMap<DeviceName, u32> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut taken = BTreeSet::new();
    for (device, &number) in &numbers {
        if number as usize >= DEVICES_MAX {
            return Err(format!("{device} has number {number}, and they end before {DEVICES_MAX}"));
        }
        if !taken.insert(number) {
            return Err(format!("{device} has number {number}, which another device has"));
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> DeviceName {
        DeviceName::Pci(crate::PciAddress::new(n, 0, 0, 0).unwrap())
    }

    #[test]
    fn numbers_last_from_one_start_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("numbers");
        let mut numbers = Numbers::load(Some(file.clone())).unwrap();
        assert_eq!((numbers.of(&name(7), |_| true), numbers.of(&name(3), |_| true)), (0, 1));
        numbers.store().unwrap();
        let mut numbers = Numbers::load(Some(file)).unwrap();
        assert_eq!((numbers.of(&name(5), |_| true), numbers.of(&name(3), |_| true)), (2, 1));
    }

    #[test]
    fn gaps_are_used_and_when_all_are_taken_unserved_devices_lose_theirs() {
        let some = BTreeMap::from([(name(1), 0), (name(2), 2)]);
        let mut numbers = Numbers { numbers: some, ..Numbers::default() };
        assert_eq!(numbers.of(&name(3), |_| true), 1);
        assert_eq!(numbers.of(&name(4), |_| true), 3);
        let many = u32::try_from(DEVICES_MAX).unwrap();
        numbers.numbers = (0..many).map(|n| (name(n), n)).collect();
        assert_eq!(numbers.of(&name(many), |device| *device != name(9)), 9);
        assert_eq!(numbers.of(&name(8), |_| true), 8);
    }

    #[test]
    fn file_that_makes_no_sense_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("numbers");
        for (text, why) in [
            ("{", "EOF"),
            ("{\"vdpa0\": 1}", "is no PCI address"),
            ("{\"82:00.2\": 1, \"82:00.3\": 1}", "which another device has"),
            ("{\"82:00.2\": 4096}", "end before 4096"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Numbers::load(Some(file.clone())).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("numbered anew"), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
