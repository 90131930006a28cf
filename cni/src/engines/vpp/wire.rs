//! Fields of messages: in the order of the definition, packed, big-endian.
//!
//! Spec: VPP, "Binary API support" and the `.api` files.

use super::VppError;

/// Fields of a request, after its number, client and context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// No fields yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What was put.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// A byte, 0 or 1.
    #[must_use]
    pub fn bool(self, value: bool) -> Self {
        self.u8(u8::from(value))
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Bytes as they are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// `len` zero bytes.
    #[must_use]
    pub fn zeros(mut self, len: usize) -> Self {
        self.0.resize(self.0.len() + len, 0);
        self
    }

    /// `string name[len]`: a text and zero bytes up to `len`, at least one; a longer text is cut.
    #[must_use]
    pub fn text(mut self, text: &[u8], len: usize) -> Self {
        let end = self.0.len() + len;
        self.0.extend(text.iter().take(len.saturating_sub(1)));
        self.0.resize(end, 0);
        self
    }

    /// `string name[]`: length in four bytes, then the text.
    #[must_use]
    pub fn long_text(self, text: &[u8]) -> Self {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX)).bytes(text)
    }
}

/// Reads the fields of a reply. What is left over at the end is nobody's business: later releases
/// may add fields.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` of a message called `message`.
    #[must_use]
    pub const fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, message }
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// [`VppError::Malformed`] when there are fewer than `len`; so do all the others.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], VppError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| {
            let what = format!("{} ends {} bytes early", self.message, len - self.rest.len());
            VppError::Malformed { what }
        })?;
        self.rest = rest;
        Ok(taken)
    }

    /// As many bytes as there is room for.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], VppError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// A byte.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn u8(&mut self) -> Result<u8, VppError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A byte that is 0 or not.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn bool(&mut self) -> Result<bool, VppError> {
        self.u8().map(|byte| byte != 0)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn u16(&mut self) -> Result<u16, VppError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn u32(&mut self) -> Result<u32, VppError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four bytes with a sign.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn i32(&mut self) -> Result<i32, VppError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Leaves `len` bytes out.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn skip(&mut self, len: usize) -> Result<(), VppError> {
        self.bytes(len).map(|_| ())
    }

    /// A text of at most `len` bytes that a zero byte ends. What is not UTF-8 is replaced.
    ///
    /// # Errors
    /// See [`Self::bytes`].
    pub fn text(&mut self, len: usize) -> Result<String, VppError> {
        let bytes = self.bytes(len)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_packed_and_big_endian() {
        let fields = Fields::new().u8(1).u16(2).u32(3).bool(true).text(b"ab", 4).long_text(b"c");
        let wanted = [1, 0, 2, 0, 0, 0, 3, 1, b'a', b'b', 0, 0, 0, 0, 0, 1, b'c'];
        assert_eq!(fields.as_bytes(), wanted);
    }

    #[test]
    fn text_is_cut_so_that_a_zero_byte_ends_it() {
        assert_eq!(Fields::new().text(b"abcd", 4).as_bytes(), b"abc\0");
    }

    #[test]
    fn short_message_is_an_error_that_names_it() {
        let mut reader = Reader::new("memif_details", &[0, 0, 0]);
        let error = reader.u32().unwrap_err();
        assert!(error.to_string().contains("memif_details ends 1 bytes early"), "{error}");
    }

    #[test]
    fn text_without_a_zero_byte_is_as_long_as_its_field() {
        assert_eq!(Reader::new("m", b"abcd").text(3).unwrap(), "abc");
        assert_eq!(Reader::new("m", b"a\0cd").text(3).unwrap(), "a");
    }
}
