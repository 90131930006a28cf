//! `userspace reconcile --watch`, while it runs.

use super::{DEADLINE, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// It is killed when dropped.
pub(crate) struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    /// Starts one that goes round every second.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
        command.env_clear().arg("reconcile").arg(data_dir).args(["--watch", "1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let _ = send.send(line.unwrap());
            }
        });
        Self { process, lines }
    }

    /// What it says next.
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// Sends a signal, waits for the end, which must be a good one, and returns what it said since.
    pub(crate) fn end(mut self, signal: Signal) -> String {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
        let mut ended = None;
        until("it ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0));
        let mut said = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said.extend(self.lines.iter());
        said
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
