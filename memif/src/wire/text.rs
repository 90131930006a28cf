//! The fixed-size strings of the protocol: names, disconnect texts and secrets.

use crate::error::ConfigError;
use std::fmt::{self, Write as _};

/// Name of an application or an interface, up to 31 bytes.
///
/// Spec: [messages](crate::protocol#messages).
pub type Name = Text<32>;

/// Text of a DISCONNECT, up to 95 bytes.
///
/// Spec: [DISCONNECT](crate::protocol#disconnect).
pub type Reason = Text<96>;

/// Longest secret, in bytes: the field has 24, and peers keep the last one for a NUL.
pub const SECRET_MAX: usize = 23;

const SECRET_LEN: usize = 24;

/// A string in a field of `N` bytes, the last of which stays NUL.
///
/// Text that is too long is cut at a character boundary. Bytes from a peer are kept as they came;
/// [`Display`](fmt::Display) shows what is not UTF-8, and control characters, as U+FFFD, so a peer
/// cannot write escape sequences to a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// Longest text, in bytes.
    pub const CAPACITY: usize = N.saturating_sub(1);

    /// Keeps as much of `text` as fits, up to its first NUL.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::of(&text)
    }

    /// Formats `value`, keeping as much as fits. Does not allocate.
    #[must_use]
    pub fn of(value: &dyn fmt::Display) -> Self {
        let mut cursor = Cursor { text: [0; N], len: 0, full: false };
        // The only error is the cursor's own, once the field is full.
        let _ = write!(cursor, "{value}");
        Self(cursor.text)
    }

    /// Reads a field: up to its first NUL, or all but its last byte.
    pub(super) fn from_field(mut field: [u8; N]) -> Self {
        if let Some(last) = field.last_mut() {
            *last = 0;
        }
        clear_after_nul(&mut field);
        Self(field)
    }

    pub(super) fn field(&self) -> &[u8; N] {
        &self.0
    }

    /// The text as it travels, without NUL. May not be UTF-8 when a peer wrote it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                let shown = if character.is_control() { '\u{FFFD}' } else { character };
                f.write_char(shown)?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char('\u{FFFD}')?;
            }
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The secret of an interface, up to [`SECRET_MAX`] bytes; empty means that none is asked for.
///
/// Comparison takes the same time wherever two secrets differ, and `Debug` never shows one.
#[derive(Clone, Default)]
pub struct Secret([u8; SECRET_LEN]);

impl Secret {
    /// Takes a secret.
    ///
    /// # Errors
    /// [`ConfigError::SecretTooLong`] and [`ConfigError::SecretWithNul`]: a secret is never cut.
    pub fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        if secret.len() > SECRET_MAX {
            return Err(ConfigError::SecretTooLong { len: secret.len(), limit: SECRET_MAX });
        }
        if secret.contains(&0) {
            return Err(ConfigError::SecretWithNul);
        }
        let mut field = [0; SECRET_LEN];
        for (to, from) in field.iter_mut().zip(secret) {
            *to = *from;
        }
        Ok(Self(field))
    }

    /// Reads a field. All 24 bytes count: a peer that fills the last one has a secret that equals
    /// no other.
    pub(super) fn from_field(mut field: [u8; SECRET_LEN]) -> Self {
        clear_after_nul(&mut field);
        Self(field)
    }

    pub(super) fn field(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// The secret itself, to write it into a configuration. Keep it out of logs.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; SECRET_LEN]
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(..)" })
    }
}

fn clear_after_nul(field: &mut [u8]) {
    for byte in field.iter_mut().skip_while(|byte| **byte != 0) {
        *byte = 0;
    }
}

/// Fills a field character by character, so that it is never cut inside one.
struct Cursor<const N: usize> {
    text: [u8; N],
    len: usize,
    full: bool,
}

impl<const N: usize> fmt::Write for Cursor<N> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            self.write_char(character)?;
        }
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        let end = self.len.saturating_add(character.len_utf8());
        if self.full || character == '\0' || end > Text::<N>::CAPACITY {
            self.full = true;
            return Err(fmt::Error);
        }
        let Some(room) = self.text.get_mut(self.len..end) else {
            return Err(fmt::Error);
        };
        character.encode_utf8(room);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let name = Name::new(&format!("{}\u{e4}xyz", "a".repeat(30)));
        assert_eq!(name.as_bytes(), "a".repeat(30).as_bytes());
        let name = Name::new(&"b".repeat(64));
        assert_eq!(name.as_bytes().len(), Name::CAPACITY);
        assert_eq!(Name::new("ab\0cd").as_bytes(), b"ab");
        assert_eq!(Reason::of(&"c".repeat(200)).as_bytes().len(), 95);
    }

    #[test]
    fn peer_text_without_nul_is_read_to_the_last_byte_but_one() {
        let name = Name::from_field([b'x'; 32]);
        assert_eq!(name.as_bytes(), [b'x'; 31]);
        let mut garbage = [0xFF; 32];
        garbage[1] = 0;
        assert_eq!(Name::from_field(garbage).field()[1..], [0; 31]);
    }

    #[test]
    fn peer_text_cannot_carry_escape_sequences() {
        let name = Name::new("a\x1b[31m\u{e9}");
        assert_eq!(name.to_string(), "a\u{FFFD}[31m\u{e9}");
        let mut field = [0; 32];
        field[..3].copy_from_slice(&[b'a', 0xC3, b'b']);
        assert_eq!(Name::from_field(field).to_string(), "a\u{FFFD}b");
    }

    #[test]
    fn secret_is_never_cut_and_never_shown() {
        let secret = Secret::new(&[b's'; 23]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.reveal(), [b's'; 23]);
        assert!(matches!(
            Secret::new(&[b's'; 24]),
            Err(ConfigError::SecretTooLong { len: 24, limit: 23 })
        ));
        assert!(matches!(Secret::new(b"a\0b"), Err(ConfigError::SecretWithNul)));
    }

    #[test]
    fn secret_of_24_bytes_from_a_peer_equals_no_secret() {
        let peer = Secret::from_field([b's'; 24]);
        assert_ne!(peer, Secret::new(&[b's'; 23]).unwrap());
        assert_ne!(peer, Secret::default());
    }

    #[test]
    fn garbage_behind_a_secret_is_ignored() {
        let mut field = [0xAA; 24];
        field[..7].copy_from_slice(b"s3cret\0");
        assert_eq!(Secret::from_field(field), Secret::new(b"s3cret").unwrap());
        let mut field = [0xAA; 24];
        field[0] = 0;
        assert!(Secret::from_field(field).is_empty());
    }
}
