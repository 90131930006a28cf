use super::fake::{Fake, LAYOUT, Lies, Told};
use super::start::{Start, stop};
use super::*;
use crate::device::RingSetup;
use std::os::fd::AsRawFd;

const SHORT: Duration = Duration::from_millis(50);
pub(super) const FEATURES: u64 = 1 << 32 | 1 << 33;

pub(super) fn ring(index: u16) -> RingSetup {
    let eventfd = || Arc::new(eventfd().unwrap().into());
    RingSetup {
        index,
        size: 128,
        descriptor_area: 0x1_0000_1000,
        driver_area: 0x2_0000_2000,
        device_area: 0x3_0000_3000,
        base: RingBase::Split { avail: 0 },
        kick: eventfd(),
        call: eventfd(),
    }
}

/// Starts rings 0 and 1 of a function. Returns what came of it, and what the function was told.
fn started(lies: Lies) -> (Result<Kicks, DeviceError>, Vec<Told>) {
    let fake = Fake::new(lies);
    let setup = Setup { features: FEATURES, rings: vec![ring(0), ring(1)] };
    let changed = eventfd().unwrap();
    let done = start(&fake, &setup, &changed);
    let told = fake.state().told.clone();
    (done, told)
}

fn start(fake: &Fake, setup: &Setup, changed: &EventFd) -> Result<Kicks, DeviceError> {
    let gone = Arc::new(eventfd().unwrap());
    begin(fake, setup, changed, &gone)
}

pub(super) fn begin(
    fake: &Fake,
    setup: &Setup,
    changed: &EventFd,
    gone: &Arc<EventFd>,
) -> Result<Kicks, DeviceError> {
    let config_changed = changed.as_fd();
    Start { setup, layout: &LAYOUT, config_changed, gone, patience: SHORT }.run(fake)
}

/// As all that a failed start ends with.
const UNDONE: [Told; 2] = [Told::Status(0), Told::ClearVectors];

#[test]
fn device_begins_in_the_order_of_the_specification() {
    let fake = Fake::new(Lies::default());
    fake.state().rings = vec![128; 3];
    let setup = Setup { features: FEATURES, rings: vec![ring(2), ring(0)] };
    let changed = eventfd().unwrap();
    let kicks = start(&fake, &setup, &changed).unwrap();
    let places = [2, 0, 1].map(|ring| kicks.doorbell(ring).map(|it| it.offset));
    assert_eq!(places, [Some(0x2000), Some(0), None]);
    assert_eq!(kicks.thread(), None);
    let fd = |fd: &Arc<OwnedFd>| Some(fd.as_raw_fd());
    let [two, zero] = &setup.rings[..] else { unreachable!() };
    let set_up = |ring: u16| {
        [
            (24, vec![128, 0]),
            (32, vec![0, 0x10, 0, 0]),
            (36, vec![1, 0, 0, 0]),
            (40, vec![0, 0x20, 0, 0]),
            (44, vec![2, 0, 0, 0]),
            (48, vec![0, 0x30, 0, 0]),
            (52, vec![3, 0, 0, 0]),
            (26, (ring + 1).to_le_bytes().to_vec()),
            (28, vec![1, 0]),
        ]
        .map(|(at, bytes)| Told::Ring { ring, at, bytes })
    };
    let vectors = vec![Some(changed.as_raw_fd()), fd(&zero.call), None, fd(&two.call)];
    let mut wanted: Vec<Told> = [0, 1, 3, 11].map(Told::Status).into();
    wanted.extend([Told::Vectors(0, vectors), Told::ChangeVector(0)]);
    wanted.extend(set_up(2));
    wanted.extend(set_up(0));
    wanted.push(Told::Status(15));
    wanted.push(Told::Doorbell(2, 0x2000, fd(&two.kick)));
    wanted.push(Told::Doorbell(0, 0, fd(&zero.kick)));
    assert_eq!(fake.state().told, wanted);
    assert_eq!(fake.state().accepted, [0, 3]);

    fake.state().told.clear();
    stop(&fake, kicks, SHORT).unwrap();
    let doorbells = [Told::Doorbell(2, 0x2000, None), Told::Doorbell(0, 0, None)];
    assert_eq!(fake.state().told, [UNDONE.to_vec(), doorbells.to_vec()].concat());
}

