//! A relay that listens, with its device and a front-end.

use super::{Fake, FakeConfig, Front, Handle, Place, Served, eventually};
use ringport_vdpa::RelayConfig;
use ringport_vdpa::relay::Event;
use ringport_vhost_user::wire::Message;
use std::os::fd::BorrowedFd;

/// A relay that listens, and its device.
pub fn scene(config: FakeConfig) -> (Place, Served, Handle) {
    let place = Place::new();
    let (fake, device) = Fake::new(config);
    let relay = Served::listen(&place, fake);
    (place, relay, device)
}

/// A front-end that runs its device.
#[derive(Debug)]
pub struct Scene {
    pub front: Front,
    pub relay: Served,
    pub device: Handle,
    pub place: Place,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(RelayConfig::default())
    }

    pub fn with(config: RelayConfig) -> Self {
        let place = Place::new();
        let (fake, device) = Fake::new(FakeConfig::default());
        let relay = Served::listen_with(&place, fake, config);
        let front = Front::connect(&place, 0);
        front.run();
        relay.link_up();
        assert!(device.runs());
        Self { front, relay, device, place }
    }

    /// Says something that is refused, of which the device is told nothing.
    #[track_caller]
    pub fn refused(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> String {
        let mapped = self.device.mapped();
        self.device.calls();
        let answer = self.front.raw.ask(message, fds);
        assert_ne!(answer.number(), 0, "{message:?}");
        let why = self.relay.refused();
        assert_eq!((self.device.calls(), self.device.mapped()), (vec![], mapped), "{message:?}");
        assert!(self.device.runs(), "{message:?}");
        why
    }

    /// The front-end leaves, or was thrown out; nothing of it stays, and the next one is served.
    #[track_caller]
    pub fn makes_way(self) {
        let Self { front, relay, device, place } = self;
        drop(front);
        served_next(&place, &relay, &device);
    }
}

/// Nothing of a front-end that has gone stays, and the next one is served.
#[track_caller]
pub fn served_next(place: &Place, relay: &Served, device: &Handle) {
    eventually("the device has nothing any more", || !device.runs() && device.mapped().is_empty());
    let front = Front::connect(place, 0);
    front.run();
    loop {
        match relay.next() {
            Event::LinkUp(_) => break,
            // Of those before.
            Event::LinkDown(_) | Event::Refused(_) | Event::RequestRefused(_) => {}
            other => assert!(matches!(other, Event::PairsEnabled(_)), "{other:?}"),
        }
    }
    assert!(device.runs());
}
