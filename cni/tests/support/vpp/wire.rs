//! Messages on a stream and their fields, by offsets: on purpose not the plugin's own code.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// The next message; none when the other end has closed.
pub(crate) fn read(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).ok()?;
    let mut body = vec![0; u32_at(&header, 8) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// Sends a message.
pub(crate) fn write(stream: &mut UnixStream, body: &[u8]) -> Option<()> {
    stream.write_all(&framed(body)).ok()
}

/// A message with its header, and in that a pointer of VPP's, as VPP sends it.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0x64, 4, 0x30, 1, 0, 0, 0];
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

pub(crate) fn u16_at(body: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(body[offset..offset + 2].try_into().unwrap())
}

pub(crate) fn u32_at(body: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(body[offset..offset + 4].try_into().unwrap())
}

/// The text at an offset, up to a zero byte.
pub(crate) fn text_at(body: &[u8], offset: usize, len: usize) -> String {
    let field = &body[offset..offset + len];
    String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
}

/// A message of a fixed length that is filled in by offsets.
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len])
    }

    pub(crate) fn put(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, offset: usize, value: u8) -> Self {
        self.put(offset, &[value])
    }

    pub(crate) fn u16(self, offset: usize, value: u16) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    pub(crate) fn u32(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    pub(crate) fn text(self, offset: usize, text: &str) -> Self {
        self.put(offset, text.as_bytes())
    }
}
