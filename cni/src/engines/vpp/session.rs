//! A connection to VPP: who we are, what it has, questions and answers.
//!
//! A request is its number, the index that VPP gave us, a context that comes back in the answer, and
//! the fields. An answer is its number, the context and the fields; the first field says whether VPP
//! refused, unless the answer is one of many. Of those nobody says which is the last: a ping is sent
//! right behind the question, and answers come in order.
//!
//! Every client of VPP can have messages sent to every other, so whatever was not asked for is
//! skipped. VPP drops requests that it does not understand in silence, so everything has a deadline.

use super::frame::Frames;
use super::lock::Lock;
use super::message::{CONTROL_PING, Exchange, RX_DUMP, SHOW_VERSION, SOCKCLNT_DELETE, Table};
use super::message::{SOCKCLNT_CREATE, SOCKCLNT_CREATE_REPLY};
use super::wire::{Fields, Reader};
use super::{VppError, message};
use std::path::Path;
use std::time::Duration;

/// What VPP shows us as.
const NAME: &[u8] = b"ringport-cni";
/// Bytes of that name.
const NAME_LEN: usize = 64;
/// How long leaving may take. A VPP that hangs is left without a word.
const FAREWELL: Duration = Duration::from_millis(500);
/// Most answers to one question, and most bytes of all of them.
const ANSWERS_MAX: usize = 1 << 17;
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The oldest release that works: before it some layouts differ under the same CRC.
const OLDEST: (u32, u32) = (20, 5);

/// A connection. It is closed in good order when dropped: VPP can spin on one that just ends.
#[derive(Debug)]
pub struct Session {
    frames: Frames,
    table: Table,
    version: String,
    client: u32,
    context: u32,
    /// Whether a farewell is of use.
    open: bool,
    /// Keeps other plugins away, if this one changes anything.
    _lock: Option<Lock>,
}

/// An answer: its fields.
#[derive(Debug, Clone)]
pub struct Answer {
    bytes: Vec<u8>,
    message: &'static str,
    from: usize,
}

impl Answer {
    /// Reads the fields.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.message, self.bytes.get(self.from..).unwrap_or_default())
    }
}

impl Session {
    /// Connects to look at things. Everything until the end of the connection may take `timeout`.
    ///
    /// # Errors
    /// [`VppError::Connect`], [`VppError::TooOld`], and whatever a VPP says that is none.
    pub fn connect(api: &Path, timeout: Duration) -> Result<Self, VppError> {
        Self::new(api, timeout, None)
    }

    /// Connects to change things, when no other plugin does. Waiting for that may take as long again.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`VppError::Locked`].
    pub fn exclusive(api: &Path, timeout: Duration) -> Result<Self, VppError> {
        let lock = Lock::take(api, timeout)?;
        Self::new(api, timeout, Some(lock))
    }

    fn new(api: &Path, timeout: Duration, lock: Option<Lock>) -> Result<Self, VppError> {
        let mut frames = Frames::connect(api, timeout)?;
        let (client, table) = introduce(&mut frames)?;
        let version = "(unknown)".to_owned();
        let mut session =
            Self { frames, table, version, client, context: 0, open: true, _lock: lock };
        session.learn_version()?;
        Ok(session)
    }

    /// The release.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether VPP has a message.
    #[must_use]
    pub fn has(&self, message: message::Message) -> bool {
        self.table.has(message)
    }

    /// The first of several that VPP has; the last when it has none.
    pub(super) fn newest(&self, choices: &[Exchange]) -> Exchange {
        let there = choices.iter().find(|it| self.has(it.request)).or_else(|| choices.last());
        there.copied().unwrap_or(CONTROL_PING)
    }

    /// Whether everything can be asked that is in a list.
    ///
    /// # Errors
    /// [`VppError::Missing`], [`VppError::UnknownCrc`]
    pub(super) fn require(&self, exchanges: &[Exchange]) -> Result<(), VppError> {
        for exchange in exchanges {
            self.table.number(exchange.request)?;
            self.table.number(exchange.reply)?;
        }
        Ok(())
    }

    /// Asks something that has one answer.
    ///
    /// # Errors
    /// [`VppError::Refused`]; [`VppError::Missing`] and [`VppError::UnknownCrc`] before anything is
    /// sent; those of the connection.
    pub fn call(&mut self, exchange: Exchange, fields: &Fields) -> Result<Answer, VppError> {
        let reply = self.table.number(exchange.reply)?;
        let context = self.next_context();
        let request = self.request(exchange.request, context, fields)?;
        self.send(exchange.request.name, &[&request])?;
        let bytes = loop {
            let message = self.receive()?;
            if header(&message) == Some((reply, context)) {
                break message;
            }
        };
        let answer = Answer { bytes, message: exchange.reply.name, from: 6 };
        match answer.reader().i32()? {
            0 => Ok(Answer { from: 10, ..answer }),
            retval => Err(VppError::Refused { message: exchange.request.name, retval }),
        }
    }

