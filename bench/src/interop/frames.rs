//! Frames that say who they are, with a payload that nobody guesses.

use ringport::burst::RxPacket;

/// Shortest numbered frame: addresses, type, queue, number, length.
pub const FRAME_MIN: usize = 14 + 2 + 8 + 4;

/// An EtherType for experiments, which no peer interprets.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];

/// Overwrites `frame` with the `number`th one of its length for `queue`.
pub fn fill(frame: &mut [u8], queue: usize, number: u64) {
    assert!(frame.len() >= FRAME_MIN, "{} bytes do not hold a number", frame.len());
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let queue = u16::try_from(queue).unwrap_or(u16::MAX);
    // To the neighbour's address: where a switch is between two queues, it learns both.
    frame[..6].copy_from_slice(&address(queue ^ 1));
    frame[6..12].copy_from_slice(&address(queue));
    frame[12..14].copy_from_slice(&ETHER_TYPE);
    frame[14..16].copy_from_slice(&queue.to_be_bytes());
    frame[16..24].copy_from_slice(&number.to_be_bytes());
    frame[24..28].copy_from_slice(&len.to_be_bytes());
    let mut state = (u64::from(queue) << 48) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in frame[FRAME_MIN..].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// The number of frames that say nothing but who sends them.
pub const INTRODUCTION: u64 = u64::MAX;

/// Whether a packet has that number.
#[must_use]
pub fn is_introduction(packet: &RxPacket<'_>) -> bool {
    let mut head = [0; FRAME_MIN];
    packet.copy_to(&mut head) == FRAME_MIN && head[16..24] == INTRODUCTION.to_be_bytes()
}

fn address(queue: u16) -> [u8; 6] {
    let [high, low] = queue.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// Receives the frames of one queue and compares each with the one that is due.
#[derive(Debug)]
pub struct Checker {
    queue: usize,
    next: u64,
    expected: Vec<u8>,
    got: Vec<u8>,
}

impl Checker {
    /// Nothing has arrived on `queue` yet.
    #[must_use]
    pub fn new(queue: usize) -> Self {
        Self { queue, next: 0, expected: Vec::new(), got: Vec::new() }
    }

    /// Frames that arrived so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.next
    }

    /// Takes the next packet; `len_of` says how long it has to be.
    ///
    /// # Errors
    /// How it differs from the one that is due.
    pub fn take(
        &mut self,
        packet: &RxPacket<'_>,
        len_of: impl Fn(u64) -> usize,
    ) -> Result<(), String> {
        let (queue, due) = (self.queue, self.next);
        let len = len_of(due);
        self.got.resize(packet.len(), 0);
        packet.copy_to(&mut self.got);
        self.expected.resize(len, 0);
        fill(&mut self.expected, queue, due);
        if self.got != self.expected {
            return Err(difference(queue, due, &self.expected, &self.got));
        }
        self.next += 1;
        Ok(())
    }
}

fn difference(queue: usize, due: u64, expected: &[u8], got: &[u8]) -> String {
    let head = |bytes: &[u8]| -> Option<(u16, u64)> {
        let queue = bytes.get(14..16)?.try_into().ok()?;
        let number = bytes.get(16..24)?.try_into().ok()?;
        Some((u16::from_be_bytes(queue), u64::from_be_bytes(number)))
    };
    let at = expected.iter().zip(got).position(|(a, b)| a != b);
    format!(
        "queue {queue}: frame {due} of {} bytes was due; got {} bytes saying (queue, number) {:?}, \
         first difference at {at:?}",
        expected.len(),
        got.len(),
        head(got),
    )
}
