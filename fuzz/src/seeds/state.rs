//! Seeds of the target with states of devices, and commands.

use super::Seed;

const ONE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

/// A state of these sections.
fn state(sections: &[(u16, &[u8])]) -> Vec<u8> {
    let section = |(tag, contents): &(u16, &[u8])| {
        let len = u16::try_from(contents.len()).unwrap();
        [&tag.to_le_bytes()[..], &len.to_le_bytes(), contents].concat()
    };
    let sections: Vec<u8> = sections.iter().flat_map(section).collect();
    let len = u32::try_from(sections.len()).unwrap();
    [&b"\0RINGPORT\x01\0\0\0"[..], &len.to_le_bytes(), &sections].concat()
}

const LEAST: [(u16, &[u8]); 3] = [(1, &[0, 0, 0, 0, 1, 0, 0, 0]), (2, &[3, 0]), (3, &[2])];

/// States and commands of every kind, and each rule broken once.
pub(super) fn states() -> Vec<Seed> {
    let with = |tag, contents: &[u8]| state(&[&LEAST[..], &[(tag, contents)]].concat());
    let cut = |len: usize| with(4, &ONE)[..len].to_vec();
    let command = |bytes: &[u8]| [&[1], bytes].concat();
    vec![
        ("least", state(&LEAST)),
        ("address", with(4, &ONE)),
        ("addresses", with(5, &ONE.repeat(3))),
        ("groups", with(6, &GROUP.repeat(2))),
        ("vlans", with(7, &[0x80; 512])),
        ("pairs", with(8, &[2, 0])),
        ("to-be-passed-over", with(0x8001, b"new")),
        ("unknown", with(9, b"new")),
        ("twice", with(3, &[1])),
        ("address-of-a-group", with(4, &GROUP)),
        ("too-many-addresses", with(5, &ONE.repeat(257))),
        ("cut-in-the-head", cut(12)),
        ("cut-in-a-section", cut(45)),
        ("later-version", {
            let mut later = state(&LEAST);
            later[9] = 2;
            later
        }),
        ("nothing", Vec::new()),
        ("command-promiscuous", command(&[0, 0, 1])),
        ("command-addresses", {
            command(&[&[1, 0, 1, 0, 0, 0], &ONE[..], &[1, 0, 0, 0], &GROUP].concat())
        }),
        ("command-address", command(&[&[1, 1], &ONE[..]].concat())),
        ("command-vlan", command(&[2, 0, 5, 0])),
        ("command-announced", command(&[3, 0])),
        ("command-pairs", command(&[4, 0, 2, 0])),
        ("command-unknown", command(&[9, 9, 9])),
    ]
}
