//! [`crate::control_server`].
//!
//! Header: most regions, C2S rings and S2C rings, each less one; log2 of the ring size; memory in
//! pages, less one (0xff: without limit); cache line (0 detected, 1 64, 2 128); timeout in
//! milliseconds; memory policy.

use super::{Clock, Delivery, ExpectedOutbox, OPERATIONS_MAX, check_blame, message, name, raw};
use crate::input::Input;
use ringport::link::LinkState;
use ringport::shm::MemoryPolicy;
use ringport_memif::control::{
    Admission, Limits, Offer, Refusal, RingOffer, ServerEvent, ServerMachine,
};
use ringport_memif::queue::server_queues;
use ringport_memif::wire::{AddRegion, AddRing, Message, MessageType, Reason, Secret};
use ringport_memif::{CacheLine, ControlError, DataConfig, Direction, Mode, Queues};
use std::sync::Arc;

/// How far the conversation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    AwaitInit,
    AwaitAdmission,
    Building,
    AwaitAcceptance,
    Up,
    Closed,
}

struct Scene {
    machine: ServerMachine,
    limits: Limits,
    policy: MemoryPolicy,
    clock: Clock,
    stage: Stage,
    outbox: ExpectedOutbox,
    /// Taken from the client so far.
    regions: u8,
    rings: [u8; 2],
    offer: Option<(Offer, CacheLine)>,
    queues: Option<Queues>,
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
    while scene.take() {}
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let [regions, c2s, s2c, log2, pages, line, timeout, policy] = input.take();
        let limits = Limits {
            regions: u16::from(regions) + 1,
            c2s_rings: u16::from(c2s) + 1,
            s2c_rings: u16::from(s2c) + 1,
            log2_ring_size: 1 + log2 % 14,
            total_bytes: if pages == 0xff { u64::MAX } else { (u64::from(pages) + 1) << 12 },
            cache_line: [None, Some(CacheLine::B64), Some(CacheLine::B128)][usize::from(line % 3)],
        };
        let policies = [MemoryPolicy::Guarded, MemoryPolicy::Sealed, MemoryPolicy::Trust];
        let clock = Clock::new(timeout);
        let mut outbox = ExpectedOutbox::default();
        outbox.push(MessageType::Hello);
        let hello = limits.hello("fuzz".into());
        Self {
            machine: ServerMachine::new(hello, clock.start, clock.timeout),
            limits,
            policy: policies[usize::from(policy % 3)],
            clock,
            stage: Stage::AwaitInit,
            outbox,
            regions: 0,
            rings: [0; 2],
            offer: None,
            queues: None,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => self.deliver(raw(input), input),
            1 => self.send(&message(2, input), input),
            2 => self.send(&message(3, input), input),
            3 => self.send(&message(4, input), input),
            4 => self.send(&message(5, input), input),
            5 => {
                let kind = input.u8();
                self.send(&message(kind, input), input);
            }
            6 => self.admit(input),
            7 => self.refuse(),
            8 => self.accept(input),
            9 => self.disconnect(),
            10 => self.wait(input.u8()),
            11 => drop(self.take()),
            12 => while self.take() {},
            13 => self.map(),
            14 => self.send_next_region(input),
            _ => self.send_next_ring(input),
        }
    }

    fn send(&mut self, message: &Message, input: &mut Input<'_>) {
        self.deliver(message.encode().to_vec(), input);
    }

    /// The next region: its pages follow.
    fn send_next_region(&mut self, input: &mut Input<'_>) {
        let index = u16::from(self.regions);
        let region = AddRegion { index, size: u64::from(input.u8()) << 12 };
        self.send(&Message::AddRegion(region), input);
    }

    /// The next ring: direction, region, offset in units of 16 bytes, and log2 of its size follow.
    fn send_next_ring(&mut self, input: &mut Input<'_>) {
        let way = usize::from(input.u8() & 1);
        let ring = AddRing {
            direction: [Direction::C2s, Direction::S2c][way],
            index: u16::from(self.rings[way]),
            region: u16::from(input.u8()),
            offset: u32::from(input.u16()) << 4,
            log2_ring_size: input.u8(),
            private_header_size: 0,
        };
        self.send(&Message::AddRing(ring), input);
    }

    fn deliver(&mut self, bytes: Vec<u8>, input: &mut Input<'_>) {
        let mut delivery = Delivery::new(bytes, input);
        let bad = delivery.is_bad();
        let sent = Message::decode(&delivery.bytes);
        match self.machine.on_message(delivery.incoming()) {
            ended if self.stage == Stage::Closed => assert!(matches!(ended, Ok(None))),
            Err(error) => {
                check_blame(&error);
                self.close();
            }
            Ok(event) => {
                assert!(!bad, "{sent:?} was taken");
                match event {
                    None => self.took(&sent.expect("checked above")),
                    Some(event) => self.react(event),
                }
            }
        }
    }

    /// The machine acknowledged a message of its own accord.
    fn took(&mut self, message: &Message) {
        assert_eq!(self.stage, Stage::Building, "{message:?}");
        match message {
            Message::AddRegion(_) => self.regions = self.regions.wrapping_add(1),
            Message::AddRing(ring) => {
                let way = usize::from(ring.direction == Direction::S2c);
                self.rings[way] = self.rings[way].wrapping_add(1);
            }
            other => panic!("{other:?} was acknowledged"),
        }
        self.outbox.push(MessageType::Ack);
    }

    fn react(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Init(request) => {
                assert_eq!(self.stage, Stage::AwaitInit);
                let secret = Secret::new(b"ab").expect("short");
                let mode = Mode::Ethernet;
                let _ = Admission { mode, secret: &secret, connected: false }.check(&request);
                self.stage = Stage::AwaitAdmission;
            }
            ServerEvent::Offer { offer, cache_line } => {
                assert_eq!(self.stage, Stage::Building);
                check_offer(&offer, &self.limits, cache_line);
                self.offer = Some((offer, cache_line));
                self.stage = Stage::AwaitAcceptance;
            }
            ServerEvent::Disconnected(_) => {
                self.outbox.waiting.clear();
                self.stage = Stage::Closed;
            }
        }
    }

    fn admit(&mut self, input: &mut Input<'_>) {
        // An interface may take less than the HELLO for all of them says.
        let mut limits = self.limits;
        if input.u8() & 1 != 0 {
            limits.c2s_rings = limits.c2s_rings.min(1 + u16::from(input.u8()));
            limits.log2_ring_size = limits.log2_ring_size.min(1 + input.u8() % 14);
        }
        let answer = self.machine.admit(limits);
        if self.in_order(&answer, Stage::AwaitAdmission) {
            self.limits = limits;
            self.stage = Stage::Building;
            self.outbox.push(MessageType::Ack);
        }
    }

    fn accept(&mut self, input: &mut Input<'_>) {
        let answer = self.machine.accept(name(input));
        if self.in_order(&answer, Stage::AwaitAcceptance) {
            self.stage = Stage::Up;
            self.outbox.push(MessageType::Connected);
        }
    }

    /// An answer is taken at its stage, and refused without harm at any other.
    fn in_order(&self, answer: &Result<(), ControlError>, stage: Stage) -> bool {
        match answer {
            Ok(()) => assert_eq!(self.stage, stage),
            Err(ControlError::OutOfOrder { .. }) => assert_ne!(self.stage, stage),
            Err(error) => panic!("{error:?}"),
        }
        answer.is_ok()
    }

    /// Does with an offer what the driver does.
    fn map(&mut self) {
        let Some((offer, cache_line)) = self.offer.take() else {
            return;
        };
        let config = DataConfig { policy: self.policy, ..DataConfig::default() };
        let link = Arc::new(LinkState::new().expect("descriptors to spare"));
        let (c2s, s2c) = (offer.ring_count(Direction::C2s), offer.ring_count(Direction::S2c));
        match server_queues(offer, cache_line, &link, &config) {
            Ok(mut queues) => {
                assert_eq!((queues.rx.len(), queues.tx.len()), (c2s, s2c));
                // The memory says "no packets" wherever a ring may start; anything else is an error.
                queues.rx.iter_mut().for_each(|rx| drop(rx.rx_burst(64)));
                queues.tx.iter_mut().for_each(|tx| drop(tx.tx_burst(64)));
                self.queues = Some(queues);
            }
            Err(error) => {
                let reason = ControlError::from(error).disconnect_reason();
                assert!(!reason.is_empty());
                self.machine.disconnect(reason);
                self.ended_here();
            }
        }
    }

    fn refuse(&mut self) {
        self.machine.refuse(Refusal::UnknownId);
        self.ended_here();
    }

    fn disconnect(&mut self) {
        self.machine.disconnect(Reason::new("enough"));
        self.ended_here();
    }

    fn ended_here(&mut self) {
        if self.stage != Stage::Closed {
            self.close();
        }
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
        self.outbox.close();
    }

    fn wait(&mut self, ms: u8) {
        self.clock.advance(ms);
        let waiting = !matches!(self.stage, Stage::Up | Stage::Closed);
        let late = waiting && self.clock.is_late();
        assert_eq!(self.machine.on_deadline(self.clock.now).is_err(), late);
        if late {
            self.close();
        }
    }

    fn take(&mut self) -> bool {
        self.outbox.check(self.machine.take_outgoing())
    }

    fn check(&self) {
        let (machine, stage) = (&self.machine, self.stage);
        let wants = matches!(stage, Stage::AwaitInit | Stage::Building | Stage::Up);
        assert_eq!(machine.wants_message(), wants, "{stage:?}");
        assert_eq!(machine.is_up(), stage == Stage::Up);
        assert_eq!(machine.is_closed(), stage == Stage::Closed);
        let over = matches!(stage, Stage::Up | Stage::Closed);
        assert_eq!(machine.deadline().is_none(), over, "{stage:?}");
    }
}

