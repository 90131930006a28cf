//! Seeds of the targets with a driver of ours.

use super::Seed;
use crate::input::Script;
use crate::vhost::driver::{EVENT_IDX, IN_ORDER, MERGEABLE, OFFLOADS};

/// Fills three buffers with a packet each, and has them received.
const RECEIVE: [u8; 18] = [6, 0, 60, 0, 7, 1, 9, 0, 8, 2, 30, 0, 9, 2, 0, 9, 255, 1];
/// Sends three packets, and gives two back.
const SEND: [u8; 14] = [15, 255, 3, 0, 60, 0, 200, 0, 1, 0, 4, 0, 5, 9];
/// A packet in several buffers, both ways.
const LONG: [u8; 15] = [6, 1, 0xe8, 3, 9, 255, 0, 15, 255, 1, 0, 0xe8, 3, 4, 0];
const ARM: u8 = 3;

/// Traffic of every kind, and each rule broken once behind some of it.
pub(super) fn rings() -> Vec<Seed> {
    let of = |features: u8, size: u8| Script::new(&[features, size, 63]);
    let turns = |script: Script| {
        let turn = |script: Script, _| script.add(&RECEIVE).add(&SEND).add(&LONG).add(&[ARM]);
        (0..6).fold(script, turn)
    };
    let broken = |acts: &[u8]| {
        let script = of(MERGEABLE, 3).add(&RECEIVE).add(&SEND).add(acts);
        script.add(&[9, 255, 0, 15, 255, 1, 0, 60, 0, ARM, 9, 255, 0]).bytes()
    };
    vec![
        ("nothing", of(0, 3).bytes()),
        ("traffic", turns(of(0, 3)).bytes()),
        ("merged", turns(of(MERGEABLE, 4)).bytes()),
        ("in-order", turns(of(MERGEABLE | IN_ORDER, 4)).bytes()),
        ("offloads", turns(of(OFFLOADS, 3)).bytes()),
        ("interrupts", turns(of(MERGEABLE | EVENT_IDX | 16, 2)).bytes()),
        ("polled", turns(of(IN_ORDER | EVENT_IDX | 32, 5)).bytes()),
        ("one-entry", turns(of(MERGEABLE, 0)).bytes()),
        ("odd-ring", turns(of(MERGEABLE, 36)).bytes()),
        ("full", of(0, 1).add(&SEND).add(&SEND).add(&[ARM, 4, 0, ARM]).add(&SEND).bytes()),
        ("id-beyond-the-ring", broken(&[1, 0, 99, 1, 0, 60, 0])),
        ("id-of-32-bits", broken(&[1, 254, 0, 1, 0, 60, 0])),
        ("length-beyond-the-buffer", broken(&[1, 0, 4, 1, 0, 60, 9])),
        ("below-a-header", broken(&[1, 0, 4, 1, 0, 5, 0])),
        ("sent-twice", broken(&[1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0])),
        ("index-runs-away", broken(&[2, 0, 9, 0])),
        ("index-of-sent-runs-away", broken(&[2, 1, 0, 0x80])),
        ("descriptors-scribbled", broken(&[0, 0, 0, 0, 255, 128, 0, 1, 0, 0, 255, 128])),
        ("device-area-scribbled", broken(&[0, 4, 0, 0, 255, 64, 0, 5, 0, 0, 255, 64])),
        ("buffers-scribbled", broken(&[0, 6, 0, 16, 255, 255, 0, 7, 0, 16, 255, 255])),
    ]
}
