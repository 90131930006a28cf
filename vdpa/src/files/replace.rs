//! Putting a file in the place of another, whole or not at all.

use super::FileError;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Permissions of the file: there is nothing secret in what is written here.
const MODE: u32 = 0o644;

/// Writes a file. Readers find the old one or the new one, never a part.
///
/// # Errors
/// [`FileError::Write`]: the directory must be there, and ours to write.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_of(path);
    write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // The error that matters is the one before.
        let _ = fs::remove_file(&temporary);
        FileError::Write { path: path.to_owned(), source }
    })
}

/// What the file is called until it is whole. Always the same, so that what a kill leaves is found.
pub(super) fn temporary_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(bytes)
}
