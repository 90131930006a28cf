//! The directory of the records.
//!
//! `<dataDir>/records/<network>/<containerID>:<ifname>.json`; no part can contain `/` or `:`.
//!
//! A file holds the record as it was written before anything was changed, and behind it, on a line of
//! its own, the record as it was when all had gone well. The first is on the disk before the host is
//! changed. The second is not waited for: a machine that loses it has lost the container too, and the
//! first one says all that has to be undone.

use super::files::{remove, remove_if_empty, write_durably};
use super::{LAYOUT, Owner, Record};
use crate::error::{CniError, code};
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The records of one data directory. While it lives, no GC of another process runs.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// Whether others may work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusive {
    /// ADD, DEL and CHECK of other attachments.
    No,
    /// Nobody.
    Yes,
}

impl Store {
    /// Opens, and makes when it is absent, the store below `data_dir`. Waits for others that hold it.
    ///
    /// # Errors
    /// Code 5.
    pub fn open(data_dir: &Path, exclusive: Exclusive) -> Result<Self, CniError> {
        let directory = data_dir.join("records");
        make_directory(&directory)?;
        let lock = directory.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(|e| CniError::io("open", &lock, &e))?;
        let how = match exclusive {
            Exclusive::No => FlockArg::LockShared,
            Exclusive::Yes => FlockArg::LockExclusive,
        };
        let held = Flock::lock(file, how).map_err(|(_, e)| CniError::io("lock", &lock, &e))?;
        Ok(Self { directory, _lock: held })
    }

    /// Writes a record, over an older one of the same owner. It is on the disk then.
    ///
    /// # Errors
    /// Code 5.
    pub fn put(&self, record: &Record) -> Result<(), CniError> {
        make_directory(&self.network(&record.owner.network))?;
        write_durably(&self.path(&record.owner), &encode(record)?, 0o600)
    }

    /// Writes what has become of a record behind it, without waiting for the disk. What a record has
    /// to say for something to be undone is for [`Self::put`].
    ///
    /// # Errors
    /// Code 5.
    pub fn append(&self, record: &Record) -> Result<(), CniError> {
        let path = self.path(&record.owner);
        let bytes = encode(record)?;
        let file = File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(&bytes))
            .map_err(|e| CniError::io("write", &path, &e))
    }

    /// The record of an attachment.
    ///
    /// # Errors
    /// Code 5, or 6 when it is not to be understood.
    pub fn get(&self, owner: &Owner) -> Result<Option<Record>, CniError> {
        let path = self.path(owner);
        match fs::read(&path) {
            Ok(bytes) => decode(&path, &bytes).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CniError::io("read", &path, &e)),
        }
    }

    /// Removes a record, which may be absent.
    ///
    /// # Errors
    /// Code 5.
    pub fn remove(&self, owner: &Owner) -> Result<(), CniError> {
        let path = self.path(owner);
        remove(&path).map_err(|e| CniError::io("remove", &path, &e))?;
        // Another process may put a record there at any time: then it stays.
        let _ = remove_if_empty(&self.network(&owner.network));
        Ok(())
    }

    /// All attachments, by the names of their records.
    ///
    /// # Errors
    /// Code 5.
    pub fn all_owners(&self) -> Result<Vec<Owner>, CniError> {
        let entries =
            fs::read_dir(&self.directory).map_err(|e| CniError::io("list", &self.directory, &e))?;
        let mut networks: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        networks.sort();
        let owners: Result<Vec<_>, _> = networks.iter().map(|name| self.owners(name)).collect();
        Ok(owners?.concat())
    }

    /// All attachments of a network, by the names of their records.
    ///
    /// # Errors
    /// Code 5.
    pub fn owners(&self, network: &str) -> Result<Vec<Owner>, CniError> {
        let directory = self.network(network);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(CniError::io("list", &directory, &e)),
        };
        let mut owners: Vec<Owner> = entries
            .filter_map(|entry| owner_of(network, entry.ok()?.file_name().to_str()?))
            .collect();
        owners.sort();
        Ok(owners)
    }

    /// Removes what kills have left of records that were being written. The store must be exclusive.
    ///
    /// # Errors
    /// Code 5.
    pub fn sweep(&self, network: &str) -> Result<(), CniError> {
        let directory = self.network(network);
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."))
        {
            fs::remove_file(entry.path()).map_err(|e| CniError::io("remove", &entry.path(), &e))?;
        }
        // Other records keep it.
        let _ = remove_if_empty(&directory);
        Ok(())
    }

    fn network(&self, network: &str) -> PathBuf {
        self.directory.join(network)
    }

    fn path(&self, owner: &Owner) -> PathBuf {
        self.network(&owner.network).join(format!("{}:{}.json", owner.container_id, owner.if_name))
    }
}

fn owner_of(network: &str, file: &str) -> Option<Owner> {
    let (container_id, if_name) = file.strip_suffix(".json")?.split_once(':')?;
    (!container_id.starts_with('.')).then(|| Owner::new(network, container_id, if_name))
}

