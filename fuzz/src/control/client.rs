//! [`crate::control_client`].
//!
//! Header: regions, C2S rings and S2C rings that we offer; log2 of their size; timeout in
//! milliseconds.

use super::{Clock, Delivery, ExpectedOutbox, OPERATIONS_MAX, check_blame, message, raw};
use crate::control::files::open_for;
use crate::input::Input;
use ringport_memif::control::{
    ClientEvent, ClientIdentity, ClientMachine, Offer, RegionOffer, RingOffer, RunParameters,
};
use ringport_memif::wire::{Hello, Message, MessageType, Reason, Secret};
use ringport_memif::{ControlError, Direction, Mode};
use std::collections::VecDeque;

/// How far the conversation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    AwaitHello,
    AwaitOffer,
    AwaitAck,
    AwaitConnected,
    Up,
    Closed,
}

struct Scene {
    machine: ClientMachine,
    /// Regions, C2S rings, S2C rings.
    shape: [u8; 3],
    log2_ring_size: u8,
    clock: Clock,
    stage: Stage,
    hello: Option<Hello>,
    outbox: ExpectedOutbox,
    /// What is sent for each ACK.
    script: VecDeque<MessageType>,
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
        let [regions, c2s, s2c, log2_ring_size, timeout] = input.take();
        let identity = ClientIdentity {
            id: 7,
            mode: Mode::Ethernet,
            secret: Secret::new(b"s3cret").expect("short"),
            name: "fuzz".into(),
        };
        let clock = Clock::new(timeout);
        Self {
            machine: ClientMachine::new(identity, clock.start, clock.timeout),
            shape: [regions, c2s, s2c].map(|count| count % 8),
            log2_ring_size,
            clock,
            stage: Stage::AwaitHello,
            hello: None,
            outbox: ExpectedOutbox::default(),
            script: VecDeque::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 12 {
            0 => self.deliver(raw(input), input),
            1 => self.send(&message(0, input), input),
            2 => self.send(&message(1, input), input),
            3 => self.send(&message(6, input), input),
            4 => {
                let kind = input.u8();
                self.send(&message(kind, input), input);
            }
            5 => self.offer(),
            6 => {
                self.machine.disconnect(Reason::new("enough"));
                if self.stage != Stage::Closed {
                    self.close();
                }
            }
            7 => self.wait(input.u8()),
            8 => drop(self.take()),
            9 => while self.take() {},
            10 => self.negotiate(input),
            _ => (0..input.u8() % 32).for_each(|_| self.send(&Message::Ack, &mut Input::new(&[]))),
        }
    }

    fn send(&mut self, message: &Message, input: &mut Input<'_>) {
        self.deliver(message.encode().to_vec(), input);
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
                    None => self.took_ack(&sent.expect("checked above")),
                    Some(event) => self.react(event),
                }
            }
        }
    }

    fn took_ack(&mut self, message: &Message) {
        assert_eq!((self.stage, message), (Stage::AwaitAck, &Message::Ack));
        self.outbox.push(self.script.pop_front().expect("a message for each ACK"));
        if self.script.is_empty() {
            self.stage = Stage::AwaitConnected;
        }
    }

    fn react(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Hello(hello) => {
                assert_eq!(self.stage, Stage::AwaitHello);
                self.hello = Some(hello);
                self.stage = Stage::AwaitOffer;
            }
            ClientEvent::Connected { .. } => {
                assert_eq!(self.stage, Stage::AwaitConnected);
                self.stage = Stage::Up;
            }
            ClientEvent::Disconnected(_) => {
                self.outbox.waiting.clear();
                self.script.clear();
                self.stage = Stage::Closed;
            }
        }
    }

    fn offer(&mut self) {
        let fits = self.hello.is_some_and(|hello| self.fits(&hello));
        match self.machine.offer(self.make_offer()) {
            Ok(()) => {
                assert!(self.stage == Stage::AwaitOffer && fits);
                self.stage = Stage::AwaitAck;
                self.outbox.push(MessageType::Init);
                let [regions, c2s, s2c] = self.shape.map(usize::from);
                self.script.extend(vec![MessageType::AddRegion; regions]);
                self.script.extend(vec![MessageType::AddRing; c2s + s2c]);
                self.script.push_back(MessageType::Connect);
            }
            Err(ControlError::OutOfOrder { .. }) => assert_ne!(self.stage, Stage::AwaitOffer),
            Err(error) => {
                assert!(self.stage == Stage::AwaitOffer && !fits);
                check_blame(&error);
                self.close();
            }
        }
    }

    fn fits(&self, hello: &Hello) -> bool {
        let [regions, c2s, s2c] = self.shape.map(u32::from);
        let none = c2s + s2c == 0;
        regions <= u32::from(hello.max_region) + 1
            && c2s <= u32::from(hello.max_c2s_ring) + 1
            && s2c <= u32::from(hello.max_s2c_ring) + 1
            && (none || self.log2_ring_size <= hello.max_log2_ring_size)
    }

    fn make_offer(&self) -> Offer {
        let [regions, c2s, s2c] = self.shape;
        let ring = |direction, index| RingOffer {
            direction,
            index,
            region: 0,
            offset: 0,
            log2_ring_size: self.log2_ring_size,
            doorbell: open_for(None, 0, 0),
        };
        let c2s = (0..u16::from(c2s)).map(|index| ring(Direction::C2s, index));
        // Backwards: the machine is to sort them.
        let s2c = (0..u16::from(s2c)).rev().map(|index| ring(Direction::S2c, index));
        let region = |_| RegionOffer { fd: open_for(None, 0, 0), size: 4096 };
        Offer {
            if_name: "fuzz".into(),
            regions: (0..regions).map(region).collect(),
            rings: s2c.chain(c2s).collect(),
        }
    }

    /// What a client builds never exceeds what the server said.
    fn negotiate(&self, input: &mut Input<'_>) {
        let Some(hello) = self.hello else {
            return;
        };
        let wanted = RunParameters {
            c2s_rings: input.u16(),
            s2c_rings: input.u16(),
            log2_ring_size: input.u8(),
            buffer_size: 2048,
        };
        if let Ok(cut) = wanted.negotiate(&hello) {
            assert!(u32::from(cut.c2s_rings) <= u32::from(hello.max_c2s_ring) + 1);
            assert!(u32::from(cut.s2c_rings) <= u32::from(hello.max_s2c_ring) + 1);
            assert!(cut.log2_ring_size <= hello.max_log2_ring_size);
            assert!(cut.c2s_rings <= wanted.c2s_rings && cut.s2c_rings <= wanted.s2c_rings);
            assert!(cut.log2_ring_size <= wanted.log2_ring_size);
        }
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
        self.script.clear();
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
        let wants = !matches!(stage, Stage::AwaitOffer | Stage::Closed);
        assert_eq!(machine.wants_message(), wants, "{stage:?}");
        assert_eq!(machine.is_up(), stage == Stage::Up);
        assert_eq!(machine.is_closed(), stage == Stage::Closed);
        let over = matches!(stage, Stage::Up | Stage::Closed);
        assert_eq!(machine.deadline().is_none(), over, "{stage:?}");
    }
}
