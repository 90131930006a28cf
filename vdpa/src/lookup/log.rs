//! What is said about the look-up: as events of `tracing`, or in the lines of the first deployment.

use crate::files::Entry;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Where it is said, and how.
#[derive(Clone)]
pub enum Log {
    /// To whoever subscribed to `tracing`.
    Tracing,
    /// As `2019/10/04 09:56:30 INFO: ...`, in local time.
    Original(Arc<Mutex<dyn Write + Send>>),
}

/// Something that is said.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Line<'a> {
    /// There is no list: the example's devices are served.
    ExampleData,
    /// This list is read.
    File(&'a Path),
    /// A list is there; its devices follow.
    Loaded,
    /// One of its devices.
    Device(&'a Entry),
    /// The server starts at this socket.
    Starting(&'a Path),
    /// The server can be asked.
    Listening,
    /// Somebody asks for this address, in these words.
    Asked(&'a str),
    /// It has this socket.
    Found(&'a str),
    /// It has none.
    NotFound,
    /// The server ends.
    Stopping,
    /// The client starts.
    Client,
    /// The client asks for this address.
    Asking(&'a str),
    /// The client was told of this socket; empty if there is none.
    Retrieved(&'a str),
    /// Something failed, and things go on.
    Trouble(&'a str),
}

impl Log {
    /// The lines of old, to `writer`.
    pub fn original(writer: impl Write + Send + 'static) -> Self {
        Self::Original(Arc::new(Mutex::new(writer)))
    }

    /// Says a line.
    pub fn say(&self, line: Line<'_>) {
        match self {
            Self::Tracing => trace(line),
            Self::Original(writer) => {
                let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                // Where nothing can be written there is nobody left to tell.
                let _ = writer.write_all(format!("{now} {line}\n").as_bytes());
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracing => "Tracing",
            Self::Original(_) => "Original",
        })
    }
}

/// A line as it was in the first deployment.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ExampleData => f.write_str("INFO: loadInterfaces - Using ExampleData."),
            Self::File(path) => write!(f, "INFO: loadInterfaces - filePath={}", path.display()),
            Self::Loaded => f.write_str("INFO: Loaded:"),
            Self::Device(entry) => {
                let (address, path) = (entry.pci_address(), entry.socket_path());
                write!(f, "  PCI: {address}  Socketpath: {path}")
            }
            Self::Starting(path) => {
                write!(f, "INFO: Starting vdpaDpdk gRPC Server at: {}", path.display())
            }
            Self::Listening => f.write_str("INFO: vdpaDpdk gRPC Server listening."),
            Self::Asked(text) => {
                write!(f, "INFO: Received request for PCI Address {}", Printable(text))
            }
            Self::Found(path) => write!(f, "INFO: Found File: {path}"),
            Self::NotFound => f.write_str("INFO: No File Found!"),
            Self::Stopping => f.write_str("INFO: Stopping vdpaDpdk gRPC Server."),
            Self::Client => f.write_str("INFO: Starting vDPA-DPDK gRPC Client."),
            Self::Asking(text) => {
                write!(f, "INFO: Getting socketpath for PCI Address {}", Printable(text))
            }
            Self::Retrieved(path) => write!(f, "INFO: Retrieved socketpath - {path}"),
            Self::Trouble(what) => write!(f, "ERROR: {what}"),
        }
    }
}

fn trace(line: Line<'_>) {
    match line {
        Line::ExampleData => tracing::info!("no list was given: example data"),
        Line::File(path) => tracing::info!(file = %path.display(), "reading the list"),
        Line::Loaded => tracing::debug!("list loaded"),
        Line::Device(entry) => {
            let (address, path) = (entry.pci_address(), entry.socket_path());
            tracing::info!(%address, path, "device");
        }
        Line::Starting(path) => tracing::info!(socket = %path.display(), "look-up starts"),
        Line::Listening => tracing::info!("look-up listens"),
        Line::Asked(text) => tracing::debug!(address = %Printable(text), "asked"),
        Line::Found(path) => tracing::debug!(path, "answered"),
        Line::NotFound => tracing::debug!("answered: not known"),
        Line::Stopping => tracing::info!("look-up stops"),
        Line::Client => tracing::debug!("client starts"),
        Line::Asking(text) => tracing::debug!(address = %Printable(text), "asking"),
        Line::Retrieved(path) => tracing::debug!(path, "answer"),
        Line::Trouble(what) => tracing::warn!("{what}"),
    }
}

/// Somebody else's text, on one line, shortened, without what a terminal would obey.
pub(super) struct Printable<'a>(pub(super) &'a str);

/// Most characters of it.
const PRINTABLE_MAX: usize = 200;

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(PRINTABLE_MAX) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        if self.0.chars().nth(PRINTABLE_MAX).is_some() { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line() {
        let asked =
            Line::Asked("x\n2019/10/04 09:56:30 INFO: Found File: /etc\u{1b}[2J").to_string();
        assert!(!asked.contains('\n') && asked.contains(r"x\n2019"), "{asked}");
        assert!(!asked.contains('\u{1b}'), "{asked}");
        let long = Line::Asked(&"7".repeat(4000)).to_string();
        assert!(long.len() < 300 && long.ends_with("7..."), "{long}");
    }

    #[test]
    fn line_begins_with_the_time() {
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Log::original(writer);
        log.say(Line::Listening);
        drop(log);
        let text = std::io::read_to_string(reader).unwrap();
        let (time, line) = text.split_at(20);
        assert_eq!(line, "INFO: vdpaDpdk gRPC Server listening.\n");
        let digits = time.replace(|it: char| it.is_ascii_digit(), "0");
        assert_eq!(digits, "0000/00/00 00:00:00 ");
    }
}