#[test]
fn device_that_does_not_begin_is_reset_and_gives_back_its_eventfds() {
    let cases = [
        (Lies { refuses_features: true, ..Lies::default() }, "refuses features"),
        (Lies { vectors: Some(0), ..Lies::default() }, "no interrupt vector left"),
        (Lies { vectors: Some(2), ..Lies::default() }, "ring 1 gets no interrupt vector"),
        (Lies { enabled: true, ..Lies::default() }, "ring 0 is enabled after a reset"),
        (Lies { status: 0x40, ..Lies::default() }, "status 0x4f"),
        (Lies { status: 0x80, ..Lies::default() }, "status 0x8f"),
        (Lies { doorbell: Some(3), ..Lies::default() }, "doorbell 3 is at 0x3000"),
        (
            Lies { refuses_doorbell: Some(1), refuses_bells: true, ..Lies::default() },
            "lend a doorbell",
        ),
    ];
    for (lies, wanted) in cases {
        let (done, told) = started(lies);
        let said = done.unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
        let undone = told.windows(2).position(|both| both == UNDONE);
        let undone = undone.unwrap_or_else(|| panic!("{wanted}: {told:?}"));
        let rest = &told[undone + 2..];
        let given_back = |it: &Told| matches!(it, Told::Doorbell(_, _, None));
        assert!(rest.iter().all(given_back), "{wanted}: {rest:?}");
        let kicks = told.iter().any(|it| matches!(it, Told::Doorbell(_, _, Some(_))));
        assert!(!kicks || !rest.is_empty(), "{wanted}: {told:?}");
    }
}

#[test]
fn ring_that_is_too_large_or_not_there_is_refused() {
    let changed = eventfd().unwrap();
    for (index, size, wanted) in [(2, 128, "larger"), (3, 1, "does not have")] {
        let fake = Fake::new(Lies::default());
        let rings = vec![RingSetup { size, ..ring(index) }];
        let error = start(&fake, &Setup { features: FEATURES, rings }, &changed).unwrap_err();
        assert!(matches!(error, DeviceError::BadRing { ring, .. } if ring == index));
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(fake.state().status, 0);
    }
}

#[test]
fn reset_that_does_not_end_is_late_and_eventfds_are_given_back() {
    let (done, told) = started(Lies { never_reset: true, ..Lies::default() });
    assert!(matches!(done, Err(DeviceError::Late { what: "reset", .. })), "{done:?}");
    assert_eq!(told, [vec![Told::Status(0)], UNDONE.to_vec()].concat());
    let fake = Fake::new(Lies { never_reset: true, ..Lies::default() });
    let mut kicks = Kicks::new(Arc::new(eventfd().unwrap()));
    kicks.add(Doorbell { ring: 1, offset: 0x1000 });
    assert!(stop(&fake, kicks, SHORT).is_err());
    assert_eq!(fake.state().told.last(), Some(&Told::Doorbell(1, 0x1000, None)));
}

#[test]
fn device_that_does_not_answer_is_gone() {
    let (done, _) = started(Lies { absent: true, ..Lies::default() });
    assert!(matches!(done, Err(DeviceError::Gone)), "{done:?}");
}

#[test]
fn device_that_stops_answering_at_any_access_is_gone_or_late_and_gives_back_its_eventfds() {
    for answers in 0.. {
        let (done, told) = started(Lies { answers: Some(answers), ..Lies::default() });
        let Err(error) = done else {
            assert!(answers > 10, "it was asked so often");
            break;
        };
        let said = error.to_string();
        assert!(
            matches!(error, DeviceError::Gone | DeviceError::Absurd(_) | DeviceError::Unable(_))
                || said.contains("no interrupt vector"),
            "{answers}: {said}"
        );
        let undone = told.windows(2).position(|both| both == UNDONE);
        let rest = &told[undone.unwrap_or_else(|| panic!("{answers}: {told:?}")) + 2..];
        assert!(rest.iter().all(|it| matches!(it, Told::Doorbell(_, _, None))), "{rest:?}");
    }
}

#[test]
fn configuration_is_read_in_aligned_accesses() {
    let fake = Fake::new(Lies::default());
    let mut bytes = [0; 9];
    Common(&fake).read_config(6, &mut bytes).unwrap();
    assert_eq!(bytes, [6, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert_eq!(fake.state().widths, [2, 4, 2, 1]);
    Common(&fake).read_config(1, &mut bytes[..1]).unwrap();
    assert_eq!(bytes[0], 1);
}

#[test]
fn configuration_that_changes_is_read_again_but_not_for_ever() {
    let fake = Fake::new(Lies { changes: 3, ..Lies::default() });
    let mut bytes = [0; 8];
    Common(&fake).read_config(0, &mut bytes).unwrap();
    assert_eq!(bytes, [3, 4, 5, 6, 7, 8, 9, 10], "all of one generation");
    let fake = Fake::new(Lies { changes: usize::MAX, ..Lies::default() });
    let error = Common(&fake).read_config(0, &mut bytes).unwrap_err();
    assert!(error.to_string().contains("changes faster"), "{error}");
}
