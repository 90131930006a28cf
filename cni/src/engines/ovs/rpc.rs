//! JSON-RPC 1.0: objects one after the other, without framing.

use super::OvsError;
use super::address::{Address, Stream, is_late};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Most bytes of one message.
const MESSAGE_MAX: usize = 16 << 20;
const READ_SIZE: usize = 16 << 10;

/// A connection, and the time by which everything on it must be done.
#[derive(Debug)]
pub struct Rpc {
    stream: Stream,
    received: Vec<u8>,
    last_id: u64,
    deadline: Instant,
    timeout: Duration,
}

impl Rpc {
    /// Connects; everything until the end of the connection may take `timeout`.
    ///
    /// # Errors
    /// As [`Address::connect`].
    pub fn connect(address: &Address, timeout: Duration) -> Result<Self, OvsError> {
        let deadline = Instant::now() + timeout;
        let stream = address.connect(timeout)?;
        Ok(Self { stream, received: Vec::new(), last_id: 0, deadline, timeout })
    }

    /// How long the connection may last.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Begins the time anew, for what must be done after a time-out.
    pub fn restart_clock(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    /// How much of the time is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Calls a method and waits for its result.
    ///
    /// # Errors
    /// [`OvsError::Refused`] when the method fails, others when the connection does.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, OvsError> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "method": method, "params": params, "id": id }))?;
        loop {
            let mut message = self.receive()?;
            // A notification that nobody asked for, or the answer to what was given up.
            if message.get("method").is_some() || message["id"] != json!(id) {
                continue;
            }
            return match message["error"].take() {
                Value::Null => Ok(message["result"].take()),
                error => Err(refusal(&error)),
            };
        }
    }

    /// The next message that is not the server's question whether we are alive: that is answered.
    fn receive(&mut self) -> Result<Value, OvsError> {
        loop {
            let message = self.receive_any()?;
            if message["method"] != "echo" {
                return Ok(message);
            }
            let answer = json!({ "id": message["id"], "result": message["params"], "error": null });
            self.send(&answer)?;
        }
    }

    fn receive_any(&mut self) -> Result<Value, OvsError> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
            if self.received.len() > MESSAGE_MAX {
                return Err(malformed("a message that does not end"));
            }
            self.bound()?;
            let mut bytes = [0; READ_SIZE];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(OvsError::Closed),
                Ok(n) => self.received.extend_from_slice(bytes.get(..n).unwrap_or_default()),
                Err(e) => self.or_silent(e)?,
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Value>, OvsError> {
        let mut messages = serde_json::Deserializer::from_slice(&self.received).into_iter();
        match messages.next() {
            None => Ok(None),
            Some(Ok(message)) => {
                let len = messages.byte_offset();
                self.received.drain(..len);
                if Value::is_object(&message) {
                    Ok(Some(message))
                } else {
                    Err(malformed("a message that is no object"))
                }
            }
            Some(Err(e)) if e.is_eof() => Ok(None),
            Some(Err(e)) => Err(malformed(&e.to_string())),
        }
    }

    fn send(&mut self, message: &Value) -> Result<(), OvsError> {
        let bytes = message.to_string();
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            self.bound()?;
            match self.stream.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) => self.or_silent(e)?,
            }
        }
        self.stream.flush().or_else(|e| self.or_silent(e))
    }

    /// Bounds the next read or write by what is left of the time.
    fn bound(&mut self) -> Result<(), OvsError> {
        let left = self.left();
        if left.is_zero() {
            return Err(OvsError::Silent { waited: self.timeout });
        }
        Ok(self.stream.set_timeout(left)?)
    }

    /// Lets an interrupted call be tried again.
    fn or_silent(&self, error: io::Error) -> Result<(), OvsError> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ if is_late(&error) => Err(OvsError::Silent { waited: self.timeout }),
            _ => Err(self.stream.failure(error)),
        }
    }
}

/// An error as the database words it.
#[must_use]
pub fn refusal(error: &Value) -> OvsError {
    let word = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    match error.as_str() {
        Some(text) => OvsError::Refused { error: text.to_owned(), details: String::new() },
        None => OvsError::Refused { error: word("error"), details: word("details") },
    }
}

/// Something that the database should not say.
#[must_use]
pub fn malformed(what: &str) -> OvsError {
    OvsError::Malformed { what: what.to_owned() }
}
