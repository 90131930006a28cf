//! The three blocks of pcapng that a capture consists of, little-endian.
//!
//! | block | type | fields |
//! |---|---|---|
//! | section header | 0x0a0d0d0a | magic 4, version 1.0 2+2, section length 8 (unknown), option: application |
//! | interface description | 1 | link type 2, 0 2, snap length 4, options: name, time resolution |
//! | enhanced packet | 6 | interface 4, time 4+4 (high, low), kept 4, length 4, bytes |
//!
//! In front of each: its type and its length, 4 bytes each; behind it its length again. Everything is
//! padded to 4 bytes. Spec: draft-ietf-opsawg-pcapng §3.1, §4.1-4.3.

use crate::port::PortName;

/// LINKTYPE_ETHERNET and LINKTYPE_RAW.
const LINK_TYPES: [u16; 2] = [1, 101];

const OPTION_END: u16 = 0;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;

/// The section, and one interface for each port.
pub(super) fn start(out: &mut Vec<u8>, snaplen: u32, ports: &[&PortName]) {
    block(out, 0x0a0d_0d0a, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        out.extend(u64::MAX.to_le_bytes());
        option(
            out,
            SECTION_APPLICATION,
            concat!("ringport ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(out, OPTION_END, &[]);
    });
    for port in ports {
        block(out, 1, |out| {
            out.extend(LINK_TYPES[usize::from(!port.is_ethernet())].to_le_bytes());
            out.extend([0; 2]);
            out.extend(snaplen.to_le_bytes());
            option(out, INTERFACE_NAME, port.to_string().as_bytes());
            // Powers of ten: nanoseconds.
            option(out, INTERFACE_RESOLUTION, &[9]);
            option(out, OPTION_END, &[]);
        });
    }
}

/// A packet of `len` bytes, of which `kept` were kept, at `time` in nanoseconds since 1970.
pub(super) fn packet(out: &mut Vec<u8>, port: usize, time: u64, len: usize, kept: &[u8]) {
    block(out, 6, |out| {
        out.extend(word(port).to_le_bytes());
        let [low, high] = [time & 0xffff_ffff, time >> 32];
        for part in [high, low] {
            out.extend(u32::try_from(part).unwrap_or_default().to_le_bytes());
        }
        out.extend(word(kept.len()).to_le_bytes());
        out.extend(word(len).to_le_bytes());
        out.extend(kept);
        pad(out, kept.len());
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let len = word(out.len() - start + 4).to_le_bytes();
    out.extend(len);
    out[start + 4..start + 8].copy_from_slice(&len);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
    out.extend(value);
    pad(out, value.len());
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len.next_multiple_of(4) - len, 0);
}

fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
