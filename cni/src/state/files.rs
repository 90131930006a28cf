//! Files that are there whole or not at all.

use crate::error::CniError;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most bytes of a file with credentials.
const CREDENTIALS_MAX: u64 = 1 << 20;

/// Writes a file so that readers, and whoever comes after a kill, find the old one or the new one. The
/// directory must exist. A machine that loses its power may lose the file: it is for what those need
/// who are lost as well.
///
/// # Errors
/// Code 5.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CniError> {
    let temporary = temporary_of(path);
    let written = write_new(&temporary, bytes, mode).and_then(|_| fs::rename(&temporary, path));
    written.map_err(|e| cannot_write(path, &e))
}

/// The same, and waits until it is on the disk, which takes two writes of the journal: one before the
/// file is renamed, or its name might outlive what is in it, and one after.
///
/// # Errors
/// Code 5.
pub(super) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CniError> {
    let temporary = temporary_of(path);
    let written = write_new(&temporary, bytes, mode)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory_of(path));
    written.map_err(|e| cannot_write(path, &e))
}

fn cannot_write(path: &Path, error: &io::Error) -> CniError {
    // The error that matters is the one before.
    let _ = fs::remove_file(temporary_of(path));
    CniError::io("write", path, error)
}

/// What a file is called until it is whole. Always the same, so that what a kill leaves is found.
fn temporary_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    absent_is_fine(path, fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Reads a file of credentials: a regular one of at most a mebibyte.
///
/// # Errors
/// When it is something else, or cannot be read.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // What is no file must not keep us waiting.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(CREDENTIALS_MAX + 1).read_to_end(&mut bytes)?;
    if read as u64 > CREDENTIALS_MAX {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

/// Removes a file of a container, which may be absent. Where its directory was, nothing else is
/// followed: behind a link are somebody else's files.
///
/// # Errors
/// Code 5.
pub fn remove_file(path: &Path) -> Result<(), CniError> {
    let pinned = match Pinned::new(path) {
        Err(e) if is_elsewhere(&e) => return Ok(()),
        other => other.map_err(|e| CniError::io("remove", path, &e))?,
    };
    remove(pinned.path()).map_err(|e| CniError::io("remove", path, &e))
}

/// A file in a directory that somebody else may put a link in the place of: the directory is opened
/// once, without following one, and stays the one that the file is looked for in.
#[derive(Debug)]
pub struct Pinned {
    path: PathBuf,
    _directory: File,
}

impl Pinned {
    /// Opens the directory of a file.
    ///
    /// # Errors
    /// When it is not there, or is no directory.
    pub fn new(path: &Path) -> io::Result<Self> {
        let no_file = || io::Error::from(io::ErrorKind::InvalidInput);
        let parent = path.parent().ok_or_else(no_file)?;
        let name = path.file_name().ok_or_else(no_file)?;
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        let directory = File::options().read(true).custom_flags(flags).open(parent)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: directory })
    }

    /// The file, for as long as this lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the directory is not there, or is a link or a file.
fn is_elsewhere(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || e.raw_os_error() == Some(Errno::ELOOP as i32)
}

/// Removes a directory that may be absent; one that is not empty stays.
///
/// # Errors
/// Code 5.
pub fn remove_directory(path: &Path) -> Result<(), CniError> {
    remove_if_empty(path).map_err(|e| CniError::io("remove", path, &e))
}

/// Removes a file that may be absent, and what a kill while writing it may have left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let temporary = temporary_of(path);
    absent_is_fine(&temporary, fs::remove_file(&temporary))?;
    absent_is_fine(path, fs::remove_file(path))
}

/// Removes a directory if it is there and empty.
pub(super) fn remove_if_empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => absent_is_fine(path, other),
    }
}

/// Has removing what is not there succeed. On a file system that cannot be written, Linux refuses
/// before it has looked.
fn absent_is_fine(path: &Path, removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if is_absence(&e) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => match path.symlink_metadata() {
            Err(there) if is_absence(&there) => Ok(()),
            _ => Err(e),
        },
        other => other,
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
