//! `socketList.dat`: each VF with its socket, as JSON.
//!
//! ```text
//! [{
//!     "pciAddress": "0000:82:00.2",
//!     "socketpath": "/var/run/vdpa/vhost/vdpa-0"
//! }, {
//!     "pciAddress": "0000:82:00.3",
//!     "socketpath": "/var/run/vdpa/vhost/vdpa-1"
//! }]
//! ```
//!
//! It is written in just this form, whole or not at all. Any JSON of the same meaning is read, and nothing
//! else: no further keys, no device and no socket twice.

use super::{ContentError, Entry, FileError, Place, check, read, replace};
use crate::pci::PciAddress;
use serde::Deserialize;
use serde_path_to_error::{Path as JsonPath, Segment};
use std::fmt::Write as _;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(rename = "pciAddress")]
    pci_address: PciAddress,
    socketpath: String,
}

/// Reads a list.
///
/// # Errors
/// [`FileError`]; what makes no sense is named with its entry.
pub fn load(path: &Path) -> Result<Vec<Entry>, FileError> {
    parse(&read(path)?).map_err(|content| FileError::Content { path: path.to_owned(), content })
}

/// Takes a list apart.
///
/// # Errors
/// It is no JSON; an entry is not as it has to be; or all of them make no [list](check).
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ContentError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let rows: Vec<Row> = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| unreadable(error.path(), error.inner()))?;
    json.end().map_err(|error| ContentError::of_all(format!("after the list: {error}")))?;
    let entry = |(at, row): (usize, Row)| {
        Entry::new(row.pci_address, row.socketpath)
            .map_err(|why| ContentError::at(Place::Entry(at), why))
    };
    let entries = (1..).zip(rows).map(entry).collect::<Result<Vec<_>, _>>()?;
    check(&entries)?;
    Ok(entries)
}

fn unreadable(path: &JsonPath, error: &serde_json::Error) -> ContentError {
    let mut segments = path.iter();
    match (segments.next(), segments.next()) {
        (Some(Segment::Seq { index }), Some(Segment::Map { key })) => {
            ContentError::at(Place::Entry(index + 1), format!("{key}: {error}"))
        }
        (Some(Segment::Seq { index }), _) => ContentError::at(Place::Entry(index + 1), error),
        _ => ContentError::of_all(error),
    }
}

/// Writes a list. Readers find the old one or the new one, never a part.
///
/// # Errors
/// [`FileError::Write`]: the directory must be there, and ours to write. [`FileError::Content`]: the entries
/// make no [list](check).
pub fn store(path: &Path, entries: &[Entry]) -> Result<(), FileError> {
    check(entries).map_err(|content| FileError::Content { path: path.to_owned(), content })?;
    replace(path, show(entries).as_bytes())
}

/// A list in its form.
#[must_use]
pub fn show(entries: &[Entry]) -> String {
    let mut text = String::from("[");
    for (at, entry) in entries.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        let (address, path) = (entry.pci_address(), serde_json::Value::from(entry.socket_path()));
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{separator}{{\n    \"pciAddress\": \"{address}\",\n    \"socketpath\": {path}\n}}"
        );
    }
    text.push_str("]\n");
    text
}

#[cfg(test)]
mod tests;
