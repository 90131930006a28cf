//! Server ports of one process that share a socket: one interface each.
//!
//! Whichever port is polled runs the listener. What happened to another port's interface is put into
//! that port's mailbox, whose bell makes that port readable.

use super::event::Event;
use super::listener::Listener;
use crate::config::{InterfaceConfig, ListenerConfig};
use crate::error::ControlError;
use crate::wire::Reason;
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport::reactor::{Interest, Reactor};
use ringport::socket::{AddressError, SocketAddress, SocketOptions};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The sockets that ports of this process listen on.
static OPEN: Mutex<Vec<Weak<SharedSocket>>> = Mutex::new(Vec::new());

const LISTENER: u64 = 0;
const BELL: u64 = 1;

/// The server side of a port.
#[derive(Debug)]
pub(super) struct ServerPort {
    id: u32,
    /// The listener and our bell.
    reactor: Reactor,
    /// `None` only while it is dropped.
    socket: Option<Arc<SharedSocket>>,
}

#[derive(Debug)]
struct SharedSocket {
    address: SocketAddress,
    options: SocketOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    listener: Listener,
    mailboxes: HashMap<u32, Mailbox>,
}

/// Events of one port that another one came upon.
#[derive(Debug)]
struct Mailbox {
    events: VecDeque<Event>,
    /// Readable while there are events.
    bell: EventFd,
}

impl ServerPort {
    /// Adds `interface` to the socket at `address`, which is bound unless a port of this process
    /// listens there already. Of the settings of a later port, those of the socket must be the
    /// same, and the other ones are the first port's.
    pub(super) fn open(
        address: &SocketAddress,
        config: ListenerConfig,
        interface: InterfaceConfig,
    ) -> Result<Self, ControlError> {
        // Kept until the end, so that two ports cannot both be the first.
        let mut open = lock(&OPEN);
        open.retain(|socket| socket.strong_count() > 0);
        let known = open.iter().filter_map(Weak::upgrade).find(|known| known.address == *address);
        let socket = match known {
            Some(known) if known.options == config.socket => known,
            Some(_) => {
                let why =
                    "a port of this process listens there with another mode, owner or backlog";
                let address = address.to_string();
                return Err(AddressError::Taken { address, why }.into());
            }
            None => SharedSocket::bind(address, config)?,
        };
        let (id, reactor) = (interface.id, Reactor::new()?);
        socket.state().join(interface, &reactor)?;
        open.push(Arc::downgrade(&socket));
        Ok(Self { id, reactor, socket: Some(socket) })
    }

    /// As [`Listener::poll`], for events of our interface and of connections that named none.
    pub(super) fn poll(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Event>, ControlError> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let event = self.state().map_or(Ok(None), |mut state| state.next_event(self.id))?;
            if event.is_some() || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(event);
            }
            self.reactor.wait(until)?;
        }
    }

    /// Tells the client why, then frees the interface.
    pub(super) fn close(&self, reason: Reason) {
        if let Some(mut state) = self.state() {
            // The interface is ours and there, so there is nothing to fail.
            let _ = state.listener.disconnect(self.id, reason);
        }
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.socket.as_deref().map(SharedSocket::state)
    }
}

impl AsFd for ServerPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl Drop for ServerPort {
    fn drop(&mut self) {
        // The last port removes the socket file; no other may be bound meanwhile.
        let _open = lock(&OPEN);
        self.close(Reason::new("closed"));
        if let Some(mut state) = self.state() {
            state.leave(self.id);
        }
        self.socket = None;
    }
}

impl SharedSocket {
    fn bind(address: &SocketAddress, config: ListenerConfig) -> Result<Arc<Self>, ControlError> {
        let options = config.socket;
        let listener = Listener::bind(address, config)?;
        let state = Mutex::new(State { listener, mailboxes: HashMap::new() });
        Ok(Arc::new(Self { address: address.clone(), options, state }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn join(&mut self, interface: InterfaceConfig, reactor: &Reactor) -> Result<(), ControlError> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let bell = EventFd::from_flags(flags).map_err(ControlError::errno("eventfd"))?;
        reactor.add(self.listener.as_fd(), LISTENER, Interest::Read)?;
        reactor.add(bell.as_fd(), BELL, Interest::Read)?;
        let id = interface.id;
        self.listener.add_interface(interface)?;
        self.mailboxes.insert(id, Mailbox { events: VecDeque::new(), bell });
        Ok(())
    }

    fn leave(&mut self, id: u32) {
        // Its last event has nobody to go to.
        let _ = self.listener.remove_interface(id);
        self.mailboxes.remove(&id);
    }

    /// The oldest event for port `id`. What comes up for others goes into their mailboxes.
    fn next_event(&mut self, id: u32) -> Result<Option<Event>, ControlError> {
        if let Some(event) = self.mailboxes.get_mut(&id).and_then(Mailbox::take) {
            return Ok(Some(event));
        }
        while let Some(event) = self.listener.poll(Some(Duration::ZERO))? {
            match event.id.filter(|&of| of != id) {
                None => return Ok(Some(event)),
                Some(other) => {
                    if let Some(mailbox) = self.mailboxes.get_mut(&other) {
                        mailbox.put(event);
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Mailbox {
    fn put(&mut self, event: Event) {
        self.events.push_back(event);
        // Its counter cannot be full: it is emptied with the mailbox.
        let _ = self.bell.write(1);
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // Nothing to read is as good as read.
            let _ = self.bell.read();
        }
        event
    }
}

/// A panic while the lock was held leaves nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
