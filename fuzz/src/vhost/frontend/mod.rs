//! [`crate::frontend_messages`].
//!
//! Header: features that are wanted and required, protocol features, pairs of rings, timeout in
//! milliseconds, MTU.

mod model;

use super::OPERATIONS_MAX;
use super::say::{Sent, plain_fd, reply};
use crate::input::Input;
use model::{Model, Phase, Verdict};
use ringport_vhost_user::ControlError;
use ringport_vhost_user::frontend::{
    Event, FrontendConfig, FrontendMachine, Incoming, MemoryOffer, Offer, RingSetup,
};
use ringport_vhost_user::wire::{MemoryRegion, ProtocolFeatures, feature};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More than one conversation has of requests: 256 rings, seven each.
const TURNS_MAX: usize = 2000;

struct Scene {
    machine: FrontendMachine,
    model: Model,
    now: Instant,
    /// In the socket, not yet read.
    inbound: VecDeque<Sent>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(&mut input);
    scene.check();
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
        scene.check();
    }
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let [wanted, required] = [features(input), features(input)];
        let protocol_features = ProtocolFeatures::from_bits(protocol_features(input));
        let [pairs, timeout, mtu] = input.take();
        let config = FrontendConfig {
            features: wanted,
            required_features: required,
            protocol_features,
            queue_pairs: u16::from(1 + pairs % 128),
            control_ring: false,
            mtu: (mtu > 0).then_some(1000 + u16::from(mtu)),
            timeout: Duration::from_millis(timeout.into()),
        };
        let now = Instant::now();
        Self {
            machine: FrontendMachine::new(config, now),
            model: Model::new(config, now),
            now,
            inbound: VecDeque::new(),
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
            1 => drop(self.say()),
            2 => self.offer(input),
            3 => self.stop(),
            4 => self.pass_time(input.u8()),
            5 => match input.u8() {
                how @ 1..=8 => self.ask(how),
                how => self.overfeed(how),
            },
            6 => self.close(input.u8()),
            7 => {
                // Whatever was asked, or not.
                let [number, value] = input.take();
                let bytes = framed(number.into(), &u64::from(value).to_le_bytes());
                self.inbound.extend(reply(bytes, input));
                self.read();
            }
            8 => self.go_on(),
            _ => {
                while self.say() {}
                self.answer(input);
            }
        }
    }

    /// Sends one request, if there is one; the model knows which.
    fn say(&mut self) -> bool {
        let said = self.machine.take_outgoing();
        self.model.check_said(said.as_ref());
        said.is_some()
    }

    /// The back-end answers what it was asked, with whatever the input says.
    fn answer(&mut self, input: &mut Input<'_>) {
        let Some((number, len)) = self.model.asked() else { return };
        let payload = match (number, len) {
            (model::GET_FEATURES, _) => features(input).to_le_bytes().to_vec(),
            (model::GET_PROTOCOL_FEATURES, _) => protocol_features(input).to_le_bytes().to_vec(),
            (model::GET_CONFIG, _) => config_space(input),
            (model::GET_VRING_BASE, _) => {
                let [other, low] = input.take().map(u32::from);
                let index = self.model.ring_asked().wrapping_add(other);
                [index.to_le_bytes(), low.to_le_bytes()].concat()
            }
            // Of the status, all bits at first.
            (model::GET_STATUS, _) => u64::from(15 ^ input.u8()).to_le_bytes().to_vec(),
            (model::GET_QUEUE_NUM, _) => match input.u8() {
                255 => input.u64(),
                pairs => pairs.into(),
            }
            .to_le_bytes()
            .to_vec(),
            _ => u64::from(input.u8()).to_le_bytes().to_vec(),
        };
        self.inbound.extend(reply(framed(number, &payload), input));
        self.read();
    }

    /// A good back-end, until something happens.
    fn go_on(&mut self) {
        let phase = self.model.phase;
        for _ in 0..TURNS_MAX {
            while self.say() {}
            let Some((number, _)) = self.model.asked() else { return };
            if self.model.phase != phase {
                return;
            }
            let all = [0xff; 9];
            let input = match number {
                model::GET_FEATURES => &all[..],
                model::GET_QUEUE_NUM => &[128],
                _ => &[],
            };
            self.answer(&mut Input::new(input));
            self.check();
        }
        panic!("requests without end");
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
        let expected = self.model.hear(&incoming);
        let heard = self.machine.on_bytes(incoming);
        if let Err(error) = &heard {
            assert!(!error.to_string().is_empty());
        }
        let as_expected = match &heard {
            Ok(None) => expected == Verdict::Nothing,
            Ok(Some(Event::Negotiated(agreed))) => {
                assert_eq!(agreed, self.machine.agreed());
                expected == Verdict::Goes(Phase::Waiting)
            }
            Ok(Some(Event::Running)) => expected == Verdict::Goes(Phase::Running),
            Ok(Some(Event::ConfigRead(_))) => expected == Verdict::Read,
            Ok(Some(Event::PairsEnabled(pairs))) => expected == Verdict::Enabled(*pairs),
            Ok(Some(Event::Stopped)) => expected == Verdict::Goes(Phase::Stopped),
            Ok(Some(_)) => false,
            Err(ControlError::PeerMisbehaved(_)) => expected == Verdict::Fault,
            Err(ControlError::PeerIncompatible(_)) => expected == Verdict::Incompatible,
            Err(ControlError::Refused { code, .. }) => expected == Verdict::Refused(*code),
            Err(_) => false,
        };
        assert!(as_expected, "{heard:?} instead of {expected:?}");
    }

    /// Gives memory and as many rings as there have to be, or another number of them.
    fn offer(&mut self, input: &mut Input<'_>) {
        let [more, bells] = input.take();
        let count = (2 * usize::from(self.model.pairs)).saturating_add_signed(match more {
            1 => 1,
            2 => -1,
            _ => 0,
        });
        let bell = |bit: u8| (bells >> bit & 1 == 0).then(plain_fd);
        let ring = |at: usize| RingSetup {
            size: 256 + u16::from(bells),
            descriptor_area: 0x7000_0000 + at as u64 * 0x1_0000,
            driver_area: 0x7000_4000 + at as u64 * 0x1_0000,
            device_area: 0x7000_8000 + at as u64 * 0x1_0000,
            kick: bell(0),
            call: bell(1),
            err: bell(2),
        };
        let region = MemoryRegion {
            guest_address: 0x4000_0000,
            size: 0x100_0000,
            user_address: 0x7000_0000,
            mmap_offset: 0x2000,
        };
        let memory = vec![MemoryOffer { region, fd: plain_fd() }];
        let rings: Vec<_> = (0..count).map(ring).collect();
        let right = self.model.offer(&region, &rings, self.now);
        match self.machine.offer(Offer { memory, rings, control: None, channel: None }, self.now) {
            Ok(()) => assert!(right),
            Err(ControlError::OutOfOrder { .. }) => assert!(!right),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn stop(&mut self) {
        let right = self.model.stop(self.now);
        match self.machine.stop(self.now) {
            Ok(()) => assert!(right),
            Err(ControlError::OutOfOrder { .. }) => assert!(!right),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn pass_time(&mut self, ms: u8) {
        self.now += Duration::from_millis(ms.into());
        let late = self.model.deadline().is_some_and(|at| self.now >= at);
        match self.machine.on_deadline(self.now) {
            Ok(()) => assert!(!late),
            Err(ControlError::Timeout { waited, .. }) => {
                assert!(late && waited == self.model.config.timeout);
                self.model.close();
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Asks for something while rings run, or at another time.
    fn ask(&mut self, how: u8) {
        let right = match how {
            1 => self.model.read_config(self.now),
            _ => self.model.enable_pairs(u16::from(how - 2), self.now),
        };
        let asked = match how {
            1 => self.machine.read_config(self.now),
            _ => self.machine.enable_pairs(u16::from(how - 2), self.now),
        };
        match asked {
            Ok(()) => assert!(right),
            Err(ControlError::OutOfOrder { .. }) => assert!(!right),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The caller breaks the machine's rules: a read of more than was wanted.
    fn overfeed(&mut self, how: u8) {
        // Rare, as little happens afterwards.
        if how != 0 || self.model.phase == Phase::Closed {
            return;
        }
        let bytes = vec![1; self.machine.wanted() + 1];
        let incoming = Incoming { bytes: &bytes, fds: vec![plain_fd()], fds_truncated: false };
        let refused = self.machine.on_bytes(incoming);
        assert!(matches!(refused, Err(ControlError::Overfed { .. })));
        self.model.close();
    }

    fn close(&mut self, how: u8) {
        if how == 0 {
            self.machine.close();
            self.model.close();
        }
    }

    fn check(&mut self) {
        let closed = self.model.phase == Phase::Closed;
        assert_eq!(self.machine.is_closed(), closed);
        assert_eq!(self.machine.wanted(), self.model.wanted());
        assert_eq!(self.machine.deadline(), self.model.deadline());
        if closed {
            assert!(self.machine.take_outgoing().is_none(), "a request after the end");
            let incoming = Incoming { bytes: &[1], fds: Vec::new(), fds_truncated: false };
            assert!(matches!(self.machine.on_bytes(incoming), Ok(None)));
        } else {
            self.model.check_agreed(self.machine.agreed());
        }
    }
}

/// Features: a byte that stands for eight sets of those that matter, or 255 and any.
fn features(input: &mut Input<'_>) -> u64 {
    use feature as f;
    let sets = [
        f::VERSION_1,
        f::RING_PACKED | f::IN_ORDER,
        f::PROTOCOL_FEATURES,
        f::MAC | f::MTU,
        f::MRG_RXBUF | f::MQ,
        f::CSUM | f::HOST_ECN,
        f::HOST_TSO4 | f::GUEST_TSO4 | f::GUEST_ECN,
        f::GUEST_CSUM | f::HOST_TSO6 | f::GUEST_TSO6,
    ];
    match input.u8() {
        0xff => input.u64(),
        chosen => (0..8).filter(|bit| chosen >> bit & 1 != 0).fold(0, |all, bit| all | sets[bit]),
    }
}

/// Protocol features: 0 stands for all, 255 for any.
fn protocol_features(input: &mut Input<'_>) -> u64 {
    use ProtocolFeatures as P;
    let sets = [P::MQ, P::REPLY_ACK, P::CONFIG, P::STATUS, P::NET_MTU, P::LOG_SHMFD];
    match input.u8() {
        0 => u64::MAX,
        0xff => input.u64(),
        chosen => {
            (0..6).filter(|bit| chosen >> bit & 1 != 0).fold(0, |all, bit| all | sets[bit].bits())
        }
    }
}

/// The answer to GET_CONFIG: offset, size, flags and contents, or something else.
fn config_space(input: &mut Input<'_>) -> Vec<u8> {
    let span =
        |offset: u32, size: u32, flags: u32| [offset, size, flags].map(u32::to_le_bytes).concat();
    match input.u8() {
        1 => Vec::new(),
        2 => [span(0, 6, 0), input.take::<6>().to_vec()].concat(),
        3 => span(0, 12, 0),
        4 => [span(input.u8().into(), 12, input.u8().into()), vec![0; 12]].concat(),
        _ => [span(0, 12, 0), input.take::<12>().to_vec()].concat(),
    }
}

/// A whole reply.
fn framed(number: u32, payload: &[u8]) -> Vec<u8> {
    let header = [number, 5, u32::try_from(payload.len()).unwrap()].map(u32::to_le_bytes);
    [&header.concat(), payload].concat()
}
