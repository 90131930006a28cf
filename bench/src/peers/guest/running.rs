//! A guest that runs.

use super::qmp::Qmp;
use super::shell::Shell;
use super::{DEADLINE, unexpected};
use crate::peers::{CommandGuard, PeerError};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a command in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code.
    pub status: u8,
    /// What it printed, on stdout and stderr.
    pub text: String,
}

/// A guest, its shell, and QEMU's control socket. It is ended when dropped.
#[derive(Debug)]
pub struct RunningGuest {
    process: CommandGuard,
    shell: Shell,
    qmp: Qmp,
    dir: TempDir,
    megabytes: u32,
}

impl RunningGuest {
    pub(super) fn new(
        process: CommandGuard,
        shell: Shell,
        qmp: Qmp,
        dir: TempDir,
        megabytes: u32,
    ) -> Self {
        Self { process, shell, qmp, dir, megabytes }
    }

    /// Waits until it has booted, after [`spawn`](super::Guest::spawn) and whenever it boots again.
    ///
    /// # Errors
    /// When it does not, or QEMU ends.
    pub fn wait_boot(&mut self) -> Result<(), PeerError> {
        let booted = self.shell.wait_boot(DEADLINE);
        self.explained(booted)
    }

    /// Runs a line of shell there, and returns what it printed.
    ///
    /// # Errors
    /// When it does not end, or not with exit code 0: what it printed is in the error.
    pub fn run(&mut self, line: &str) -> Result<String, PeerError> {
        let Answer { status, text } = self.shell(line, DEADLINE)?;
        if status == 0 { Ok(text) } else { Err(unexpected(format!("`{line}`: {status}: {text}"))) }
    }

    /// Runs a line of shell there, which may fail.
    ///
    /// # Errors
    /// When it does not end within `deadline`, or QEMU ends.
    pub fn shell(&mut self, line: &str, deadline: Duration) -> Result<Answer, PeerError> {
        let answer = self.shell.run(line, deadline);
        self.explained(answer)
    }

    /// Has QEMU execute a command of its control protocol (QMP).
    ///
    /// # Errors
    /// What QEMU says.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value, PeerError> {
        let answer = self.qmp.execute(command, arguments);
        self.explained(answer)
    }

    /// Presses the reset button. See [`wait_boot`](Self::wait_boot).
    ///
    /// # Errors
    /// What QEMU says.
    pub fn reset(&mut self) -> Result<(), PeerError> {
        self.qmp("system_reset", json!({})).map(drop)
    }

    /// Stops its CPUs and its devices.
    ///
    /// # Errors
    /// What QEMU says.
    pub fn pause(&mut self) -> Result<(), PeerError> {
        self.qmp("stop", json!({})).map(drop)
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// What QEMU says.
    pub fn resume(&mut self) -> Result<(), PeerError> {
        self.qmp("cont", json!({})).map(drop)
    }

    /// Takes the cable of a network device out, or puts it in.
    ///
    /// # Errors
    /// What QEMU says.
    pub fn set_link(&mut self, nic: usize, up: bool) -> Result<(), PeerError> {
        self.qmp("set_link", json!({ "name": format!("nic{nic}"), "up": up })).map(drop)
    }

    /// Waits until an [incoming](super::Guest::incoming) guest can be migrated to.
    ///
    /// # Errors
    /// When QEMU ends.
    pub fn wait_incoming(&mut self) -> Result<(), PeerError> {
        self.wait_for("to wait for a migration", |this| {
            let status = this.qmp("query-status", json!({}))?;
            Ok((status["status"] == "inmigrate").then_some(()))
        })
    }

    /// Starts to migrate to the guest that waits at `socket`.
    ///
    /// # Errors
    /// What QEMU says.
    pub fn migrate(&mut self, socket: &Path) -> Result<(), PeerError> {
        let uri = format!("unix:{}", socket.display());
        self.qmp("migrate", json!({ "uri": uri })).map(drop)
    }

    /// How the migration stands: what `query-migrate` says.
    ///
    /// # Errors
    /// That it has failed, and what QEMU says.
    pub fn migration(&mut self) -> Result<Value, PeerError> {
        let state = self.qmp("query-migrate", json!({}))?;
        if state["status"] == "failed" {
            return Err(unexpected(format!("migration failed: {state}; QEMU: {}", self.log())));
        }
        Ok(state)
    }

    /// Waits until everything is at the other side, and this one stopped.
    ///
    /// # Errors
    /// As [`migration`](Self::migration), or that it takes too long.
    pub fn wait_migrated(&mut self) -> Result<Value, PeerError> {
        self.wait_for("to have migrated", |this| {
            Ok(Some(this.migration()?).filter(|state| state["status"] == "completed"))
        })
    }

    /// Copies all its memory. It should be paused.
    ///
    /// # Errors
    /// What QEMU or the file system says.
    pub fn memory(&mut self) -> Result<Vec<u8>, PeerError> {
        let (file, size) = (self.dir.path().join("memory"), u64::from(self.megabytes) << 20);
        self.qmp("pmemsave", json!({ "val": 0, "size": size, "filename": &file }))?;
        let read = std::fs::read(&file).map_err(|error| PeerError::io("a guest's memory", error));
        // The directory goes with the guest; until then the memory would be there twice.
        let _ = std::fs::remove_file(&file);
        read
    }

    /// QEMU.
    pub fn process(&mut self) -> &mut CommandGuard {
        &mut self.process
    }

    /// What QEMU and the guest's kernel printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn wait_for<T>(
        &mut self,
        what: &str,
        step: impl Fn(&mut Self) -> Result<Option<T>, PeerError>,
    ) -> Result<T, PeerError> {
        let start = Instant::now();
        loop {
            if let Some(found) = step(self)? {
                return Ok(found);
            }
            if start.elapsed() > DEADLINE {
                return Err(unexpected(format!("waited in vain for it {what}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// When QEMU has ended, that is the reason of whatever went wrong.
    fn explained<T>(&mut self, result: Result<T, PeerError>) -> Result<T, PeerError> {
        if result.is_err() {
            // One that ends closes its sockets first.
            self.process.wait_end(Duration::from_millis(500))?;
            self.process.check_running()?;
        }
        result
    }
}
