use super::*;

/// A configuration space as QEMU's, whose capabilities are in order of their places.
const PLACES: [usize; 6] = [0x98, 0x84, 0x70, 0x60, 0x50, 0x40];
const BAR_LENS: [u64; BARS] = [0, 0x1000, 0, 0, 0x80_0000, 0];
const NOTIFY_PLACE: usize = 0x84;

fn capability(kind: u8, len: u8, bar: u8, offset: u32, bytes: u32) -> Vec<u8> {
    let mut capability = vec![VENDOR_SPECIFIC, 0, len, kind, bar, 0, 0, 0];
    capability.extend(offset.to_le_bytes());
    capability.extend(bytes.to_le_bytes());
    capability
}

fn config() -> [u8; CONFIG_LEN] {
    let mut config = [0; CONFIG_LEN];
    config[..4].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
    config[STATUS_AT] = 0x10;
    config[SUBSYSTEM_AT..SUBSYSTEM_AT + 2].copy_from_slice(&[0, 0x11]);
    let pci_window = capability(5, 20, 0, 0, 0);
    let mut notify = capability(NOTIFY, 20, 4, 0x3000, 0x40_0000);
    notify.extend(0x1000_u32.to_le_bytes());
    let all = [
        vec![0x11, 0, 3, 0, 1, 0, 0, 0],
        notify,
        pci_window,
        capability(DEVICE, 16, 4, 0x2000, 0x1000),
        capability(3, 16, 4, 0x1000, 0x1000),
        capability(COMMON, 16, 4, 0, 0x1000),
    ];
    config[FIRST_AT] = 0x98;
    for (index, (at, bytes)) in PLACES.into_iter().zip(all).enumerate() {
        config[at..at + bytes.len()].copy_from_slice(&bytes);
        let next = PLACES.get(index + 1).copied().unwrap_or(0);
        config[at + 1] = u8::try_from(next).unwrap();
    }
    config
}