fn encode(record: &Record) -> Result<Vec<u8>, CniError> {
    let mut bytes = serde_json::to_vec(record)
        .map_err(|e| CniError::caused(code::IO, "cannot encode a record", &e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The last whole record of a file. The first must be whole; what is broken behind it was lost with the
/// machine.
fn decode(path: &Path, bytes: &[u8]) -> Result<Record, CniError> {
    let mut records = serde_json::Deserializer::from_slice(bytes);
    let first = Record::deserialize(&mut records).map_err(|e| {
        CniError::caused(code::DECODE, format!("cannot decode {}", path.display()), &e)
    })?;
    let record = records.into_iter::<Record>().map_while(Result::ok).last().unwrap_or(first);
    if record.layout > LAYOUT {
        let msg = format!("{} was written by a newer release", path.display());
        return Err(CniError::new(code::DECODE, msg));
    }
    Ok(record)
}

/// Makes a directory for nobody else's eyes, with its parents.
fn make_directory(path: &Path) -> Result<(), CniError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| CniError::io("make", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Phase, Step};

    fn record(network: &str, container: &str) -> Record {
        let owner = Owner::new(network, container, "net1");
        Record::intent(owner, vec![Step::File { path: PathBuf::from("/x") }])
    }

    #[test]
    fn record_is_read_back_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Exclusive::No).unwrap();
        let mut record = record("n", "c");
        store.put(&record).unwrap();
        record.phase = Phase::Ready;
        store.put(&record).unwrap();
        assert_eq!(store.get(&record.owner).unwrap(), Some(record.clone()));
        store.remove(&record.owner).unwrap();
        store.remove(&record.owner).unwrap();
        assert_eq!(store.get(&record.owner).unwrap(), None);
        assert_eq!(store.owners("n").unwrap(), []);
    }

    #[test]
    fn owners_are_those_of_the_network_and_leftovers_of_writing_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Exclusive::Yes).unwrap();
        for (network, container) in [("a", "2"), ("a", "1"), ("b", "3")] {
            store.put(&record(network, container)).unwrap();
        }
        fs::write(directory.path().join("records/a/.1:net1.json.77"), "{").unwrap();
        let ids = |owners: Vec<Owner>| -> Vec<String> {
            owners.into_iter().map(|owner| owner.container_id).collect()
        };
        assert_eq!(ids(store.owners("a").unwrap()), ["1", "2"]);
        assert_eq!(ids(store.all_owners().unwrap()), ["1", "2", "3"]);
    }

    #[test]
    fn torn_record_is_an_error_and_not_an_absent_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Exclusive::No).unwrap();
        let record = record("n", "c");
        store.put(&record).unwrap();
        fs::write(store.path(&record.owner), "{\"layout\":1").unwrap();
        assert_eq!(store.get(&record.owner).unwrap_err().code, 6);
        fs::write(store.path(&record.owner), r#"{"layout":1}"#).unwrap();
        assert_eq!(store.get(&record.owner).unwrap_err().code, 6);
    }

    #[test]
    fn what_was_appended_holds_and_what_is_torn_behind_a_record_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Exclusive::No).unwrap();
        let intent = record("n", "c");
        store.put(&intent).unwrap();
        let path = store.path(&intent.owner);
        let whole = fs::metadata(&path).unwrap().len();
        let ready = Record { phase: Phase::Ready, ..intent.clone() };
        store.append(&ready).unwrap();
        assert_eq!(store.get(&intent.owner).unwrap(), Some(ready.clone()));
        let len = fs::metadata(&path).unwrap().len();
        for cut in whole..len - 1 {
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            assert_eq!(store.get(&intent.owner).unwrap(), Some(intent.clone()), "{cut}");
            // As a file system may fill up what it has lost.
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            assert_eq!(store.get(&intent.owner).unwrap(), Some(intent.clone()), "{cut}");
            File::options().write(true).open(&path).unwrap().set_len(whole).unwrap();
            store.append(&ready).unwrap();
        }
        store.put(&intent).unwrap();
        assert_eq!(store.get(&intent.owner).unwrap(), Some(intent.clone()));
    }

    #[test]
    fn nothing_is_appended_to_a_record_that_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Exclusive::No).unwrap();
        let record = record("n", "c");
        assert_eq!(store.append(&record).unwrap_err().code, 5);
        assert_eq!(store.get(&record.owner).unwrap(), None);
    }

    #[test]
    fn read_only_directory_is_code_5() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let error = Store::open(&directory.path().join("file"), Exclusive::No).unwrap_err();
        assert_eq!(error.code, 5);
    }

    #[test]
    fn exclusive_store_waits_for_shared_ones() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Store::open(directory.path(), Exclusive::No).unwrap();
        let also = Store::open(directory.path(), Exclusive::No).unwrap();
        let path = directory.path().to_owned();
        let (done, opened) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let store = Store::open(&path, Exclusive::Yes);
            done.send(()).unwrap();
            drop(store);
        });
        let soon = std::time::Duration::from_millis(50);
        assert!(opened.recv_timeout(soon).is_err());
        drop((shared, also));
        opened.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        waiter.join().unwrap();
    }
}