/// The rules that every offer keeps, written down a second time.
fn check_offer(offer: &Offer, limits: &Limits, cache_line: CacheLine) {
    assert!(offer.regions.len() <= usize::from(limits.regions));
    let sizes = offer.regions.iter().map(|region| u128::from(region.size));
    assert!(sizes.sum::<u128>() <= u128::from(limits.total_bytes), "memory limit");
    assert!(offer.regions.iter().all(|region| region.size > 0), "empty region");
    assert!(limits.cache_line.is_none_or(|line| line == cache_line));
    for (direction, limit) in
        [(Direction::C2s, limits.c2s_rings), (Direction::S2c, limits.s2c_rings)]
    {
        let of_direction = offer.rings.iter().filter(|ring| ring.direction == direction);
        let indices: Vec<u16> = of_direction.map(|ring| ring.index).collect();
        assert!((1..=usize::from(limit)).contains(&indices.len()), "{direction}: {indices:?}");
        assert!((0..).zip(&indices).all(|(at, &index)| at == index), "{direction}: {indices:?}");
    }
    let places: Vec<_> = offer.rings.iter().map(|ring| place(ring, offer, cache_line)).collect();
    assert!(offer.rings.iter().all(|ring| (1..=14).contains(&ring.log2_ring_size)));
    assert!(offer.rings.iter().all(|ring| ring.log2_ring_size <= limits.log2_ring_size));
    for (at, one) in places.iter().enumerate() {
        for other in &places[..at] {
            let apart = one.0 != other.0 || one.2 <= other.1 || other.2 <= one.1;
            assert!(apart, "{one:?} and {other:?} overlap");
        }
    }
}

