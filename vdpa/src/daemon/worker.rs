//! One device, in a thread of its own.
//!
//! A device's driver may take its time with any call, and a front-end may keep its relay busy: with a thread
//! each, nobody else waits.

use super::config::{DaemonConfig, Side, Wanted};
use super::progress::SharedProgress;
use super::status::{DeviceStatus, Kicks, State};
use super::stop::{Stop, ready};
use super::{Note, explain};
use crate::device::DeviceError;
use crate::opener::Opener;
use crate::relay::{Event, Relay};
use nix::poll::PollTimeout;
use ringport::retry::Reconnect;
use ringport::socket::SocketAddress;
use ringport_vhost_user::device::SocketRole;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The hold on a device's thread. It ends when this is [ended](Self::end).
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) wanted: Wanted,
    pub(super) socket: String,
    progress: SharedProgress,
    stop: Stop,
    thread: Leaving,
    over: Over,
}

/// A thread that is to end, or has.
#[derive(Debug)]
pub(super) struct Leaving(JoinHandle<()>);

/// Tells when device and socket are given back.
#[derive(Debug)]
pub(super) struct Over(Receiver<Infallible>);

/// What threads of devices share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) config: Arc<DaemonConfig>,
    pub(super) opener: Arc<dyn Opener>,
    pub(super) changed: SyncSender<Note>,
}

impl Worker {
    /// Serves a device, once the thread that had it before has ended.
    pub(super) fn start(
        wanted: Wanted,
        socket: String,
        surroundings: Surroundings,
        before: Option<Leaving>,
    ) -> io::Result<Self> {
        let (progress, stop) = (SharedProgress::default(), Stop::new()?);
        let (over, wait) = channel();
        let work = Work {
            wanted: wanted.clone(),
            address: SocketAddress::Path(PathBuf::from(&socket)),
            surroundings,
            progress: progress.clone(),
            stop: stop.clone(),
            warned: None,
            _over: over,
        };
        let thread = Builder::new().name("vdpa-device".into());
        let thread = thread.spawn(move || work.run(before))?;
        Ok(Self { wanted, socket, progress, stop, thread: Leaving(thread), over: Over(wait) })
    }

    pub(super) fn status(&self) -> DeviceStatus {
        self.progress.status(&self.wanted, &self.socket)
    }

    pub(super) fn is_there(&self) -> bool {
        self.progress.lock().state != State::Absent
    }

    /// Has the thread end. Does not wait until it has.
    pub(super) fn end(self) -> (Leaving, Over) {
        self.stop.tell();
        (self.thread, self.over)
    }
}

impl Leaving {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Over {
    /// Waits until the device and its socket are given back; whether they are.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        let time = deadline.saturating_duration_since(Instant::now());
        matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }
}

/// What the thread does.
struct Work {
    wanted: Wanted,
    address: SocketAddress,
    surroundings: Surroundings,
    progress: SharedProgress,
    stop: Stop,
    /// When a warning about a front-end was written.
    warned: Option<Instant>,
    /// Goes when all else has gone.
    _over: Sender<Infallible>,
}

/// Why a device is no longer served.
enum End {
    Stopped,
    /// And why.
    Gone(String),
}

/// How often it is looked whether the thread before has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a front-end may cause a warning in the log.
const WARN_EVERY: Duration = Duration::from_secs(1);
/// Most events until it is looked again whether to end.
const EVENTS_PER_TURN: usize = 64;

impl Work {
    fn run(mut self, before: Option<Leaving>) {
        if let Some(before) = before {
            while !before.is_over() {
                if self.stop.told_within(LOOK_EVERY) {
                    return;
                }
            }
        }
        let retry = self.surroundings.config.retry;
        loop {
            let why = match self.serve() {
                Ok(End::Stopped) => return,
                Ok(End::Gone(why)) => why,
                Err(why) => why,
            };
            self.give_up(why);
            if self.stop.told_within(retry) {
                return;
            }
        }
    }

    /// Opens the device, and serves it until it is gone.
    fn serve(&mut self) -> Result<End, String> {
        let Surroundings { config, opener, .. } = &self.surroundings;
        let device = opener.open(&self.wanted.device).map_err(|error| explain(&error))?;
        let gone = device.gone().try_clone_to_owned().map_err(|error| explain(&error))?;
        let kind = device.kind();
        let role = match self.wanted.side {
            Side::Server => SocketRole::Listen(config.access),
            Side::Client => SocketRole::Connect(Reconnect::default()),
        };
        let mut relay = Relay::open(&self.address, role, config.relay, device)
            .map_err(|error| explain(&error))?;
        self.is_ready(kind);
        let end = self.attend(&mut relay, &gone);
        // The socket goes, then the device.
        drop(relay.into_device());
        end
    }

