use super::*;
use crate::wire::Command;
use proptest::prelude::*;

const ONE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

fn state() -> SavedState {
    let mut filter = Filter::new(feature::CTRL_VLAN, Some(ONE));
    filter.take(&Command::Promiscuous(false));
    filter.take(&Command::Addresses { unicast: vec![ONE; 3], multicast: vec![GROUP; 2] });
    filter.take(&Command::AddVlan(4095));
    SavedState::new(feature::VERSION_1 | feature::LOG_ALL, 3, filter, Some(2))
}

/// A state of these sections.
fn of(sections: &[(u16, &[u8])]) -> Vec<u8> {
    let section = |(tag, contents): &(u16, &[u8])| {
        let len = u16::try_from(contents.len()).unwrap();
        [&tag.to_le_bytes()[..], &len.to_le_bytes(), contents].concat()
    };
    let sections: Vec<u8> = sections.iter().flat_map(section).collect();
    let len = u32::try_from(sections.len()).unwrap();
    [&b"RINGPORT\x01\0\0\0"[..], &len.to_le_bytes(), &sections].concat()
}

const LEAST: [(u16, &[u8]); 3] = [(1, &[0; 8]), (2, &[1, 0]), (3, &[1])];

#[test]
fn state_that_is_saved_is_loaded_as_it_was() {
    let state = state();
    assert_eq!(state.features, feature::VERSION_1);
    let bytes = state.encode();
    assert_eq!(bytes[..16], *b"RINGPORT\x01\0\0\0\x51\x02\0\0");
    assert_eq!(SavedState::decode(&bytes), Ok(state));
    let least = SavedState::decode(&of(&LEAST)).unwrap();
    assert_eq!(least.filter, Filter::new(0, None));
    let mut most = Filter::new(feature::CTRL_VLAN, Some(ONE));
    (most.unicast, most.multicast) = (vec![ONE; ADDRESSES_MAX], vec![GROUP; ADDRESSES_MAX]);
    let bytes = SavedState::new(u64::MAX, 3, most, Some(128)).encode();
    assert!(bytes.len() < STATE_MAX / 4, "{} bytes", bytes.len());
}

#[test]
fn state_that_is_cut_or_goes_on_is_refused() {
    let whole = state().encode();
    for len in 0..whole.len() {
        assert!(SavedState::decode(&whole[..len]).is_err(), "{len} bytes");
    }
    let (got, expected) = (whole.len() + 1, whole.len());
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(SavedState::decode(&longer), Err(StateError::Length { got, expected }));
    assert_eq!(SavedState::decode(&vec![0; STATE_MAX + 1]), Err(StateError::TooLong));
}

#[test]
fn state_of_another_device_or_version_is_refused() {
    let mut other = of(&LEAST);
    other[0] = b'r';
    assert_eq!(SavedState::decode(&other), Err(StateError::Magic));
    let mut later = of(&LEAST);
    later[8] = 2;
    assert_eq!(SavedState::decode(&later), Err(StateError::Version { got: 2 }));
    let mut later = of(&LEAST);
    later[10] = 1;
    assert!(SavedState::decode(&later).is_err());
}

#[test]
fn section_that_is_unknown_is_passed_over_only_where_it_says_so() {
    let with = |tag| SavedState::decode(&of(&[&LEAST[..], &[(tag, &b"new"[..])]].concat()));
    assert_eq!(with(9), Err(StateError::Unknown { tag: 9 }));
    assert_eq!(with(0), Err(StateError::Unknown { tag: 0 }));
    assert_eq!(with(0x7fff), Err(StateError::Unknown { tag: 0x7fff }));
    assert_eq!(with(0x8001), SavedState::decode(&of(&LEAST)));
}

#[test]
fn section_that_is_missing_or_there_twice_is_refused() {
    for (at, section) in LEAST.into_iter().enumerate() {
        let mut sections = LEAST.to_vec();
        let (tag, _) = sections.remove(at);
        let missing = StateError::Count { tag, count: 0 };
        assert_eq!(SavedState::decode(&of(&sections)), Err(missing));
        let sections = [&LEAST[..], &[section]].concat();
        let twice = StateError::Count { tag, count: 2 };
        assert_eq!(SavedState::decode(&of(&sections)), Err(twice));
    }
}

#[test]
fn value_out_of_range_is_refused() {
    let too_many = ONE.repeat(257);
    let wrong: [(u16, &[u8]); 14] = [
        (1, &[0; 7]),
        (2, &[4, 0]),
        (2, &[0]),
        (3, &[4]),
        (3, &[]),
        (4, &GROUP),
        (4, &[0; 6]),
        (5, &GROUP),
        (5, &[2; 5]),
        (5, &too_many),
        (6, &ONE),
        (7, &[0; 511]),
        (8, &[0, 0]),
        (8, &[1]),
    ];
    for (tag, contents) in wrong {
        let others = LEAST.iter().filter(|(other, _)| *other != tag).copied();
        let sections: Vec<_> = others.chain([(tag, contents)]).collect();
        let refused = SavedState::decode(&of(&sections));
        assert_eq!(refused, Err(StateError::Contents { tag }), "{contents:x?}");
    }
}

proptest! {
    #[test]
    fn state_of_any_bytes_is_refused_or_means_the_same_when_it_is_written_again(
        at in 0usize..700,
        value in any::<u8>(),
        cut in 0usize..700,
    ) {
        let mut bytes = state().encode();
        let len = bytes.len();
        bytes[at % len] = value;
        bytes.truncate(if cut % 2 == 0 { len } else { cut });
        if let Ok(state) = SavedState::decode(&bytes) {
            prop_assert_eq!(SavedState::decode(&state.encode()), Ok(state));
        }
    }
}
