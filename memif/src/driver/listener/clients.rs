//! What a listener does about its clients.

use super::{ClientConnection, Listener};
use crate::control::{
    Admission, CacheLine, InitRequest, Limits, Offer, Refusal, ServerEvent, ServerMachine,
};
use crate::driver::connection::{Connection, Step};
use crate::driver::event::{DownReason, Event, Link, LinkParameters, PeerInfo};
use crate::driver::token::Token;
use crate::error::ControlError;
use crate::queue::server_queues;
use crate::wire::{Name, Reason};
use ringport::link::LinkState;
use ringport::reactor::Interest;
use ringport::socket::ListenSocket;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Listener {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.socket.as_ref().map(ListenSocket::accept) {
                Some(Ok(Some(socket))) => {
                    self.exhausted = false;
                    if let Err(error) = self.start(socket) {
                        self.events.push_back(Event::refused(None, error));
                    }
                }
                Some(Err(error)) => {
                    self.report_exhausted(error);
                    return self.pause_accepting(ACCEPT_PAUSE);
                }
                Some(Ok(None)) | None => return,
            }
        }
        // Those that come and go without end leave most of the time to others.
        self.pause_accepting(PAUSE_BETWEEN);
    }

    fn pause_accepting(&mut self, time: Duration) {
        self.accept_again = Instant::now().checked_add(time);
        self.set_accepting(Interest::Nothing);
    }

    /// Says once that nobody can be accepted, not at each of the attempts that follow.
    fn report_exhausted(&mut self, error: io::Error) {
        if !std::mem::replace(&mut self.exhausted, true) {
            self.events.push_back(Event::refused(None, ControlError::io("accept")(error)));
        }
    }

    pub(super) fn set_accepting(&self, interest: Interest) {
        if let Some(socket) = &self.socket {
            self.reactor.modify(socket.as_fd(), Token::Listener.encode(), interest);
        }
    }

    /// Greets a new client.
    pub(super) fn start(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        let hello = self.limits().hello(self.config.name);
        let machine = ServerMachine::new(hello, Instant::now(), self.config.handshake_timeout);
        let connection = Connection::new(socket, machine)?;
        self.last_key += 1;
        let key = self.last_key;
        let interest = Interest::Read;
        self.reactor.add(connection.as_fd(), Token::Socket(key).encode(), interest)?;
        let client = ClientConnection {
            connection,
            interest,
            id: None,
            app_name: Name::default(),
            version: 0,
            link: None,
        };
        let admitted = self.check_newcomer(&client);
        self.clients.insert(key, client);
        match admitted {
            Ok(()) => self.settle(key),
            Err(refusal) => self.end(key, refusal.into()),
        }
        Ok(())
    }

    /// Decides whether there is a place for a new client, and makes one if need be.
    fn check_newcomer(&mut self, client: &ClientConnection) -> Result<(), Refusal> {
        if !self.config.peers.admits(&client.connection.credentials) {
            return Err(Refusal::NotPermitted);
        }
        let pending = self.clients.values().filter(|client| client.link.is_none()).count();
        if pending < self.config.pending_max {
            return Ok(());
        }
        let silent = self.clients.iter().find(|(_, client)| client.id.is_none());
        let Some((&key, _)) = silent else {
            return Err(Refusal::TooManyPending);
        };
        self.end(key, Refusal::TooManyPending.into());
        Ok(())
    }

    /// What HELLO announces: it comes before the client says which interface it wants.
    fn limits(&self) -> Limits {
        self.interfaces
            .values()
            .map(|interface| interface.config.limits)
            .reduce(|widest, limits| widest.widest(&limits))
            .unwrap_or_default()
    }

    /// Reads and answers what a client sent.
    pub(super) fn on_socket(&mut self, key: u64) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(client) = self.clients.get_mut(&key) else {
                return;
            };
            let handled = match client.connection.step() {
                Ok(Step::Idle) => break,
                Ok(Step::Handled) => Ok(()),
                Ok(Step::Event(event)) => self.on_event(key, event),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                return self.end(key, error);
            }
            self.settle(key);
        }
        self.settle(key);
    }

    /// Sends what a client is owed, and waits for what comes next.
    fn settle(&mut self, key: u64) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if let Err(error) = client.connection.flush() {
            return self.end(key, error);
        }
        let interest = client.connection.interest();
        if interest != client.interest {
            client.interest = interest;
            let token = Token::Socket(key).encode();
            self.reactor.modify(client.connection.as_fd(), token, interest);
        }
    }

    fn on_event(&mut self, key: u64, event: ServerEvent) -> Result<(), ControlError> {
        match event {
            ServerEvent::Init(request) => self.on_init(key, &request),
            ServerEvent::Offer { offer, cache_line } => self.on_offer(key, offer, cache_line),
            ServerEvent::Disconnected(goodbye) => Err(goodbye.into()),
        }
    }

    fn on_init(&mut self, key: u64, request: &InitRequest) -> Result<(), ControlError> {
        if let Some(holder) = self.interfaces.get(&request.id).and_then(|taken| taken.taken_by) {
            // A client that died and came back at once: its end may wait behind this very message.
            self.on_socket(holder);
        }
        let interface = self.interfaces.get_mut(&request.id).ok_or(Refusal::UnknownId)?;
        let admission = Admission {
            mode: interface.config.mode,
            secret: &interface.config.secret,
            connected: interface.taken_by.is_some(),
        };
        admission.check(request)?;
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        client.connection.machine.admit(interface.config.limits)?;
        client.id = Some(request.id);
        client.app_name = request.name;
        client.version = request.version;
        interface.taken_by = Some(key);
        Ok(())
    }

    fn on_offer(
        &mut self,
        key: u64,
        offer: Offer,
        cache_line: CacheLine,
    ) -> Result<(), ControlError> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        let Some((id, interface)) = client.id.and_then(|id| Some((id, self.interfaces.get(&id)?)))
        else {
            return Err(Refusal::Removed.into());
        };
        let state = Arc::new(LinkState::new().map_err(ControlError::io("eventfd"))?);
        let peer = PeerInfo {
            app_name: client.app_name,
            if_name: offer.if_name,
            credentials: client.connection.credentials,
            version: client.version,
        };
        let parameters = LinkParameters::of(&offer, cache_line);
        let queues = server_queues(offer, cache_line, &state, &interface.config.data)?;
        self.reactor.add(state.wake_fd(), Token::Wake(key).encode(), Interest::Read)?;
        client.connection.machine.accept(interface.config.if_name)?;
        client.link = Some(state);
        self.events.push_back(Event::up(id, Link::new(queues, peer, parameters)));
        Ok(())
    }

    /// A queue says that its link is broken.
    pub(super) fn on_wake(&mut self, key: u64) {
        let Some(state) = self.clients.get(&key).and_then(|client| client.link.clone()) else {
            return;
        };
        let Some(fault) = state.fault() else {
            return self.reactor.remove(state.wake_fd());
        };
        let Some(client) = self.take(key) else {
            return;
        };
        if let Some(id) = client.id {
            self.events.push_back(Event::down(id, DownReason::Fault(fault)));
        }
        client.connection.farewell(Reason::of(&fault));
    }

    /// Ends a connection because of `error`.
    pub(super) fn end(&mut self, key: u64, error: ControlError) {
        let Some(client) = self.take(key) else {
            return;
        };
        let reason = error.disconnect_reason();
        self.events.push_back(match (client.id, &client.link) {
            (Some(id), Some(_)) => Event::down(id, error.into()),
            (id, _) => Event::refused(id, error),
        });
        client.connection.farewell(reason);
    }

    /// Takes a connection out of everything that knows it; its queues learn that the link is down.
    pub(super) fn take(&mut self, key: u64) -> Option<ClientConnection> {
        let client = self.clients.remove(&key)?;
        self.reactor.remove(client.connection.as_fd());
        if let Some(state) = &client.link {
            self.reactor.remove(state.wake_fd());
            state.close();
        }
        if let Some(interface) = client.id.and_then(|id| self.interfaces.get_mut(&id)) {
            interface.taken_by = None;
        }
        Some(client)
    }
}

/// Bounds what one peer gets done before the others have their turn.
const MESSAGES_PER_TURN: usize = 64;
const ACCEPTS_PER_TURN: usize = 4;

/// How long to wait after as many.
const PAUSE_BETWEEN: Duration = Duration::from_millis(1);

/// How long to leave connections waiting when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