/// Region, start and end of a ring, which lies in its region.
fn place(ring: &RingOffer, offer: &Offer, cache_line: CacheLine) -> (u16, u64, u64) {
    let header = if cache_line == CacheLine::B64 { 128 } else { 256 };
    let start = u64::from(ring.offset);
    let end = start + header + (16 << ring.log2_ring_size);
    let region = offer.regions.get(usize::from(ring.region)).expect("the ring's region");
    assert!(end <= region.size && start.is_multiple_of(16), "{ring:?}");
    (ring.region, start, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    /// Runs a seed, and returns every stage that it reached and whether memory was mapped.
    fn stages(name: &str) -> (Vec<Stage>, bool) {
        let seeds = seeds::of("control_server");
        let (_, data) = seeds.iter().find(|seed| seed.0 == name).expect("a seed");
        let mut input = Input::new(data);
        let mut scene = Scene::new(&mut input);
        let mut stages = vec![scene.stage];
        while input.more() {
            scene.step(&mut input);
            stages.push(scene.stage);
        }
        stages.dedup();
        (stages, scene.queues.is_some())
    }

    #[test]
    fn good_seeds_go_all_the_way() {
        let open = [Stage::AwaitInit, Stage::AwaitAdmission, Stage::Building];
        let up = [&open[..], &[Stage::AwaitAcceptance, Stage::Up, Stage::Closed]].concat();
        assert_eq!(stages("handshake"), (up.clone(), true));
        assert_eq!(stages("wide-lines"), (up[..5].to_vec(), true));
        assert_eq!(stages("disconnected-here"), (up, true));
    }

    #[test]
    fn bad_seeds_end_where_they_break_a_rule() {
        for (name, _) in seeds::of("control_server") {
            let good = ["handshake", "wide-lines", "disconnected-here", "transcript"];
            let (stages, mapped) = stages(name);
            assert_eq!(stages.last() == Some(&Stage::Closed), name != "wide-lines", "{name}");
            let late = ["second-init", "ring-after-connect", "hello-to-a-server"];
            assert_eq!(mapped, good[..3].contains(&name) || late.contains(&name), "{name}");
        }
    }
}
