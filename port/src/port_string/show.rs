//! From values back to a port string.

use super::Choices;
use crate::retry::Reconnect;
use crate::socket::SocketOptions;
use std::fmt::{self, Display};
use std::time::Duration;

/// Writes items, of which those at their usual value are left out.
pub struct ItemWriter<'a, 'f>(pub &'a mut fmt::Formatter<'f>);

impl ItemWriter<'_, '_> {
    /// Writes `key=value`.
    ///
    /// # Errors
    /// As the formatter has them; so the others.
    pub fn item<T: Display + PartialEq>(&mut self, key: &str, value: &T, usual: &T) -> fmt::Result {
        if value == usual {
            return Ok(());
        }
        write!(self.0, ",{key}={value}")
    }

    /// Writes the word that stands for `value`.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn word<T: PartialEq, const N: usize>(
        &mut self,
        key: &str,
        value: &T,
        usual: &T,
        (words, _): &Choices<T, N>,
    ) -> fmt::Result {
        match words.iter().find(|(_, meaning)| meaning == value) {
            Some((word, _)) if value != usual => write!(self.0, ",{key}={word}"),
            _ => Ok(()),
        }
    }

    /// Writes a time.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn time(&mut self, key: &str, value: Duration, usual: Duration) -> fmt::Result {
        if value == usual {
            return Ok(());
        }
        write!(self.0, ",{key}={}", Time(value))
    }

    /// Writes what to do when there is no link.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn reconnect(&mut self, value: Reconnect, usual: Reconnect) -> fmt::Result {
        match value {
            reconnect if reconnect == usual => Ok(()),
            Reconnect::Never => self.0.write_str(",reconnect=never"),
            Reconnect::Backoff { initial, max } => {
                write!(self.0, ",reconnect={}-{}", Time(initial), Time(max))
            }
        }
    }

    /// Writes mode and owner of a listening socket.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn socket(&mut self, socket: &SocketOptions) -> fmt::Result {
        if let Some(mode) = socket.mode {
            write!(self.0, ",socket-mode={mode:o}")?;
        }
        for (key, owner) in [("socket-uid", socket.uid), ("socket-gid", socket.gid)] {
            if let Some(owner) = owner {
                write!(self.0, ",{key}={owner}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ItemWriter<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ItemWriter")
    }
}

struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}