    fn attend(&mut self, relay: &mut Relay, gone: &OwnedFd) -> Result<End, String> {
        loop {
            let more = self.take_events(relay)?;
            self.note_kicks(relay);
            let timeout = if more { PollTimeout::ZERO } else { PollTimeout::NONE };
            let fds = [self.stop.as_fd(), gone.as_fd(), relay.as_fd()];
            let [stop, gone, _] = ready(fds, timeout).map_err(|error| explain(&error))?;
            if stop {
                return Ok(End::Stopped);
            }
            if gone {
                // The link ends, and then it is known who closed the device.
                self.take_events(relay)?;
                let why = relay.why_closed().unwrap_or(DeviceError::Gone);
                return Ok(End::Gone(explain(&why)));
            }
        }
    }

    /// Whether there may be more.
    fn take_events(&mut self, relay: &mut Relay) -> Result<bool, String> {
        for _ in 0..EVENTS_PER_TURN {
            let event = relay.poll(Some(Duration::ZERO)).map_err(|error| explain(&error))?;
            let Some(event) = event else { return Ok(false) };
            self.note(&event);
        }
        Ok(true)
    }

    fn note(&mut self, event: &Event) {
        let device = &self.wanted.device;
        match event {
            Event::LinkUp(link) => {
                tracing::info!(%device, peer = link.peer.pid, "link up");
                let mut progress = self.progress.lock();
                progress.state = State::Linked;
                progress.trouble = None;
                progress.statistics.links += 1;
            }
            Event::LinkDown(reason) => {
                tracing::info!(%device, %reason, "link down");
                let mut progress = self.progress.lock();
                (progress.state, progress.kicks) = (State::Ready, None);
                progress.statistics.links_lost += 1;
            }
            Event::Refused(reason) => {
                self.progress.lock().statistics.connections_refused += 1;
                self.refused("connection refused", reason);
            }
            Event::RequestRefused(error) => {
                self.progress.lock().statistics.requests_refused += 1;
                self.refused("request refused", error);
            }
            _ => {}
        }
    }

    /// Which may be another way each time that the device begins, or is told of another eventfd.
    fn note_kicks(&self, relay: &Relay) {
        let mut progress = self.progress.lock();
        if progress.state != State::Linked {
            return;
        }
        let thread = relay.kick_thread();
        let kicks = if thread.is_some() { Kicks::Thread } else { Kicks::Kernel };
        let before = progress.kicks.replace(kicks);
        if let Some(why) = thread.filter(|_| before != Some(kicks)) {
            tracing::info!(device = %self.wanted.device, "kicks go through a thread: {why}");
        }
    }

    /// Front-ends may be hostile, and are not to fill the log.
    fn refused(&mut self, what: &str, error: &dyn Error) {
        let why = format!("{what}: {}", explain(error));
        let device = &self.wanted.device;
        let mut progress = self.progress.lock();
        let is_new = progress.trouble.as_ref() != Some(&why);
        if is_new && self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(%device, "{why}");
        } else {
            tracing::debug!(%device, "{why}");
        }
        progress.trouble = Some(why);
    }

    fn is_ready(&self, kind: &'static str) {
        let mut progress = self.progress.lock();
        (progress.state, progress.kind) = (State::Ready, Some(kind));
        progress.trouble = None;
        progress.statistics.opened += 1;
        drop(progress);
        let (device, socket) = (&self.wanted.device, &self.address);
        tracing::info!(%device, kind, %socket, "device is served");
        self.tell();
    }

    fn give_up(&self, why: String) {
        let mut progress = self.progress.lock();
        let before = std::mem::take(&mut progress.state);
        (progress.kind, progress.kicks) = (None, None);
        let was_there = before != State::Absent;
        progress.statistics.given_up += u64::from(was_there);
        progress.statistics.links_lost += u64::from(before == State::Linked);
        // Once for each trouble: it may be tried for days.
        if progress.trouble.as_ref() != Some(&why) {
            tracing::warn!(device = %self.wanted.device, "not served: {why}");
            progress.trouble = Some(why);
        }
        drop(progress);
        if was_there {
            self.tell();
        }
    }

    fn tell(&self) {
        // Full is as good: somebody is about to look.
        let _ = self.surroundings.changed.try_send(Note::Changed);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.give_up("a defect ended its thread: remove it and add it again".to_owned());
        }
    }
}
