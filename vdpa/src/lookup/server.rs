//! The server, in a thread of its own.

use super::accept::{Acceptor, Ending};
use super::error::LookupError;
use super::log::{Line, Log};
use super::table::Table;
use ringport::error::CallError;
use ringport::socket::{ListenSocket, SocketAddress, SocketKind, SocketOptions};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its socket is.
    pub socket: PathBuf,
    /// Mode, owner and group of the socket; whoever may write it may ask.
    pub access: SocketOptions,
    /// What clients may take up.
    pub limits: Limits,
}

/// What clients may take up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, at least 2. One more has that one closed which did not ask for the longest time.
    pub connections: usize,
    /// Watches at a time. One more is refused, and so are as many as there are connections: some are to
    /// be left for look-ups.
    pub watches: usize,
    /// How long a connection without a watch stays open that asks nothing.
    pub idle: Duration,
    /// How long a question may take to arrive.
    pub question: Duration,
}

impl Config {
    /// A server at this socket, which only its own user may enter, with the default limits.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        let access = SocketOptions { mode: Some(0o600), ..SocketOptions::default() };
        Self { socket: socket.into(), access, limits: Limits::default() }
    }
}

impl Default for Limits {
    /// 64 connections, 32 watches, 60 s and 5 s.
    fn default() -> Self {
        let (idle, question) = (Duration::from_secs(60), Duration::from_secs(5));
        Self { connections: 64, watches: 32, idle, question }
    }
}

/// A server that runs. It ends with [`stop`](Self::stop), or on drop: within a second or two, its socket
/// first, and those who watch are told.
#[derive(Debug)]
pub struct Server {
    ending: Option<Ending>,
    thread: Option<JoinHandle<()>>,
    log: Log,
}

impl Server {
    /// Listens, and serves from then on. A socket that nobody listens on is replaced; one with a server is not.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn start(config: &Config, table: &Table, log: &Log) -> Result<Self, LookupError> {
        log.say(Line::Starting(&config.socket));
        let listener = listen(config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CallError::io("start the look-up's runtime"))?;
        let (acceptor, ending) = {
            let _inside = runtime.enter();
            Acceptor::new(listener, table, log, &config.limits)?
        };
        let thread = std::thread::Builder::new()
            .name("vdpa-lookup".into())
            .spawn(move || runtime.block_on(acceptor.run()))
            .map_err(CallError::io("start the look-up's thread"))?;
        log.say(Line::Listening);
        Ok(Self { ending: Some(ending), thread: Some(thread), log: log.clone() })
    }

    /// Ends the server, and waits until it has ended.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.log.say(Line::Stopping);
        drop(self.ending.take());
        if let Some(thread) = self.thread.take() {
            // It panicked, and has ended as well.
            let _ = thread.join();
        }
    }
}

fn listen(config: &Config) -> Result<ListenSocket, LookupError> {
    let parent = config.socket.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(missing) = parent.filter(|parent| !parent.is_dir()) {
        return Err(LookupError::NoDirectory(Path::to_owned(missing)));
    }
    let address = SocketAddress::Path(config.socket.clone());
    Ok(ListenSocket::bind(&address, SocketKind::Stream, &config.access)?)
}