    /// Asks something that has any number of answers.
    ///
    /// # Errors
    /// As [`Self::call`]; VPP refuses none of these.
    pub fn dump(&mut self, exchange: Exchange, fields: &Fields) -> Result<Vec<Answer>, VppError> {
        let details = self.table.number(exchange.reply)?;
        let end = self.table.number(CONTROL_PING.reply)?;
        let context = self.next_context();
        let request = self.request(exchange.request, context, fields)?;
        let ping = self.request(CONTROL_PING.request, context, &Fields::new())?;
        self.send(exchange.request.name, &[&request, &ping])?;
        // This one answer has the index of a client before its context, as requests do.
        let start = if exchange == RX_DUMP { 4 } else { 0 };
        let mut answers = Vec::new();
        let mut len = 0;
        loop {
            let bytes = self.receive()?;
            len += bytes.len();
            if header(&bytes) == Some((end, context)) {
                return Ok(answers);
            }
            if header_after(&bytes, start) == Some((details, context)) {
                answers.push(Answer { bytes, message: exchange.reply.name, from: start + 6 });
            }
            if answers.len() > ANSWERS_MAX || len > ANSWER_BYTES_MAX {
                let what = format!("endless {}", exchange.reply.name);
                return Err(VppError::Malformed { what });
            }
        }
    }

    /// As [`Self::dump`]; a VPP that does not have the question, for want of a plugin, has nothing.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub fn dump_if_any(
        &mut self,
        exchange: Exchange,
        fields: &Fields,
    ) -> Result<Vec<Answer>, VppError> {
        if self.has(exchange.request) { self.dump(exchange, fields) } else { Ok(Vec::new()) }
    }

    fn learn_version(&mut self) -> Result<(), VppError> {
        let answer = self.call(SHOW_VERSION, &Fields::new())?;
        let mut fields = answer.reader();
        fields.skip(32)?;
        self.version = fields.text(32)?;
        self.table.set_version(&self.version);
        match release(&self.version) {
            Some(release) if release < OLDEST => {
                Err(VppError::TooOld { version: self.version.clone() })
            }
            _ => Ok(()),
        }
    }

    fn next_context(&mut self) -> u32 {
        self.context = self.context.wrapping_add(1);
        self.context
    }

    fn request(
        &self,
        message: message::Message,
        context: u32,
        fields: &Fields,
    ) -> Result<Vec<u8>, VppError> {
        let start = Fields::new().u16(self.table.number(message)?).u32(self.client).u32(context);
        Ok(start.bytes(fields.as_bytes()).as_bytes().to_vec())
    }

    fn send(&mut self, name: &'static str, messages: &[&[u8]]) -> Result<(), VppError> {
        let sent = self.frames.send(name, messages);
        self.open = sent.is_ok();
        sent
    }

    fn receive(&mut self) -> Result<Vec<u8>, VppError> {
        let received = self.frames.receive();
        self.open = received.is_ok();
        received
    }

    fn leave(&mut self) -> Result<(), VppError> {
        self.frames.hurry(FAREWELL);
        let context = self.next_context();
        let fields = Fields::new().u32(self.client);
        let request = self.request(SOCKCLNT_DELETE.request, context, &fields)?;
        self.send(SOCKCLNT_DELETE.request.name, &[&request])?;
        // VPP closes its end once it has answered.
        loop {
            self.receive()?;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open {
            // However it ends: the connection is gone.
            let _ = self.leave();
        }
    }
}

/// Says who we are; returns our index at VPP, and its table of messages.
fn introduce(frames: &mut Frames) -> Result<(u32, Table), VppError> {
    let request = Fields::new().u16(SOCKCLNT_CREATE).u32(0).text(NAME, NAME_LEN);
    frames.send("sockclnt_create", &[request.as_bytes()])?;
    loop {
        let message = frames.receive()?;
        let mut fields = Reader::new("sockclnt_create_reply", &message);
        if fields.u16()? != SOCKCLNT_CREATE_REPLY {
            continue;
        }
        // An index that is always 0, and the context.
        fields.skip(8)?;
        let response = fields.i32()?;
        if response != 0 {
            return Err(VppError::Unwelcome { response });
        }
        return Ok((fields.u32()?, Table::read(&mut fields)?));
    }
}

/// Number and context of an answer.
fn header(message: &[u8]) -> Option<(u16, u32)> {
    header_after(message, 0)
}

/// The same for an answer with `gap` bytes between them.
fn header_after(message: &[u8], gap: usize) -> Option<(u16, u32)> {
    let mut fields = Reader::new("", message);
    let number = fields.u16().ok()?;
    fields.skip(gap).ok()?;
    Some((number, fields.u32().ok()?))
}

/// Year and month of a release.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_read_from_what_builds_call_themselves() {
        assert_eq!(release("20.05-release"), Some((20, 5)));
        assert_eq!(release("26.10-rc0~374-gb575ec2c56d"), Some((26, 10)));
        assert!(release("20.01-rc2").unwrap() < OLDEST);
        assert!(release("19.08.3").unwrap() < OLDEST);
        assert_eq!(release("master"), None);
    }
}
