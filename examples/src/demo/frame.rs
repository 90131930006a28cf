//! Frames that say which one they are, at both ends.

use anyhow::bail;
use ringport::burst::RxPacket;

/// One frame in private memory, stamped anew for each packet.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

/// Destination and source (locally administered), and the EtherType for local experiments.
const HEADER: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];

/// Bytes of the number that a frame carries behind its header and at its end.
const NUMBER: usize = size_of::<u64>();

/// Shortest frame, in bytes.
pub(super) const LEN_MIN: usize = HEADER.len() + 2 * NUMBER;

impl Frame {
    /// A frame of `len` bytes, at least [`LEN_MIN`].
    pub(super) fn new(len: usize) -> Self {
        let mut bytes = vec![0x5a; len.max(LEN_MIN)];
        bytes[..HEADER.len()].copy_from_slice(&HEADER);
        Self(bytes)
    }

    /// The frame with `number`.
    pub(super) fn stamp(&mut self, number: u64) -> &[u8] {
        let end = self.0.len() - NUMBER;
        self.0[HEADER.len()..][..NUMBER].copy_from_slice(&number.to_be_bytes());
        self.0[end..].copy_from_slice(&number.to_be_bytes());
        &self.0
    }
}

/// Checks that frames arrive in order and whole.
#[derive(Debug)]
pub(super) struct Checker {
    /// Where each packet is copied to.
    private: Vec<u8>,
    /// Packets checked: the number that the next must carry.
    pub(super) checked: u64,
}

impl Checker {
    pub(super) fn new(len: usize) -> Self {
        Self { private: vec![0; len.max(LEN_MIN)], checked: 0 }
    }

    /// Copies `packet` out of shared memory and checks it.
    pub(super) fn check(&mut self, packet: &RxPacket<'_>) -> anyhow::Result<()> {
        packet.copy_to(&mut self.private);
        self.verify(packet.len())?;
        self.checked += 1;
        Ok(())
    }

    fn verify(&self, len: usize) -> anyhow::Result<()> {
        let (wanted, expected) = (self.checked, self.private.len());
        if len != expected {
            bail!("packet {wanted} has {len} bytes, not {expected}; {REPORT_IT}");
        }
        let number = |at: usize| self.private[at..][..NUMBER].try_into().map(u64::from_be_bytes);
        let (first, last) = (number(HEADER.len())?, number(expected - NUMBER)?);
        if (first, last) != (wanted, wanted) {
            bail!("packet {wanted} carries number {first} in front and {last} behind; {REPORT_IT}");
        }
        Ok(())
    }
}

/// What to do about a defect.
pub(super) const REPORT_IT: &str =
    "that must never happen: please report it to the ringport project with this line";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checker_sees_wrong_numbers_and_lengths() {
        let mut frame = Frame::new(64);
        let mut checker = Checker::new(64);
        checker.private.copy_from_slice(frame.stamp(0));
        assert!(checker.verify(64).is_ok());
        assert!(checker.verify(63).unwrap_err().to_string().contains("has 63 bytes, not 64"));
        checker.private[63] = 1;
        assert!(checker.verify(64).unwrap_err().to_string().contains("0 in front and 1 behind"));
        checker.private.copy_from_slice(frame.stamp(7));
        assert!(checker.verify(64).unwrap_err().to_string().contains("number 7"));
    }
}