/// What is said of a configuration space that is changed so.
fn said(bytes: &[(usize, &[u8])]) -> String {
    let mut config = config();
    for (at, bytes) in bytes {
        config[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    layout(&config, &BAR_LENS).map_or_else(|error| error.to_string(), |_| "nothing".to_owned())
}

#[test]
fn structures_of_qemus_function_are_found() {
    let layout = layout(&config(), &BAR_LENS).unwrap();
    let in_bar = |offset, len| Structure { bar: 4, offset, len };
    let wanted = Layout {
        common: in_bar(0, 0x1000),
        notify: in_bar(0x3000, 0x40_0000),
        multiplier: 0x1000,
        device: Some(in_bar(0x2000, 0x1000)),
    };
    assert_eq!(layout, wanted);
    assert_eq!(device_id(&config()).unwrap(), 1);
}

#[test]
fn transitional_function_has_its_id_elsewhere_and_others_are_refused() {
    let mut config = config();
    config[2..4].copy_from_slice(&[0x00, 0x10]);
    config[SUBSYSTEM_AT..SUBSYSTEM_AT + 2].copy_from_slice(&[2, 0]);
    assert_eq!(device_id(&config).unwrap(), 2);
    config[2..4].copy_from_slice(&[0x80, 0x10]);
    assert!(matches!(device_id(&config), Err(DeviceError::Unable(_))));
    config[..4].copy_from_slice(&[0x86, 0x80, 0x41, 0x10]);
    assert!(matches!(device_id(&config), Err(DeviceError::Unable(_))));
    assert!(matches!(device_id(&[0xff; CONFIG_LEN]), Err(DeviceError::Gone)));
}

#[test]
fn list_that_loops_or_leaves_its_place_is_refused() {
    assert!(said(&[(0x41, &[0x98])]).contains("again and again"));
    assert!(said(&[(0x41, &[0x40])]).contains("again and again"));
    assert!(said(&[(FIRST_AT, &[0x3c])]).contains("in the header"));
    assert!(said(&[(0x51, &[0x04])]).contains("in the header"));
    // At the last place that a capability can have, it has no room.
    assert!(said(&[(0x41, &[0xfc]), (0xfc, &[9, 0, 16, 1])]).contains("ends behind its space"));
    assert!(said(&[(0x42, &[0xff])]).contains("ends behind its space"));
    // The lowest two bits mean nothing.
    assert_eq!(said(&[(FIRST_AT, &[0x9b])]), "nothing");
}

#[test]
fn structure_that_is_not_in_its_bar_is_refused() {
    let number = u32::to_le_bytes;
    assert!(said(&[(0x44, &[0])]).contains("BAR that is not there"));
    assert!(said(&[(0x44, &[1]), (0x48, &number(1))]).contains("ends behind its BAR"));
    assert!(said(&[(0x48, &number(0x7f_f004))]).contains("ends behind its BAR"));
    assert!(said(&[(0x48, &number(u32::MAX)), (0x4c, &number(u32::MAX))]).contains("behind"));
    assert!(said(&[(0x4c, &number(u32::MAX))]).contains("ends behind its BAR"));
    assert!(said(&[(0x4c, &number(55))]).contains("too short"));
    assert_eq!(said(&[(0x4c, &number(56))]), "nothing");
    assert!(said(&[(0x48, &number(2))]).contains("not aligned"));
    assert!(said(&[(NOTIFY_PLACE + 12, &number(1))]).contains("too short"));
    assert!(said(&[(NOTIFY_PLACE + 8, &number(0x3001))]).contains("not aligned"));
    assert!(said(&[(0x6c, &number(0))]).contains("too short"));
}

#[test]
fn reserved_bars_and_kinds_and_later_structures_are_passed_over() {
    assert!(said(&[(0x44, &[6])]).contains("no common configuration"));
    assert!(said(&[(0x43, &[9])]).contains("no common configuration"));
    assert!(said(&[(0x42, &[15])]).contains("no common configuration"));
    assert!(said(&[(NOTIFY_PLACE + 3, &[8])]).contains("no doorbells"));
    assert!(said(&[(STATUS_AT, &[0])]).contains("no common configuration"));
    // A second common configuration, which lies.
    assert_eq!(said(&[(0x53, &[COMMON]), (0x44, &[0])]), "nothing");
}

#[test]
fn multiplier_that_cannot_be_is_refused() {
    let with = |multiplier: u32| said(&[(NOTIFY_PLACE + 16, &multiplier.to_le_bytes())]);
    for multiplier in [0, 2, 4, 0x1000, 1 << 31] {
        assert_eq!(with(multiplier), "nothing", "{multiplier}");
    }
    for multiplier in [1, 3, 6, 0xffff_ffff] {
        assert!(with(multiplier).contains("bytes apart"), "{multiplier}");
    }
    assert!(said(&[(NOTIFY_PLACE + 2, &[16])]).contains("too short"));
}

#[test]
fn doorbell_behind_the_end_is_refused() {
    let mut layout = layout(&config(), &BAR_LENS).unwrap();
    assert_eq!(layout.doorbell(0).unwrap(), 0);
    assert_eq!(layout.doorbell(0x3ff).unwrap(), 0x3f_f000);
    assert!(layout.doorbell(0x400).is_err());
    layout.multiplier = 1 << 31;
    assert!(layout.doorbell(u16::MAX).is_err());
    layout.multiplier = 0;
    assert_eq!(layout.doorbell(u16::MAX).unwrap(), 0);
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut config = config();
        for _ in 0..6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [at, byte, ..] = (state >> 20).to_le_bytes();
            config[usize::from(at)] = byte;
        }
        if let Ok(found) = layout(&config, &BAR_LENS) {
            for structure in [Some(found.common), Some(found.notify), found.device] {
                let Some(Structure { bar, offset, len }) = structure else { continue };
                assert!(offset + len <= BAR_LENS[bar]);
            }
        }
    }
}
