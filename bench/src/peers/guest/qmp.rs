//! QEMU's own control socket: a JSON object a line, both ways.

use super::{DEADLINE, unexpected};
use crate::peers::PeerError;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    greeted: bool,
}

impl Qmp {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), greeted: false }
    }

    /// Has QEMU execute a command, and returns what that returns. Events in between are passed over.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, PeerError> {
        if !self.greeted {
            self.greeted = true;
            let greeting = self.read()?;
            greeting.get("QMP").ok_or_else(|| unexpected(format!("QMP: {greeting}")))?;
            self.ask("qmp_capabilities", json!({}))?;
        }
        self.ask(command, arguments)
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, PeerError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| PeerError::io(format!("telling QEMU `{command}`"), error))?;
        loop {
            let mut answer = self.read()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(unexpected(format!("QEMU's answer to `{command}`: {error}")));
            }
        }
    }

    fn read(&mut self) -> Result<Value, PeerError> {
        let failed = |error| PeerError::io("reading QEMU's control socket", error);
        self.stream.get_ref().set_read_timeout(Some(DEADLINE)).map_err(failed)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(failed)? == 0 {
            return Err(unexpected("QEMU has closed its control socket".into()));
        }
        serde_json::from_str(&line).map_err(|error| unexpected(format!("QMP: {error}: {line}")))
    }
}
