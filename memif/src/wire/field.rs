//! Fields of a message, in wire order. Neither side can run past the end: a read there gives zeros
//! and a write there is lost, which the layout tests would show.

use super::{MESSAGE_LEN, Text};

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8; MESSAGE_LEN]) -> Self {
        Self(message)
    }

    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else {
            return [0; N];
        };
        self.0 = rest;
        *field
    }

    pub(super) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(super) fn text<const N: usize>(&mut self) -> Text<N> {
        Text::from_field(self.take())
    }
}

pub(super) struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    pub(super) fn new(message: &'a mut [u8; MESSAGE_LEN]) -> Self {
        Self(message)
    }

    pub(super) fn put<const N: usize>(&mut self, value: [u8; N]) {
        let whole = std::mem::take(&mut self.0);
        if let Some((field, rest)) = whole.split_first_chunk_mut::<N>() {
            *field = value;
            self.0 = rest;
        }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.put(value.to_le_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.put(value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.put(value.to_le_bytes());
    }

    pub(super) fn text<const N: usize>(&mut self, value: &Text<N>) {
        self.put(*value.field());
    }
}
