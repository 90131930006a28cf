//! Seeds of the targets with whole memif drivers.

use super::Seed;
use crate::input::Script;

/// A peer that keeps to the rules: of interface 0 for a listener, with one ring each way for a client.
const GO_ON: [u8; 2] = [5, 0];
const RECEIVE: [u8; 2] = [8, 32];
const SEND: [u8; 2] = [10, 32];
const ARM: u8 = 12;
/// The head of a ring of a client's, at the start of its memory, for one packet; its descriptor, of 60 bytes.
const DESCRIPTOR: [u8; 12] = [13, 0, 132, 0, 60, 0, 0, 0, 0, 4, 0, 0];
const HEAD: [u8; 12] = [13, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn listener() -> Vec<Seed> {
    let of = |secret: u8| Script::new(&[0, 0, secret]);
    let up = || of(0).add(&GO_ON);
    vec![
        ("nothing", of(0).bytes()),
        ("link", up().add(&RECEIVE).add(&SEND).add(&[ARM]).bytes()),
        ("packet", up().add(&DESCRIPTOR).add(&HEAD).add(&RECEIVE).bytes()),
        ("two-links", up().add(&[0, 5, 17]).add(&RECEIVE).add(&SEND).bytes()),
        ("secret", of(1).add(&[5, 16]).add(&SEND).bytes()),
        ("taken", up().add(&[0, 5, 1]).add(&RECEIVE).bytes()),
        ("index-runs-away", up().add(&[13, 0, 6, 0, 0, 0x80]).add(&[0; 6]).add(&RECEIVE).bytes()),
        ("hung-up", up().add(&[14, 0]).add(&RECEIVE).add(&[0, 5, 0]).add(&SEND).bytes()),
        ("disconnected", up().add(&[15, 0, 0, 5, 1]).add(&SEND).bytes()),
        ("removed", up().add(&[15, 1, 0, 5, 1]).add(&SEND).bytes()),
        ("raw", of(0).add(&[1]).add(&[3; 128]).add(&[0, 0]).add(&GO_ON).bytes()),
        ("ack", of(0).add(&[2, 0, 0, 0, 2, 0, 0, 0]).bytes()),
        ("descriptors", of(0).add(&[2, 0, 4, 0x35, 0, 2, 3, 0, 1, 4, 0x2f, 0]).bytes()),
        ("crowd", of(0).add(&[0, 0, 0, 5, 0, 5, 17, 5, 2, 14, 1, 14, 0]).bytes()),
    ]
}

pub(super) fn client() -> Vec<Seed> {
    let of = |rings: u8, log2: u8| Script::new(&[rings, log2, 0]);
    let up = || of(0, 3).add(&GO_ON);
    vec![
        ("nothing", of(0, 3).bytes()),
        ("link", up().add(&RECEIVE).add(&SEND).add(&[ARM]).bytes()),
        ("rings", of(0x22, 5).add(&[5, 0xf0]).add(&SEND).add(&RECEIVE).bytes()),
        (
            "head-runs-away",
            up().add(&HEAD).add(&[13, 0, 6, 2, 0, 0x80]).add(&[0; 6]).add(&RECEIVE).bytes(),
        ),
        ("scribbled", up().add(&SEND).add(&[13, 0, 128, 0]).add(&[0xff; 8]).add(&SEND).bytes()),
        ("hung-up", up().add(&SEND).add(&[14, 0]).add(&RECEIVE).bytes()),
        ("closed", up().add(&[15, 0]).add(&SEND).add(&GO_ON).bytes()),
        ("raw", of(0, 3).add(&[1]).add(&[2; 128]).add(&[0, 0]).add(&GO_ON).bytes()),
        ("ack-unasked", of(0, 3).add(&[2, 0, 0, 0]).add(&GO_ON).bytes()),
        ("refused", of(0, 3).add(&[2, 7, 1, b'n', b'o', 0, 0]).bytes()),
        ("descriptors", up().add(&[2, 0, 4, 0x35, 0]).add(&SEND).bytes()),
    ]
}
