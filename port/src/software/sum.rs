//! The Internet checksum.

/// The sum behind the Internet checksum, of bytes that come piece by piece.
///
/// Spec: RFC 1071.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InternetSum {
    /// Of 32-bit words: 2^32 of them, which is more than any packet has, do not overflow.
    total: u64,
    /// An odd number of bytes was added: the next byte is the low half of a word.
    odd: bool,
}

impl InternetSum {
    /// Adds `bytes`, which follow those added before.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(4);
        let mut sum = 0;
        for word in &mut words {
            if let [a, b, c, d] = *word {
                sum += u64::from(u32::from_be_bytes([a, b, c, d]));
            }
        }
        let mut last = [0; 4];
        let rest = words.remainder();
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        sum += u64::from(u32::from_be_bytes(last));
        // A sum of words that are one byte off is the sum with its bytes exchanged (RFC 1071 §2).
        self.total += u64::from(if self.odd { fold(sum).swap_bytes() } else { fold(sum) });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The checksum: the complement of the sum.
    pub(crate) fn checksum(self) -> u16 {
        !fold(self.total)
    }
}

/// Adds the carries in until there are none.
#[expect(clippy::cast_possible_truncation, reason = "nothing is left above 16 bits")]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_the_rfc() {
        // RFC 1071 §3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
        let mut sum = InternetSum::default();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), !0xddf2);
    }

    #[test]
    fn pieces_add_up_to_the_whole_wherever_they_are_cut() {
        let bytes: Vec<u8> = (0..37u8).map(|n| n.wrapping_mul(83) ^ 0xc5).collect();
        let words = bytes.chunks(2).map(|pair| {
            u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or_default())
        });
        let expected = !u16::try_from(words.sum::<u64>() % 0xffff).unwrap();
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                let mut sum = InternetSum::default();
                [&bytes[..a], &bytes[a..b], &bytes[b..]].into_iter().for_each(|p| sum.add(p));
                assert_eq!(sum.checksum(), expected, "cut at {a} and {b}");
            }
        }
    }

    #[test]
    fn longest_packet_of_ones_does_not_overflow() {
        let mut sum = InternetSum::default();
        sum.add(&vec![0xff; 1 << 20]);
        assert_eq!(sum.checksum(), 0);
        assert_eq!(InternetSum::default().checksum(), 0xffff);
    }
}
