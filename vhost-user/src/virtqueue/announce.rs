//! The packet that announces a driver's interface to the network, after it has moved to another host.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 6 | to everybody |
//! | 6 | 6 | from the interface |
//! | 12 | 2 | 0x8035: RARP |
//! | 14 | 8 | Ethernet and IPv4, lengths of their addresses, 3: request reverse |
//! | 22 | 6, 4 | who asks: the interface, no address |
//! | 32 | 6, 4 | about whom: the same |
//! | 42 | 18 | padding |
//!
//! Spec: vhost-user VHOST_USER_SEND_RARP; RFC 903.

use ringport::burst::{FillLimits, Piece, RxBatch, Shape};
use ringport::shm::{Backing, OwnedMemory, Regions};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of the packet: the shortest of Ethernet.
const LEN: u32 = 60;

/// A batch with one packet of our own memory: the announcement of `address`.
///
/// # Errors
/// When no memory is to be had.
pub(super) fn announcement(address: [u8; 6]) -> io::Result<Box<RxBatch>> {
    let memory = OwnedMemory::create("announcement", LEN as usize, Backing::Pages)
        .map_err(io::Error::other)?;
    File::from(memory.fd().try_clone_to_owned()?).write_all_at(&packet(address), 0)?;
    let mut batch = RxBatch::new(Arc::new(Regions::new(vec![Arc::clone(memory.mapping())])), 1);
    let limits = FillLimits { packets_max: 1, chain_max: 1, piece_len_max: LEN };
    batch
        .fill(std::iter::once(Piece::alone(0, Shape::new(0, LEN, false))), limits)
        .map_err(io::Error::other)?;
    Ok(Box::new(batch))
}

fn packet(address: [u8; 6]) -> [u8; LEN as usize] {
    let mut packet = [0; LEN as usize];
    packet[..6].fill(0xff);
    packet[6..12].copy_from_slice(&address);
    packet[12..14].copy_from_slice(&[0x80, 0x35]);
    packet[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 3]);
    packet[22..28].copy_from_slice(&address);
    packet[32..38].copy_from_slice(&address);
    packet
}
