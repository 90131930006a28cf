//! Why a file cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a file cannot be read or written. Each names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written, or not be put in its place. What was there is there still.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe, a device.
    #[error("{}: is no regular file", path.display())]
    NoFile {
        /// What was to be a file.
        path: PathBuf,
    },
    /// It is larger than any list.
    #[error("{}: has more than {limit} bytes, which no list of devices needs", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        limit: u64,
    },
    /// What is in it makes no sense.
    #[error("{}: {content}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        content: ContentError,
    },
}

/// What makes no sense, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentError {
    /// Where it is, if it is somewhere.
    pub place: Option<Place>,
    /// What is wrong.
    pub reason: String,
}

/// A place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1 on.
    Line(usize),
    /// An entry, from 1 on.
    Entry(usize),
}

impl ContentError {
    pub(super) fn at(place: Place, reason: impl fmt::Display) -> Self {
        Self { place: Some(place), reason: reason.to_string() }
    }

    pub(super) fn of_all(reason: impl fmt::Display) -> Self {
        Self { place: None, reason: reason.to_string() }
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place::Line(line)) => write!(f, "line {line}: ")?,
            Some(Place::Entry(entry)) => write!(f, "entry {entry}: ")?,
            None => {}
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ContentError {}
