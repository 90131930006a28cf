//! Seeds of the targets of vDPA.

use super::Seed;

/// Configuration spaces as that of QEMU's virtual functions, and with one thing wrong.
pub(super) fn capabilities() -> Vec<Seed> {
    let with = |changes: &[(usize, &[u8])]| {
        let mut input = qemus();
        for (at, bytes) in changes {
            input[BARS + at..BARS + at + bytes.len()].copy_from_slice(bytes);
        }
        input
    };
    vec![
        ("qemu", qemus()),
        ("nothing", Vec::new()),
        ("nobody-answers", vec![0xff; BARS + 256]),
        ("transitional", with(&[(2, &[0, 0x10])])),
        ("no-capabilities", with(&[(6, &[0])])),
        ("loops", with(&[(0x41, &[0x98])])),
        ("itself-next", with(&[(0x41, &[0x40])])),
        ("in-the-header", with(&[(0x34, &[4])])),
        ("behind-the-space", with(&[(0x41, &[0xfc]), (0xfc, &[9, 0, 16, 1])])),
        ("no-such-bar", with(&[(0x44, &[6])])),
        ("bar-not-there", with(&[(0x44, &[0])])),
        ("behind-its-bar", with(&[(0x4c, &[0xff; 4])])),
        ("wraps", with(&[(0x48, &[0xff; 8])])),
        ("too-short", with(&[(0x4c, &[55, 0, 0, 0])])),
        ("not-aligned", with(&[(0x48, &[2])])),
        ("second-common", with(&[(0x53, &[1])])),
        ("multiplier-0", with(&[(0x94, &[0; 4])])),
        ("multiplier-3", with(&[(0x94, &[3, 0, 0, 0])])),
        ("multiplier-most", with(&[(0x94, &[0, 0, 0, 0x80])])),
    ]
}

/// Bytes before the configuration space: the lengths of the BARs, log2 each.
const BARS: usize = 6;

fn qemus() -> Vec<u8> {
    let mut input = vec![0; BARS + 256];
    [input[1], input[4]] = [12, 23];
    let config = &mut input[BARS..];
    config[..4].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
    (config[6], config[0x34]) = (0x10, 0x98);
    let number = u32::to_le_bytes;
    let kind = |next: u8, len: u8, kind: u8, offset: u32, bytes: u32| {
        [&[9, next, len, kind, 4, 0, 0, 0][..], &number(offset), &number(bytes)].concat()
    };
    let notify = [kind(0x70, 20, 2, 0x3000, 0x40_0000), number(0x1000).to_vec()].concat();
    for (at, bytes) in [
        (0x98, vec![0x11, 0x84, 3, 0, 1, 0, 0, 0]),
        (0x84, notify),
        (0x70, kind(0x60, 20, 5, 0, 0)),
        (0x60, kind(0x50, 16, 4, 0x2000, 0x1000)),
        (0x50, kind(0x40, 16, 3, 0x1000, 0x1000)),
        (0x40, kind(0, 16, 1, 0, 0x1000)),
    ] {
        config[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    input
}
