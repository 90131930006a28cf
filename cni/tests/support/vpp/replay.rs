//! A fake VPP that knows one recording: it compares every byte that it is sent, and answers with what
//! VPP answered.

use super::recording::Connection;
use super::table::Table;
use super::wire::{read, write};
use crate::support::DEADLINE;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The fake.
pub(crate) struct Replay {
    thread: JoinHandle<Result<(), String>>,
}

impl Replay {
    /// Listens at `api`; clients must say what they said when `connections` were recorded.
    pub(crate) fn start(api: &Path, connections: Vec<Connection>) -> Self {
        let listener = UnixListener::bind(api).unwrap();
        let thread = std::thread::spawn(move || {
            let table = Table::recorded();
            for (number, connection) in connections.iter().enumerate() {
                let stream =
                    accept(&listener).ok_or_else(|| format!("connection {number} never came"))?;
                replay(stream, &table, connection)
                    .map_err(|what| format!("connection {number}: {what}"))?;
            }
            Ok(())
        });
        Self { thread }
    }

    /// Whether everything was said that was recorded, and nothing else.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.thread.join().unwrap()
    }
}

fn accept(listener: &UnixListener) -> Option<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            return Some(stream);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

fn replay(mut stream: UnixStream, table: &Table, recorded: &Connection) -> Result<(), String> {
    for (number, frame) in recorded.frames.iter().enumerate() {
        let name = &frame.name;
        if frame.from_client {
            let said = read(&mut stream);
            let said = said.ok_or_else(|| format!("{number}: closed instead of {name}"))?;
            if said != frame.body {
                return Err(format!(
                    "{number}: {name}\nis     {said:x?}\nnot    {:x?}",
                    frame.body
                ));
            }
            if name.starts_with("sockclnt_create_") {
                let _ = write(&mut stream, &table.welcome(&said[2..6], recorded.index));
            }
        } else {
            let _ = write(&mut stream, &frame.body);
        }
    }
    drop(stream);
    Ok(())
}
