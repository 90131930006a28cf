//! What the two processes of the demo tell each other: JSON lines through pipes.
//!
//! One order at a time: each is answered before the next is given.

use serde::{Deserialize, Serialize};

/// To the second process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Send back what arrives, until the next order.
    Echo {
        /// Sleep between packets.
        sleep: bool,
    },
    /// Send numbered frames of `len` bytes, until the next order.
    Send { len: usize },
    /// End what the last order began.
    Stop,
}

/// From the second process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The link is up.
    Up {
        /// Bytes of each packet buffer, which only the client knows.
        buffer_bytes: Option<u32>,
    },
    /// What was ordered has ended.
    Done {
        /// Packets sent.
        sent: u64,
    },
}
