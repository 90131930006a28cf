//! `PROTOCOL.md` against the crate: its tables and vectors are read from the document itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "protocol_document/document.rs"]
mod document;
#[path = "protocol_document/handshakes.rs"]
mod handshakes;
#[path = "protocol_document/links.rs"]
mod links;
#[path = "protocol_document/memory.rs"]
mod memory;
#[path = "protocol_document/messages.rs"]
mod messages;
