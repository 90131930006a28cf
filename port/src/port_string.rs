//! What port strings of all protocols have in common: `scheme:address,key=value,key=value`.
//!
//! Neither an address nor a value can contain a comma. Each protocol has its own keys; see its
//! `port_string` module.

mod show;
mod values;

pub use show::ItemWriter;
pub use values::{Choices, POLICIES, check_range, choice, duration, mac, number, octal, waits};

use crate::retry::Reconnect;
use crate::socket::SocketOptions;
use thiserror::Error;

/// An item of a port string that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ItemError {
    /// An item is not `key=value`.
    #[error("{item:?} is not key=value")]
    NotKeyValue {
        /// The item.
        item: String,
    },
    /// A key means nothing.
    #[error("unknown key {key:?}")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key is missing.
    #[error("key {key} is missing: expected {expected}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A key is set twice.
    #[error("key {key} given twice")]
    DuplicateKey {
        /// The key.
        key: &'static str,
    },
    /// A key is set that the role does not have.
    #[error("key {key} means nothing with {what}={role}")]
    NotForRole {
        /// The key.
        key: &'static str,
        /// The key that decides.
        what: &'static str,
        /// Its value.
        role: &'static str,
    },
    /// A value is not one of those that a key takes.
    #[error("{key}={value}: expected {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A number is out of range.
    #[error("{key}={value} is out of range {min} to {max}")]
    OutOfRange {
        /// What the number sets.
        key: &'static str,
        /// What was given.
        value: u64,
        /// Smallest one.
        min: u64,
        /// Largest one.
        max: u64,
    },
}

impl ItemError {
    /// A value that `key` does not take.
    #[must_use]
    pub fn bad(key: &'static str, value: &str, expected: &'static str) -> Self {
        Self::BadValue { key, value: value.to_owned(), expected }
    }
}

/// A key, and the role that it is for, if for one only.
pub type Key = (&'static str, Option<&'static str>);

/// The `key=value` items of one string; each key once.
#[derive(Debug)]
pub struct Items<'a> {
    keys: &'static [Key],
    given: Vec<(&'static str, &'a str)>,
}

impl<'a> Items<'a> {
    /// Reads items separated by commas.
    ///
    /// # Errors
    /// [`ItemError`]: an item is no pair, or its key unknown or given twice.
    pub fn parse(text: &'a str, keys: &'static [Key]) -> Result<Self, ItemError> {
        let mut given: Vec<(&'static str, &'a str)> = Vec::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (key, value) = item
                .split_once('=')
                .ok_or_else(|| ItemError::NotKeyValue { item: item.to_owned() })?;
            let (key, _) = keys
                .iter()
                .find(|(known, _)| *known == key)
                .ok_or_else(|| ItemError::UnknownKey { key: key.to_owned() })?;
            if given.iter().any(|(known, _)| known == key) {
                return Err(ItemError::DuplicateKey { key });
            }
            given.push((key, value));
        }
        Ok(Self { keys, given })
    }

    /// Refuses keys of other roles than `role`, which the key `what` has chosen.
    ///
    /// # Errors
    /// [`ItemError::NotForRole`].
    pub fn check_role(&self, what: &'static str, role: &'static str) -> Result<(), ItemError> {
        for &(key, only) in self.keys {
            if only.is_some_and(|only| only != role) && self.text(key).is_some() {
                return Err(ItemError::NotForRole { key, what, role });
            }
        }
        Ok(())
    }

    /// Refuses `keys`, which mean nothing with what the key `what` has chosen: `role`.
    ///
    /// # Errors
    /// [`ItemError::NotForRole`].
    pub fn refuse(
        &self,
        keys: &[&'static str],
        what: &'static str,
        role: &'static str,
    ) -> Result<(), ItemError> {
        match keys.iter().find(|key| self.text(key).is_some()) {
            Some(key) => Err(ItemError::NotForRole { key, what, role }),
            None => Ok(()),
        }
    }

    /// Replaces `field` if `key` was given.
    ///
    /// # Errors
    /// What `parse` says of the value.
    pub fn set<T, E>(
        &self,
        field: &mut T,
        key: &'static str,
        parse: impl Fn(&'static str, &str) -> Result<T, E>,
    ) -> Result<(), E> {
        if let Some(value) = self.text(key) {
            *field = parse(key, value)?;
        }
        Ok(())
    }

    /// The value of a key that must be given; `expected` lists what it takes.
    ///
    /// # Errors
    /// [`ItemError::MissingKey`], and what `parse` says of the value.
    pub fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&'static str, &str) -> Result<T, ItemError>,
    ) -> Result<T, ItemError> {
        let value = self.text(key).ok_or(ItemError::MissingKey { key, expected })?;
        parse(key, value)
    }

    /// Mode and owner of a listening socket: `socket-mode`, `socket-uid`, `socket-gid`.
    ///
    /// # Errors
    /// [`ItemError`].
    pub fn socket(&self, options: &mut SocketOptions) -> Result<(), ItemError> {
        let id = |key, value: &str| number(key, value, 0, u32::MAX).map(Some);
        self.set(&mut options.mode, "socket-mode", |key, value| octal(key, value).map(Some))?;
        self.set(&mut options.uid, "socket-uid", id)?;
        self.set(&mut options.gid, "socket-gid", id)
    }

    /// What to do when there is no link: `reconnect`.
    ///
    /// # Errors
    /// [`ItemError`].
    pub fn reconnect(&self, reconnect: &mut Reconnect) -> Result<(), ItemError> {
        self.set(reconnect, "reconnect", |key, value| match value {
            "never" => Ok(Reconnect::Never),
            _ => waits(key, value).map(|(initial, max)| Reconnect::Backoff { initial, max }),
        })
    }

    /// The value of a key, if it was given.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.given.iter().find(|(given, _)| *given == key).map(|(_, value)| *value)
    }
}
