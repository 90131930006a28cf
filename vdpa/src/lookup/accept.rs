//! Connections: how they come, how many there may be, and how all of them end.

use super::connection::{Activity, Rules, serve};
use super::error::LookupError;
use super::log::Log;
use super::server::Limits;
use super::services::Services;
use super::table::Table;
use ringport::error::CallError;
use ringport::socket::ListenSocket;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How long connections have to end by themselves.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing is accepted when the system has run out of something.
const SHORTAGE: Duration = Duration::from_millis(100);

/// The server ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ending(#[expect(dead_code, reason = "is only dropped")] watch::Sender<()>);

/// Takes connections, and holds them.
pub(super) struct Acceptor {
    listener: UnixListener,
    /// Takes the socket's file with it. Accepts nothing itself.
    socket: ListenSocket,
    connections: JoinSet<()>,
    open: Vec<(AbortHandle, Arc<Activity>)>,
    connections_max: usize,
    rules: Rules,
}

impl Acceptor {
    /// Registers the socket with the current runtime.
    pub(super) fn new(
        socket: ListenSocket,
        table: &Table,
        log: &Log,
        limits: &Limits,
    ) -> Result<(Self, Ending), LookupError> {
        let second = socket.as_fd().try_clone_to_owned();
        let listener = second
            .and_then(|fd| UnixListener::from_std(net::UnixListener::from(fd)))
            .map_err(CallError::io("register the look-up's socket"))?;
        let (ending, ended) = watch::channel(());
        let connections_max = limits.connections.max(2);
        let watches = limits.watches.min(connections_max - 1);
        let rules = Rules {
            services: Services::new(table, log, ended.clone()),
            watches: Arc::new(Semaphore::new(watches)),
            idle: limits.idle,
            question: limits.question,
            ended,
        };
        let (connections, open) = (JoinSet::new(), Vec::new());
        let acceptor = Self { listener, socket, connections, open, connections_max, rules };
        Ok((acceptor, Ending(ending)))
    }

    /// Serves until the [`Ending`] is dropped.
    pub(super) async fn run(mut self) {
        let mut ended = self.rules.ended.clone();
        loop {
            tokio::select! {
                // The other end is gone, which is all that ever happens to it.
                _ = ended.changed() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream),
                    Err(error) => hold_off(&error).await,
                },
                Some(_) = self.connections.join_next() => {
                    self.open.retain(|(task, _)| !task.is_finished());
                }
            }
        }
        self.end().await;
    }

    fn take(&mut self, stream: UnixStream) {
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() >= self.connections_max && !self.close_the_most_idle() {
            return;
        }
        let activity = Arc::new(Activity::new());
        let task = self.connections.spawn(serve(stream, self.rules.clone(), Arc::clone(&activity)));
        self.open.push((task, activity));
    }

    /// There is always one to close: there are fewer watches than connections.
    fn close_the_most_idle(&mut self) -> bool {
        let idle =
            self.open.iter().enumerate().filter(|(_, (_, activity))| !activity.is_watching());
        let Some((at, _)) = idle.min_by_key(|(_, (_, activity))| activity.last()) else {
            return false;
        };
        let (task, _) = self.open.swap_remove(at);
        tracing::debug!("too many connections: the one that asked nothing for longest is closed");
        task.abort();
        true
    }

    async fn end(mut self) {
        drop(self.listener);
        drop(self.socket);
        let all = async { while self.connections.join_next().await.is_some() {} };
        // Those that are left are aborted.
        let _ = timeout(END_PATIENCE, all).await;
    }
}

async fn hold_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    sleep(SHORTAGE).await;
}
