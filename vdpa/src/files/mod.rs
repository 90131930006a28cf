//! The files by which devices are handed to the relay, and sockets to the look-up.
//!
//! | file | written by | read by | what it is |
//! |---|---|---|---|
//! | [`pciList.dat`](pci_list) | device plugin | relay | addresses of VFs, one a line |
//! | [`socketList.dat`](socket_list) | relay | look-up | each VF with its socket, JSON |

mod changes;
mod entry;
mod error;
pub mod pci_list;
mod replace;
pub mod socket_list;

pub use changes::Changes;
#[cfg(feature = "grpc")]
pub(crate) use entry::check_path;
pub use entry::{Entry, EntryError, check};
pub use error::{ContentError, FileError, Place};
pub(crate) use replace::replace;

use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Most devices in a list.
pub const DEVICES_MAX: usize = 4096;

/// Most bytes of a list: more than the longest one has.
const BYTES_MAX: u64 = 2 << 20;

/// Reads a regular file of at most [`BYTES_MAX`]: anything else must neither keep us waiting nor fill memory.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source: io::Error| FileError::Read { path: path.to_owned(), source };
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FileError::NoFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if read as u64 > BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: BYTES_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
            let refused = read(path);
            assert!(matches!(refused, Err(FileError::NoFile { .. })), "{refused:?}");
        }
    }

    #[test]
    fn absent_and_endless_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, FileError::Read { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        let len = |len| File::create(&path).unwrap().set_len(len).unwrap();
        len(BYTES_MAX);
        assert_eq!(read(&path).unwrap().len() as u64, BYTES_MAX);
        len(BYTES_MAX + 1);
        assert!(matches!(read(&path), Err(FileError::TooLarge { .. })));
    }
}
