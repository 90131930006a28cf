//! Whatever a front-end says, a machine stays in one piece and leaks no descriptor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use proptest::prelude::*;
use ringport_vhost_user::backend::{
    BackendMachine, Event, Failed, Incoming, InflightMemory, PackedIndex, RingBase,
};
use ringport_vhost_user::wire::{
    Inflight, LogArea, Message, ProtocolFeatures, Request, VringAddress, VringFd, VringState,
    feature,
};
use std::os::fd::OwnedFd;
use std::time::Instant;
use support::{config, marked, open_count, region};

#[derive(Debug, Clone)]
struct Input {
    bytes: Vec<u8>,
    fds: usize,
    fds_truncated: bool,
    /// Whether the data side does what is asked.
    done: bool,
}

/// Messages that are often right, so that conversations get far.
fn message() -> impl Strategy<Value = Message> {
    use Request as R;
    let index = || prop_oneof![9 => 0u32..3, 1 => any::<u32>()];
    let features = prop_oneof![
        Just(feature::VERSION_1 | feature::PROTOCOL_FEATURES),
        Just(feature::VERSION_1 | feature::RING_PACKED),
        Just(feature::VERSION_1 | feature::LOG_ALL | feature::PROTOCOL_FEATURES),
        any::<u64>(),
    ];
    let value = prop_oneof![Just(0u32), Just(1), Just(256), Just(0x8000_8000), any::<u32>()];
    let kinds = prop::sample::select(vec![
        R::SetVringNum,
        R::SetVringBase,
        R::GetVringBase,
        R::SetVringEnable,
    ]);
    let bells = prop::sample::select(vec![R::SetVringKick, R::SetVringCall, R::SetVringErr]);
    let plain: Vec<_> =
        Request::ALL.iter().filter_map(|request| Message::decode(*request, &[]).ok()).collect();
    let numbers = prop::sample::select(vec![R::SetStatus, R::NetSetMtu, R::SetProtocolFeatures]);
    let inflight = (any::<bool>(), 0u16..6, 0u16..2000, any::<bool>(), 0u64..3);
    prop_oneof![
        2 => prop::sample::select(plain),
        2 => features.prop_map(|features| Message::Number(R::SetFeatures, features)),
        1 => (numbers, 0u64..0x400).prop_map(|(kind, number)| Message::Number(kind, number)),
        5 => (kinds, index(), value)
            .prop_map(|(kind, index, value)| Message::VringState(kind, VringState { index, value })),
        3 => (index(), any::<bool>()).prop_map(|(index, log)| {
            Message::VringAddress(VringAddress { log, ..support::address(index) })
        }),
        5 => (bells, 0u8..4, any::<bool>())
            .prop_map(|(kind, index, no_fd)| Message::VringFd(kind, VringFd { index, no_fd })),
        3 => prop::collection::vec((0u64..4).prop_map(region), 1..4).prop_map(Message::MemTable),
        2 => (any::<bool>(), 0u64..4).prop_map(|(add, number)| {
            let request = if add { R::AddMemReg } else { R::RemMemReg };
            Message::MemRegion(request, region(number))
        }),
        1 => (0u64..5000, any::<u64>())
            .prop_map(|(size, offset)| Message::LogBase(LogArea { size, offset })),
        1 => inflight.prop_map(|(get, queues, queue_size, padded, pages)| {
            let request = if get { R::GetInflightFd } else { R::SetInflightFd };
            let mmap_size = pages * 4096;
            let inflight = Inflight { mmap_size, mmap_offset: 0, queues, queue_size, padded };
            Message::Inflight(request, inflight)
        }),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let whole = (message(), prop::bool::weighted(0.9), prop::bool::weighted(0.9)).prop_map(
        |(message, need_reply, done)| Input {
            bytes: message.encode(need_reply),
            fds: *message.fd_count().start(),
            fds_truncated: false,
            done,
        },
    );
    let odd_fds = (message(), 0usize..4, prop::bool::weighted(0.1), any::<bool>()).prop_map(
        |(message, fds, fds_truncated, done)| Input {
            bytes: message.encode(true),
            fds,
            fds_truncated,
            done,
        },
    );
    let noise = (prop::collection::vec(any::<u8>(), 0..40), 0usize..3)
        .prop_map(|(bytes, fds)| Input { bytes, fds, fds_truncated: false, done: true });
    prop_oneof![40 => whole, 3 => odd_fds, 1 => noise]
}

/// Answers for the data side.
fn answer(machine: &mut BackendMachine, event: Event, done: bool, fd: Option<OwnedFd>) {
    let failed = |done: bool| if done { Ok(()) } else { Err(Failed) };
    // What ends a conversation that cannot be told is checked by `check`.
    let _ = match event {
        Event::RingStopped { index } => {
            let place = PackedIndex { index: 0, wrap: done };
            let packed = machine.features() & feature::RING_PACKED != 0;
            let base = match packed {
                true => RingBase::Packed { avail: place, used: place },
                false => RingBase::Split { avail: 7 },
            };
            machine.answer_vring_base(index, base).unwrap();
            Ok(())
        }
        Event::ConfigRead(span) => {
            machine.answer_config(failed(done).map(|()| vec![0; span.size as usize]))
        }
        Event::InflightWanted { queues, queue_size } => {
            let made = fd.filter(|_| done).ok_or(Failed);
            machine.answer_inflight(made.map(|fd| InflightMemory {
                fd,
                size: 4096,
                offset: 0,
                queues,
                queue_size,
            }))
        }
        Event::DeviceState(..) => machine.answer_device_state(failed(done).map(|()| fd)),
        _ => machine.answer_ack(failed(done)),
    };
}

fn check_event(machine: &BackendMachine, event: &Event) {
    assert_eq!(machine.wanted(), 0, "an event waits for its answer");
    assert!(machine.deadline().is_some());
    match event {
        Event::RingStarted(ring) => {
            let packed = machine.features() & feature::RING_PACKED != 0;
            assert!(ring.index < 4 && (1..=1024).contains(&ring.size));
            assert!(packed || ring.size.is_power_of_two());
            assert_eq!(packed, matches!(ring.base, RingBase::Packed { .. }));
        }
        Event::MemoryTable(regions) => assert!((1..=4).contains(&regions.len())),
        Event::RingStopped { index } | Event::RingEnabled { index, .. } => assert!(*index < 4),
        _ => {}
    }
}

/// At most one reply to each message, with the flags of a reply, and none after the end.
fn check_replies(machine: &mut BackendMachine) {
    let replies: Vec<_> = std::iter::from_fn(|| machine.take_outgoing()).collect();
    assert!(replies.len() <= 1);
    assert!(replies.iter().all(|reply| reply.bytes[4..8] == 5u32.to_ne_bytes()));
    assert!(replies.is_empty() || !machine.is_closed());
}

/// Feeds one input in pieces, as a socket would.
fn feed(machine: &mut BackendMachine, input: &Input, name: &str) {
    let mut bytes = &input.bytes[..];
    let mut fds = marked(name, input.fds);
    while !bytes.is_empty() && !machine.is_closed() {
        let (now, later) = bytes.split_at(bytes.len().min(machine.wanted()));
        assert!(!now.is_empty());
        let fds = std::mem::take(&mut fds);
        let incoming = Incoming { bytes: now, fds, fds_truncated: input.fds_truncated };
        if let Ok(Some(event)) = machine.on_bytes(incoming, Instant::now()) {
            check_event(machine, &event);
            let fd = marked(name, 1).pop();
            answer(machine, event, input.done, fd);
        }
        check_replies(machine);
        bytes = later;
    }
}

fn opening() -> Vec<Input> {
    let all = ProtocolFeatures::ALL.bits();
    let messages = [
        Message::Number(Request::SetProtocolFeatures, all),
        Message::MemTable(vec![region(0)]),
        Message::VringState(Request::SetVringNum, VringState { index: 0, value: 256 }),
        Message::VringAddress(support::address(0)),
    ];
    let input = |message: Message| Input {
        bytes: message.encode(false),
        fds: *message.fd_count().start(),
        fds_truncated: false,
        done: true,
    };
    messages.map(input).to_vec()
}

proptest! {
    #[test]
    fn machine_survives_messages(
        opened in any::<bool>(),
        inputs in prop::collection::vec(input(), 0..60),
    ) {
        let mut machine = BackendMachine::new(config());
        let opening = if opened { opening() } else { Vec::new() };
        for input in opening.iter().chain(&inputs) {
            feed(&mut machine, input, "vu-any-message");
        }
        drop(machine);
        prop_assert_eq!(open_count("vu-any-message"), 0);
    }

    #[test]
    fn machine_survives_any_bytes_with_any_descriptors(
        pieces in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..64), 0usize..4, prop::bool::weighted(0.05)),
            0..20,
        ),
    ) {
        let mut machine = BackendMachine::new(config());
        for (bytes, fds, fds_truncated) in pieces {
            let fds = marked("vu-any-bytes", fds);
            let incoming = Incoming { bytes: &bytes, fds, fds_truncated };
            let fits = bytes.len() <= machine.wanted();
            let closed = machine.is_closed();
            let heard = machine.on_bytes(incoming, Instant::now());
            prop_assert!(fits || closed || heard.is_err());
            check_replies(&mut machine);
        }
        drop(machine);
        prop_assert_eq!(open_count("vu-any-bytes"), 0);
    }

    #[test]
    fn machine_survives_framed_noise(
        frames in prop::collection::vec(
            (0u32..50, any::<bool>(), prop::collection::vec(any::<u8>(), 0..48), 0usize..3),
            0..20,
        ),
    ) {
        let mut machine = BackendMachine::new(config());
        for (request, need_reply, payload, fds) in frames {
            let size = u32::try_from(payload.len()).unwrap();
            let flags = if need_reply { 9 } else { 1 };
            let header = [request, flags, size].map(u32::to_ne_bytes).concat();
            let bytes = [header, payload].concat();
            let input = Input { bytes, fds, fds_truncated: false, done: need_reply };
            feed(&mut machine, &input, "vu-any-frame");
        }
        drop(machine);
        prop_assert_eq!(open_count("vu-any-frame"), 0);
    }
}
