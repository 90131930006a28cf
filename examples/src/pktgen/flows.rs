//! Which frames of each flow have arrived.

use serde::Serialize;

/// What became of the frames of all flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Found {
    /// Frames of ours, each once.
    pub packets: u64,
    /// Of these frames.
    pub bytes: u64,
    /// Packets that are none of ours.
    pub other: u64,
    /// Frames that were passed over and have not come since.
    pub lost: u64,
    /// Frames that came again. They are not counted as packets.
    pub duplicated: u64,
    /// Frames that came after a later one.
    pub reordered: u64,
    /// Frames of ours whose lengths do not agree.
    pub wrong_length: u64,
    /// Frames of ours whose pattern is not whole.
    pub wrong_payload: u64,
}

impl Found {
    /// What is wrong, by name.
    pub(super) fn faults(&self) -> [(u64, &'static str); 5] {
        [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.wrong_length, "of wrong length"),
            (self.wrong_payload, "with wrong payload"),
        ]
    }
}

/// The frames of each flow that were seen, by the flow's number.
#[derive(Debug, Default)]
pub struct Flows {
    /// As far as the highest number that came: at most 65536.
    flows: Vec<Flow>,
}

/// Frames behind the latest one that are told apart: what comes later than that counts as
/// reordered, even if it is a duplicate.
const WINDOW: u64 = 1024;

/// One flow.
#[derive(Debug, Clone, Default)]
struct Flow {
    /// The number that comes next; `None` before the first one, whichever that is.
    next: Option<u64>,
    /// Of the numbers in the window before that, those that came: a bit each, by number.
    seen: [u64; (WINDOW / 64) as usize],
}

impl Flows {
    /// Notes that frame `number` of `flow`, of so many bytes, has come.
    pub fn take(&mut self, flow: u16, number: u64, bytes: usize, found: &mut Found) {
        let at = usize::from(flow);
        if at >= self.flows.len() {
            self.flows.resize_with(at + 1, Flow::default);
        }
        if self.flows[at].is_new(number, found) {
            found.packets += 1;
            found.bytes += bytes as u64;
        }
    }

    /// Forgets what came: numbers may begin anew.
    pub(super) fn restart(&mut self) {
        self.flows.clear();
    }
}

impl Flow {
    /// Whether this is not a duplicate.
    fn is_new(&mut self, number: u64, found: &mut Found) -> bool {
        let next = self.next.unwrap_or(number);
        if number >= next {
            for passed in next.max(number.saturating_sub(WINDOW - 1))..number {
                self.clear(passed);
            }
            found.lost = found.lost.saturating_add(number - next);
            self.next = Some(number + 1);
            self.set(number);
            return true;
        }
        if next - number <= WINDOW {
            if self.has(number) {
                found.duplicated += 1;
                return false;
            }
            self.set(number);
        }
        found.reordered += 1;
        found.lost = found.lost.saturating_sub(1);
        true
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }
}

/// Word and bit of a number in the window.
fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(numbers: impl IntoIterator<Item = u64>) -> Found {
        let (mut flows, mut found) = (Flows::default(), Found::default());
        numbers.into_iter().for_each(|number| flows.take(3, number, 10, &mut found));
        found
    }

    #[test]
    fn every_frame_in_its_turn_is_no_fault() {
        let found = found(5..5000);
        assert_eq!(found, Found { packets: 4995, bytes: 49_950, ..Found::default() });
    }

    #[test]
    fn gaps_are_lost_until_they_are_filled_late() {
        let lost = found([0, 1, 5, 6]);
        assert_eq!((lost.packets, lost.lost), (4, 3));
        let filled = found([0, 1, 5, 6, 3, 2, 4]);
        assert_eq!((filled.packets, filled.lost, filled.reordered), (7, 0, 3));
        assert_eq!(filled.duplicated, 0);
    }

    #[test]
    fn what_comes_again_is_a_duplicate_in_order_or_late() {
        let found = found([0, 0, 1, 2, 3, 1, 3]);
        assert_eq!((found.packets, found.duplicated, found.reordered, found.lost), (4, 3, 0, 0));
    }

    #[test]
    fn window_forgets_numbers_that_used_its_bits_before() {
        // 1024 has the bit of 0, and is missing; then it comes late.
        let found = found((0..1024).chain(1025..1030).chain([1024]));
        assert_eq!((found.packets, found.duplicated, found.reordered), (1030, 0, 1));
        assert_eq!(found.lost, 0);
    }

    #[test]
    fn leap_over_more_than_the_window_and_back_is_counted() {
        let found = found([0, 1 << 47, 5]);
        assert_eq!((found.packets, found.reordered), (3, 1));
        assert_eq!(found.lost, (1 << 47) - 2);
        let (mut flows, mut found) = (Flows::default(), Found::default());
        found.lost = u64::MAX - 1;
        flows.take(0, 0, 1, &mut found);
        flows.take(0, (1 << 48) - 1, 1, &mut found);
        assert_eq!(found.lost, u64::MAX);
    }

    #[test]
    fn flows_are_apart_and_begin_anew_after_a_restart() {
        let (mut flows, mut found) = (Flows::default(), Found::default());
        flows.take(0xffff, 7, 1, &mut found);
        flows.take(0, 100, 1, &mut found);
        flows.restart();
        flows.take(0, 7, 1, &mut found);
        assert_eq!(found.faults().map(|(count, _)| count), [0; 5]);
    }
}
