//! What went between a client and VPP.
//!
//! ```text
//! connection 80000001
//! C show_version_51077d14 0344800000010000(2)01
//! S show_version_reply_c919bde1 0345...
//! ```
//! Bytes are in hexadecimal, `(N)` is N zero bytes. The directory of the test, which has a name of the
//! same length each time, is written as [`PLACEHOLDER`].

use std::fmt::Write;

/// What stands for the directory of the test.
pub(crate) const PLACEHOLDER: &str = "/tmp/ringport-base00";
/// What the name of that directory starts with; six characters follow.
pub(crate) const PREFIX: &str = "ringport-";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from_client: bool,
    /// Name with CRC.
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
}

/// One connection: the index that VPP gave the client, and everything after that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) index: u32,
    pub(crate) frames: Vec<Frame>,
}

/// Reads connections, with `base` for the placeholder.
pub(crate) fn parse(text: &str, base: &str) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["connection", index] => {
                let index = u32::from_str_radix(index, 16).unwrap();
                connections.push(Connection { index, frames: Vec::new() });
            }
            [who @ ("C" | "S"), name, body] => {
                let body = replace(unpack(body), PLACEHOLDER, base);
                let frame = Frame { from_client: *who == "C", name: (*name).to_owned(), body };
                connections.last_mut().unwrap().frames.push(frame);
            }
            _ => panic!("cannot read `{line}`"),
        }
    }
    connections
}

/// Writes connections, with the placeholder for `base`.
pub(crate) fn format(connections: &[Connection], base: &str) -> String {
    let mut text = String::new();
    for connection in connections {
        writeln!(text, "connection {:08x}", connection.index).unwrap();
        for frame in &connection.frames {
            let who = if frame.from_client { 'C' } else { 'S' };
            let body = pack(&replace(frame.body.clone(), base, PLACEHOLDER));
            writeln!(text, "{who} {} {body}", frame.name).unwrap();
        }
    }
    text
}

fn replace(mut body: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    if from.is_empty() {
        return body;
    }
    assert_eq!(from.len(), to.len(), "{from} and {to} must be as long as each other");
    for at in 0..body.len().saturating_sub(from.len() - 1) {
        if body[at..].starts_with(from.as_bytes()) {
            body[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    body
}

fn unpack(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('(') {
            let (count, after) = after.split_once(')').unwrap();
            body.resize(body.len() + count.parse::<usize>().unwrap(), 0);
            rest = after;
        } else {
            body.push(u8::from_str_radix(&rest[..2], 16).unwrap());
            rest = &rest[2..];
        }
    }
    body
}

fn pack(body: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < body.len() {
        let zeros = body[at..].iter().take_while(|byte| **byte == 0).count();
        if zeros >= 4 {
            write!(text, "({zeros})").unwrap();
            at += zeros;
        } else {
            write!(text, "{:02x}", body[at]).unwrap();
            at += 1;
        }
    }
    text
}
