//! What a client does about its server.

use super::{Attempt, Client, Offered, Up};
use crate::control::{ClientEvent, ClientIdentity, ClientMachine, RunParameters};
use crate::driver::connection::{Connection, Step};
use crate::driver::event::{DownReason, Event, Link, LinkParameters, PeerInfo};
use crate::driver::token::Token;
use crate::error::ControlError;
use crate::queue::ClientMemory;
use crate::wire::{Hello, Name, Reason, VERSION};
use ringport::link::LinkState;
use ringport::reactor::Interest;
use ringport::socket::{SocketKind, connect_to};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

impl Client {
    pub(super) fn start(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        let identity = ClientIdentity {
            id: self.config.id,
            mode: self.config.mode,
            secret: self.config.secret.clone(),
            name: self.config.name,
        };
        let timeout = self.config.handshake_timeout;
        let machine = ClientMachine::new(identity, Instant::now(), timeout);
        let connection = Connection::new(socket, machine)?;
        self.last_key += 1;
        let (key, interest) = (self.last_key, Interest::Read);
        self.reactor.add(connection.as_fd(), Token::Socket(key).encode(), interest)?;
        self.attempt = Some(Attempt { key, connection, interest, offered: None, up: None });
        Ok(())
    }

    pub(super) fn try_connect(&mut self) {
        self.retry.at = None;
        let Some(address) = &self.address else {
            return;
        };
        let started = connect_to(address, SocketKind::SeqPacket)
            .map_err(ControlError::from)
            .and_then(|socket| self.start(socket));
        if let Err(error) = started {
            self.events.push_back(Event::refused(Some(self.config.id), error));
            self.retry.schedule(Instant::now());
        }
    }

    /// Reads and answers what the server sent. The protocol has less messages than one turn takes.
    pub(super) fn on_socket(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(attempt) = &mut self.attempt else {
                return;
            };
            let handled = match attempt.connection.step() {
                Ok(Step::Idle) => break,
                Ok(Step::Handled) => Ok(()),
                Ok(Step::Event(event)) => self.on_event(event),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                return self.end(error);
            }
            self.settle();
        }
        self.settle();
    }

    /// Sends what the server is owed, and waits for what comes next.
    fn settle(&mut self) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if let Err(error) = attempt.connection.flush() {
            return self.end(error);
        }
        let interest = attempt.connection.interest();
        if interest != attempt.interest {
            attempt.interest = interest;
            let token = Token::Socket(attempt.key).encode();
            self.reactor.modify(attempt.connection.as_fd(), token, interest);
        }
    }

    fn on_event(&mut self, event: ClientEvent) -> Result<(), ControlError> {
        match event {
            ClientEvent::Hello(hello) => self.on_hello(hello),
            ClientEvent::Connected { if_name } => self.on_connected(if_name),
            ClientEvent::Disconnected(goodbye) => Err(goodbye.into()),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<(), ControlError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let wanted = RunParameters {
            c2s_rings: self.config.c2s_rings,
            s2c_rings: self.config.s2c_rings,
            log2_ring_size: self.config.log2_ring_size,
            buffer_size: self.config.memory.buffer_size,
        };
        let agreed = wanted.negotiate(&hello)?;
        let memory = ClientMemory::allocate(&agreed, &self.config.memory)?;
        let offer = memory
            .offer(&self.config.if_name.to_string())
            .map_err(ControlError::io("duplicate the shared memory's descriptors"))?;
        let mut parameters = LinkParameters::of(&offer, self.config.memory.cache_line);
        parameters.buffer_size = Some(agreed.buffer_size);
        attempt.offered = Some(Offered { memory, parameters, hello });
        attempt.connection.machine.offer(offer)
    }

    fn on_connected(&mut self, if_name: Name) -> Result<(), ControlError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        // The machine lets CONNECTED through only after an offer.
        let Some(Offered { memory, parameters, hello }) = attempt.offered.take() else {
            return Err(ControlError::OutOfOrder { call: "offer" });
        };
        let state = Arc::new(LinkState::new().map_err(ControlError::io("eventfd"))?);
        let queues = memory.into_queues(&state, &self.config.data)?;
        self.reactor.add(state.wake_fd(), Token::Wake(attempt.key).encode(), Interest::Read)?;
        let peer = PeerInfo {
            app_name: hello.name,
            if_name,
            credentials: attempt.connection.credentials,
            version: VERSION,
        };
        attempt.up = Some(Up { state, since: Instant::now() });
        let link = Link::new(queues, peer, parameters);
        self.events.push_back(Event::up(self.config.id, link));
        Ok(())
    }

    /// A queue says that its link is broken.
    pub(super) fn on_wake(&mut self) {
        let Some(up) = self.attempt.as_ref().and_then(|attempt| attempt.up.as_ref()) else {
            return;
        };
        let Some(fault) = up.state.fault() else {
            return self.reactor.remove(up.state.wake_fd());
        };
        let Some(attempt) = self.take() else {
            return;
        };
        self.events.push_back(Event::down(self.config.id, DownReason::Fault(fault)));
        self.retry_after(&attempt);
        attempt.connection.farewell(Reason::of(&fault));
    }

    /// Ends the connection because of `error`.
    pub(super) fn end(&mut self, error: ControlError) {
        let Some(attempt) = self.take() else {
            return;
        };
        let (id, reason) = (self.config.id, error.disconnect_reason());
        self.events.push_back(match attempt.up {
            Some(_) => Event::down(id, error.into()),
            None => Event::refused(Some(id), error),
        });
        self.retry_after(&attempt);
        attempt.connection.farewell(reason);
    }

    fn retry_after(&mut self, attempt: &Attempt) {
        let now = Instant::now();
        if let Some(up) = &attempt.up {
            self.retry.link_lasted(now.saturating_duration_since(up.since));
        }
        if self.address.is_some() {
            self.retry.schedule(now);
        }
    }

    /// Takes the connection out of everything that knows it; its queues learn that the link is down.
    pub(super) fn take(&mut self) -> Option<Attempt> {
        let attempt = self.attempt.take()?;
        self.reactor.remove(attempt.connection.as_fd());
        if let Some(up) = &attempt.up {
            self.reactor.remove(up.state.wake_fd());
            up.state.close();
        }
        Some(attempt)
    }
}

const MESSAGES_PER_TURN: usize = 64;
