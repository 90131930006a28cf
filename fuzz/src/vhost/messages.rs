//! [`crate::vhost_messages`].
//!
//! Header: features that are offered and required (each as in a SET_FEATURES), pairs of rings,
//! whether a control ring follows, log2 of the largest ring, most regions, timeout in milliseconds.

use super::OPERATIONS_MAX;
use super::say::{Sent, deliver, feature_set, message, plain_fd};
use crate::input::Input;
use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{
    BackendConfig, BackendMachine, Event, Failed, Incoming, InflightMemory, Limits, PackedIndex,
    RegionOffer, RingBase, RingOffer,
};
use ringport_vhost_user::wire::{Header, MemoryRegion, ProtocolFeatures, feature};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Replies that wait before a machine reads no more.
const REPLIES_MAX: usize = 16;

struct Scene {
    machine: BackendMachine,
    config: BackendConfig,
    now: Instant,
    /// In the socket, not yet read.
    inbound: VecDeque<Sent>,
    framer: Framer,
    waiting: Option<Event>,
    /// When the event that waits is late.
    late_at: Instant,
    closed: bool,
    running: Vec<bool>,
    memory: Vec<MemoryRegion>,
    features: u64,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(&mut input);
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
        scene.check();
    }
    scene.finish();
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let [offered, required, pairs, control, log2, regions, timeout] = input.take();
        let limits = Limits {
            ring_size: 1 << (log2 % 16),
            regions: u16::from(regions),
            total_bytes: 1 << 40,
            log_bytes: 1 << 16,
        };
        let config = BackendConfig {
            features: feature_set(offered),
            required_features: feature_set(required),
            protocol_features: match control & 2 {
                0 => ProtocolFeatures::ALL,
                _ => ProtocolFeatures::from_bits(u64::from(input.u32())),
            },
            queue_pairs: u16::from(1 + pairs % 128),
            control_ring: control & 1 != 0,
            limits,
            answer_timeout: Duration::from_millis(timeout.into()),
        };
        let now = Instant::now();
        Self {
            machine: BackendMachine::new(config),
            config,
            now,
            inbound: VecDeque::new(),
            framer: Framer::default(),
            waiting: None,
            late_at: now,
            closed: false,
            running: vec![false; usize::from(config.ring_count())],
            memory: Vec::new(),
            features: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let [len, fds] = input.take();
                let bytes = (0..len % 64).map(|_| input.u8()).collect();
                let fds = (0..fds % 4).map(|_| plain_fd()).collect();
                self.inbound.push_back(Sent { bytes, fds, fds_truncated: false });
                self.read();
            }
            1 => self.answer(true, input),
            2 => self.answer(false, input),
            3 => self.answer_out_of_order(input),
            4 => self.pass_time(input.u8()),
            5 => drop(self.take_reply()),
            6 => while self.take_reply() {},
            7 => self.overfeed(input.u8()),
            8 => self.say_unread(input),
            9 => self.close(input.u8()),
            _ => {
                self.say_unread(input);
                self.read();
                // The data side does at once what is asked, and the front-end reads the answers.
                if self.waiting.is_some() {
                    self.answer(true, &mut Input::new(&[]));
                }
                while self.take_reply() {}
            }
        }
    }

    /// The front-end writes, and nobody reads.
    fn say_unread(&mut self, input: &mut Input<'_>) {
        let message = message(input);
        self.inbound.extend(deliver(&message, input));
    }

    /// Reads as long as the machine wants anything, and at most what it wants.
    fn read(&mut self) {
        while self.machine.wanted() > 0
            && let Some(mut sent) = self.inbound.pop_front()
        {
            let now = self.machine.wanted().min(sent.bytes.len());
            let rest = sent.bytes.split_off(now);
            let (fds, fds_truncated) = (std::mem::take(&mut sent.fds), sent.fds_truncated);
            if !rest.is_empty() {
                self.inbound.push_front(Sent::bytes(rest));
            }
            if now > 0 {
                self.feed(Incoming { bytes: &sent.bytes, fds, fds_truncated });
            }
        }
    }

    fn feed(&mut self, incoming: Incoming<'_>) {
        assert!(!self.closed && self.waiting.is_none());
        self.framer.take(incoming.bytes);
        match self.machine.on_bytes(incoming, self.now) {
            Ok(None) => assert!(!self.machine.is_closed(), "closed, and nobody was told"),
            Ok(Some(event)) => self.react(event),
            Err(error) => self.check_blame(error),
        }
        self.closed = self.machine.is_closed();
    }

    fn check_blame(&self, error: ControlError) {
        let blame =
            matches!(error, ControlError::PeerMisbehaved(_) | ControlError::PeerIncompatible(_));
        assert!(blame, "{error:?}");
        assert!(!error.to_string().is_empty());
    }

    fn react(&mut self, event: Event) {
        match &event {
            Event::RingStarted(offer) => self.check_offer(offer),
            Event::MemoryTable(offers) => {
                check_table(offers.iter().map(|offer| offer.region), &self.config.limits);
            }
            Event::AddRegion(RegionOffer { region, .. }) => {
                let all = self.memory.iter().chain([region]).copied();
                check_table(all, &self.config.limits);
            }
            Event::RemoveRegion(region) => {
                assert!(self.memory.iter().any(|other| same(other, region)), "{region:?}");
            }
            Event::RingStopped { index }
            | Event::RingEnabled { index, .. }
            | Event::RingKick { index, .. }
            | Event::RingCall { index, .. }
            | Event::RingErr { index, .. }
            | Event::RingLog { index, .. } => assert!(self.running[usize::from(*index)]),
            Event::Features { features, rings_enabled } => {
                assert_eq!(*rings_enabled, features & feature::PROTOCOL_FEATURES == 0);
                let offered = self.config.features | feature::PROTOCOL_FEATURES;
                assert_eq!(features & !offered, 0);
                assert_eq!(features & self.config.required_features, self.config.required_features);
                let changed = (features ^ self.features) & !feature::LOG_ALL;
                assert!(changed == 0 || !self.running.contains(&true), "changed while rings run");
            }
            Event::Reset(_) => self.running.fill(false),
            Event::Inflight(_) | Event::DeviceState(..) => {
                assert!(!self.running.contains(&true), "while rings run");
            }
            Event::ConfigRead(span) | Event::ConfigWrite(span, _) => {
                assert!(span.size > 0 && span.offset + span.size <= 256);
            }
            Event::InflightWanted { queues, queue_size } => {
                assert!((1..=self.config.ring_count()).contains(queues) && *queue_size > 0);
            }
            _ => {}
        }
        self.waiting = Some(event);
        self.late_at = self.now + self.config.answer_timeout;
    }

    fn check_offer(&self, ring: &RingOffer) {
        let packed = self.features & feature::RING_PACKED != 0;
        assert!(!self.running[usize::from(ring.index)] && !self.memory.is_empty());
        assert!((1..=self.config.limits.ring_size).contains(&ring.size));
        assert!(packed || ring.size.is_power_of_two());
        match ring.base {
            RingBase::Split { .. } => assert!(!packed),
            RingBase::Packed { avail, used } => {
                assert!(packed && avail.index < ring.size && used.index < ring.size);
            }
        }
    }

    /// The data side answers what waits.
    fn answer(&mut self, done: bool, input: &mut Input<'_>) {
        let Some(event) = self.waiting.take() else {
            return self.answer_out_of_order(input);
        };
        let ack = if done { Ok(()) } else { Err(Failed) };
        let machine = &mut self.machine;
        let answered = match &event {
            Event::RingStopped { index } if done => {
                let [low, wrap] = input.take();
                let place = PackedIndex { index: u16::from(low), wrap: wrap & 1 != 0 };
                let packed = self.features & feature::RING_PACKED != 0;
                let base = match packed {
                    true => RingBase::Packed { avail: place, used: place },
                    false => RingBase::Split { avail: u16::from(low) },
                };
                machine.answer_vring_base(*index, base)
            }
            Event::RingStopped { .. } => {
                // A ring always stops somewhere: what cannot be said is left to the clock.
                self.waiting = Some(event);
                return;
            }
            Event::ConfigRead(span) => {
                machine.answer_config(ack.map(|()| vec![7; span.size as usize]))
            }
            Event::InflightWanted { queues, queue_size } => {
                let (queues, queue_size, fd) = (*queues, *queue_size, plain_fd());
                let made = InflightMemory { fd, size: 4096, offset: 0, queues, queue_size };
                machine.answer_inflight(ack.map(|()| made))
            }
            Event::DeviceState(..) => {
                let pipe = (input.u8() & 1 != 0).then(plain_fd);
                machine.answer_device_state(ack.map(|()| pipe))
            }
            _ => machine.answer_ack(ack),
        };
        self.closed = self.machine.is_closed();
        match answered {
            Ok(()) => assert!(!self.closed),
            Err(ControlError::Failed { .. }) => assert!(!done && self.closed),
            Err(error) => panic!("{error:?} answering {event:?}"),
        }
        if done {
            self.done(event);
        }
    }

    /// What a front-end asked for has happened.
    fn done(&mut self, event: Event) {
        match event {
            Event::RingStarted(ring) => self.running[usize::from(ring.index)] = true,
            Event::RingStopped { index } => self.running[usize::from(index)] = false,
            Event::MemoryTable(offers) => {
                self.memory = offers.iter().map(|offer| offer.region).collect();
            }
            Event::AddRegion(offer) => self.memory.push(offer.region),
            Event::RemoveRegion(region) => self.memory.retain(|other| !same(other, &region)),
            Event::Features { features, .. } => self.features = features,
            _ => {}
        }
    }

    /// Answers to what was not asked are refused, and change nothing.
    fn answer_out_of_order(&mut self, input: &mut Input<'_>) {
        let [kind, index] = input.take();
        let wanted = (self.machine.wanted(), self.machine.deadline());
        let machine = &mut self.machine;
        let waits = self.waiting.as_ref();
        let packed = self.features & feature::RING_PACKED != 0;
        let refused = match kind % 5 {
            0 if !waits.is_some_and(is_acked) => machine.answer_ack(Ok(())),
            1 if !matches!(waits, Some(Event::ConfigRead(_))) => machine.answer_config(Err(Failed)),
            2 if !matches!(waits, Some(Event::InflightWanted { .. })) => {
                machine.answer_inflight(Err(Failed))
            }
            3 if !matches!(waits, Some(Event::DeviceState(..))) => {
                machine.answer_device_state(Ok(Some(plain_fd())))
            }
            4 => {
                let place = PackedIndex { index: 0, wrap: true };
                // Of the other layout, or of a ring that does not stop.
                let base = match packed {
                    true => RingBase::Split { avail: 0 },
                    false => RingBase::Packed { avail: place, used: place },
                };
                machine.answer_vring_base(index.into(), base)
            }
            _ => return,
        };
        assert!(matches!(refused, Err(ControlError::OutOfOrder { .. })), "{refused:?}");
        assert_eq!(wanted, (self.machine.wanted(), self.machine.deadline()));
    }

    fn pass_time(&mut self, ms: u8) {
        self.now += Duration::from_millis(ms.into());
        let late = self.waiting.is_some() && !self.closed && self.now >= self.late_at;
        match self.machine.on_deadline(self.now) {
            Ok(()) => assert!(!late),
            Err(ControlError::Timeout { .. }) => assert!(late && self.machine.is_closed()),
            Err(error) => panic!("{error:?}"),
        }
        self.note_end();
    }

    /// What waits has nobody to wait for it after the end.
    fn note_end(&mut self) {
        self.closed = self.machine.is_closed();
        if self.closed {
            self.waiting = None;
        }
    }

    /// The caller breaks the machine's rules: a read of more than was wanted.
    fn overfeed(&mut self, how: u8) {
        // Rare, as little happens afterwards.
        if how != 0 || self.closed {
            return;
        }
        let bytes = vec![1; self.machine.wanted() + 1];
        let incoming = Incoming { bytes: &bytes, fds: vec![plain_fd()], fds_truncated: false };
        let refused = self.machine.on_bytes(incoming, self.now);
        assert!(matches!(refused, Err(ControlError::Overfed { .. })));
        self.note_end();
    }

    fn close(&mut self, how: u8) {
        if how == 0 {
            self.machine.close();
            self.note_end();
        }
    }

    /// Takes one reply, which answers a request that was made and not answered before.
    fn take_reply(&mut self) -> bool {
        let Some(reply) = self.machine.take_outgoing() else {
            return false;
        };
        assert!(!self.closed, "a reply after the end");
        let header = Header::decode(reply.bytes.first_chunk().expect("a header")).expect("our own");
        assert!(header.reply && !header.need_reply);
        assert_eq!(header.size as usize, reply.bytes.len() - 12);
        assert!(self.framer.answered(header.request), "a reply that nobody asked for");
        true
    }

    fn check(&mut self) {
        assert_eq!(self.machine.is_closed(), self.closed);
        let (wanted, deadline) = (self.machine.wanted(), self.machine.deadline());
        if self.closed {
            assert_eq!((wanted, deadline), (0, None));
            assert!(self.machine.take_outgoing().is_none(), "a reply after the end");
            let incoming = Incoming { bytes: &[1], fds: Vec::new(), fds_truncated: false };
            assert!(matches!(self.machine.on_bytes(incoming, self.now), Ok(None)));
        } else if self.waiting.is_some() {
            assert_eq!((wanted, deadline), (0, Some(self.late_at)));
        } else {
            assert_eq!(deadline, None);
            assert_eq!(self.machine.features(), self.features);
            if wanted == 0 {
                // Until the front-end reads, and no longer.
                (0..REPLIES_MAX).for_each(|_| assert!(self.take_reply(), "nothing is wanted"));
                assert!(!self.take_reply() && self.machine.wanted() > 0);
            }
        }
    }

    /// Whatever waits is answered, so that it is seen to be possible; then the rest is read.
    fn finish(&mut self) {
        while !self.closed && (self.waiting.is_some() || !self.inbound.is_empty()) {
            if self.waiting.is_some() {
                self.answer(true, &mut Input::new(&[]));
            }
            while self.take_reply() {}
            self.read();
            self.check();
        }
    }
}

