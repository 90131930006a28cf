//! The side that does what it is told: a thread that accepts, and one for each connection.

use super::super::stop::{Stop, ready};
use super::super::{Daemon, DeviceName, State, explain};
use super::lines::Lines;
use super::{Answer, COMMAND_MAX, Command};
use nix::poll::PollTimeout;
use ringport::socket::{ListenSocket, SocketAddress, SocketError, SocketKind, SocketOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Takes commands until it is dropped.
#[derive(Debug)]
pub struct ControlServer {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 8;
/// How long a command may take to come.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take to be read.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a device that is added may take to be opened, until its answer is that it is not there yet.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl ControlServer {
    /// Listens. A socket that nobody listens on is replaced. `quit` is told when somebody wants the daemon
    /// to end.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn start(
        socket: &Path,
        access: &SocketOptions,
        daemon: Arc<Daemon>,
        quit: Stop,
    ) -> Result<Self, SocketError> {
        let address = SocketAddress::Path(socket.to_owned());
        let listener = ListenSocket::bind(&address, SocketKind::Stream, access)?;
        let failed = ringport::error::CallError::io("start the control socket's thread");
        let stop = Stop::new().map_err(ringport::error::CallError::io("eventfd"))?;
        let server = Acceptor { daemon, quit, stop: stop.clone(), connections: Vec::new() };
        let thread = Builder::new().name("vdpa-control".into());
        let thread = thread.spawn(move || server.run(&listener)).map_err(failed)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.tell();
        if let Some(thread) = self.thread.take() {
            // It panicked, and has ended as well.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Acceptor {
    daemon: Arc<Daemon>,
    quit: Stop,
    stop: Stop,
    connections: Vec<JoinHandle<()>>,
}

impl Acceptor {
    fn run(mut self, listener: &ListenSocket) {
        loop {
            let told = ready([self.stop.as_fd(), listener.as_fd()], PollTimeout::NONE);
            match told
                .and_then(|[stop, _]| if stop { Ok(None) } else { listener.accept().map(Some) })
            {
                Ok(None) => break,
                Ok(Some(None)) => {}
                Ok(Some(Some(socket))) => self.begin(socket),
                Err(error) => {
                    tracing::warn!("no command can be taken for a while: {error}");
                    if self.stop.told_within(Duration::from_secs(1)) {
                        break;
                    }
                }
            }
        }
        // They are told as well.
        self.connections.into_iter().for_each(|thread| thread.join().unwrap_or_default());
    }

    fn begin(&mut self, socket: OwnedFd) {
        self.connections.retain(|thread| !thread.is_finished());
        let (daemon, quit, stop) = (Arc::clone(&self.daemon), self.quit.clone(), self.stop.clone());
        if self.connections.len() >= CONNECTIONS_MAX {
            tracing::warn!("one connection for commands too many is refused");
            let busy = Answer::Refused(format!("{CONNECTIONS_MAX} others give commands already"));
            // To a buffer that is empty, or to nobody.
            let _ = Lines::new(socket.into(), None)
                .and_then(|mut lines| answer(&mut lines, &busy, Duration::ZERO));
            return;
        }
        let connection = Connection { daemon, quit, stop };
        let thread = Builder::new().name("vdpa-command".into());
        match thread.spawn(move || connection.run(socket.into())) {
            Ok(thread) => self.connections.push(thread),
            Err(error) => tracing::warn!("a connection for commands is refused: {error}"),
        }
    }
}

struct Connection {
    daemon: Arc<Daemon>,
    quit: Stop,
    stop: Stop,
}

impl Connection {
    fn run(&self, stream: UnixStream) {
        match self.serve(stream) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                tracing::debug!("a connection for commands ends: {error}");
            }
            _ => {}
        }
    }

    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let mut lines = Lines::new(stream, Some(self.stop.as_fd()))?;
        loop {
            let line = match lines.next(COMMAND_MAX, Instant::now() + COMMAND_PATIENCE) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return refuse(&mut lines, &format!("more than {COMMAND_MAX} bytes in a line"));
                }
                Err(error) => return Err(error),
            };
            match serde_json::from_slice(&line) {
                Ok(command) => answer(&mut lines, &self.obey(command), ANSWER_PATIENCE)?,
                Err(error) => return refuse(&mut lines, &format!("no command: {error}")),
            }
        }
    }

    fn obey(&self, command: Command) -> Answer {
        tracing::debug!(?command, "told");
        let done = match command {
            Command::List {} | Command::Stats { device: None } => {
                Ok(Answer::Devices(self.daemon.list()))
            }
            Command::Stats { device: Some(device) } => return self.status(&device),
            Command::Add(wanted) => {
                self.daemon.add(wanted).map(|status| self.opened(&status.device))
            }
            Command::Remove { device } => self.daemon.remove(&device).map(Answer::Removed),
            Command::Quit {} => {
                self.quit.tell();
                Ok(Answer::Quitting)
            }
        };
        done.unwrap_or_else(|error| Answer::Refused(explain(&error)))
    }

    /// The device, once it was opened or could not be.
    fn opened(&self, device: &DeviceName) -> Answer {
        let deadline = Instant::now() + OPEN_PATIENCE;
        loop {
            let answer = self.status(device);
            let waits = matches!(&answer, Answer::Devices(devices) if devices.iter().all(|it| {
                it.state == State::Absent && it.trouble.is_none()
            }));
            if !waits || Instant::now() >= deadline || self.stop.told_within(LOOK_EVERY) {
                return answer;
            }
        }
    }

    fn status(&self, device: &DeviceName) -> Answer {
        let mut devices = self.daemon.list();
        devices.retain(|status| status.device == *device);
        if devices.is_empty() {
            let error = super::super::DaemonError::NotServed(device.clone());
            return Answer::Refused(error.to_string());
        }
        Answer::Devices(devices)
    }
}

fn refuse(lines: &mut Lines<'_>, why: &str) -> io::Result<()> {
    answer(lines, &Answer::Refused(why.to_owned()), ANSWER_PATIENCE)
}

fn answer(lines: &mut Lines<'_>, answer: &Answer, patience: Duration) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    lines.send(&line, Instant::now() + patience)
}