/// The requests in a stream, as the specification frames them.
#[derive(Default)]
struct Framer {
    /// Of a message that is not whole.
    bytes: Vec<u8>,
    /// Numbers of requests that were not answered yet.
    requests: VecDeque<u32>,
}

impl Framer {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(header) = self.bytes.first_chunk::<12>() {
            let word = |at: usize| {
                u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            let (number, end) = (word(0), 12 + word(8) as usize);
            if self.bytes.len() < end {
                break;
            }
            self.requests.push_back(number);
            self.bytes.drain(..end);
        }
    }

    /// Whether a reply to `number` is due; those before it got none.
    fn answered(&mut self, number: u32) -> bool {
        let at = self.requests.iter().position(|&request| request == number);
        at.is_some_and(|at| self.requests.drain(..=at).count() > 0)
    }
}

fn is_acked(event: &Event) -> bool {
    !matches!(
        event,
        Event::RingStopped { .. }
            | Event::ConfigRead(_)
            | Event::InflightWanted { .. }
            | Event::DeviceState(..)
    )
}

fn same(one: &MemoryRegion, other: &MemoryRegion) -> bool {
    let name = |r: &MemoryRegion| (r.guest_address, r.user_address, r.size);
    name(one) == name(other)
}

/// The rules that every memory keeps, written down a second time.
fn check_table(regions: impl Iterator<Item = MemoryRegion>, limits: &Limits) {
    let regions: Vec<_> = regions.collect();
    assert!((1..=usize::from(limits.regions)).contains(&regions.len()));
    let sizes = regions.iter().map(|region| u128::from(region.size));
    assert!(sizes.sum::<u128>() <= u128::from(limits.total_bytes));
    for start in [|r: &MemoryRegion| r.guest_address, |r: &MemoryRegion| r.user_address] {
        let mut ranges: Vec<_> = regions
            .iter()
            .map(|region| (u128::from(start(region)), u128::from(region.size)))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.iter().all(|(start, size)| *size > 0 && start + size <= 1 << 64));
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:?}");
    }
}
