//! [`crate::pktgen`].
//!
//! Header: bit 0: frames start with the Ethernet header. Then operations: a frame that the generator
//! makes (flow, number, length), changed on its way or not; a frame of any bytes.

use super::ETHERNET;
use crate::input::Input;
use crate::sum;
use ringport_examples::reading::{Flows, Found, Frame, Head, Mac, Path, Read, Reader, len_min};
use std::collections::{BTreeSet, HashMap};

const FRAMES_MAX: usize = 200;
const LEN_MAX: usize = 700;
/// Frames behind the latest that are told apart.
const WINDOW: u64 = 1024;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let ethernet = input.u8() & ETHERNET != 0;
    let mut scene = Scene {
        ethernet,
        frame: Frame::new(path(ethernet), LEN_MAX),
        reader: Reader::new(ethernet),
        flows: Flows::default(),
        found: Found::default(),
        oracle: Oracle::default(),
    };
    for _ in 0..FRAMES_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
    }
}

fn path(ethernet: bool) -> Path {
    let macs = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    Path {
        macs: ethernet.then_some(macs),
        from: "10.1.2.3:60000".parse().unwrap(),
        to: "10.4.5.6:9".parse().unwrap(),
    }
}

struct Scene {
    ethernet: bool,
    frame: Frame,
    reader: Reader,
    flows: Flows,
    found: Found,
    oracle: Oracle,
}

impl Scene {
    fn step(&mut self, input: &mut Input<'_>) {
        let how = input.u8();
        if how % 8 == 7 {
            let len = usize::from(input.u8());
            let bytes: Vec<u8> = (0..len).map(|_| input.u8()).collect();
            return self.receive(&bytes);
        }
        let head = self.head(how, input);
        let min = len_min(self.ethernet);
        let len = min + usize::from(input.u16()) % (LEN_MAX - min);
        let mut sent = self.frame.stamp(self.frame.shape(len), head).to_vec();
        self.check_sent(&sent, head);
        if how & 0x40 != 0 {
            let [at, high, value] = input.take().map(usize::from);
            let at = (at + 256 * high) % sent.len();
            sent[at] ^= u8::try_from(value).unwrap();
        }
        if how & 0x80 != 0 {
            let cut = usize::from(input.u8());
            sent.truncate(sent.len().saturating_sub(cut));
        }
        self.receive(&sent);
    }

    fn head(&self, how: u8, input: &mut Input<'_>) -> Head {
        let flow = u16::from(input.u8() % 4);
        let (next, step) = (self.oracle.next(flow), u64::from(input.u8()));
        let number = match how % 8 {
            0..=2 => next + step,
            3 | 4 => next.saturating_sub(step),
            5 => next.saturating_sub(step * 8),
            _ => input.u64(),
        };
        Head { flow, number: number % (1 << 48), sent: step }
    }

    /// What is sent is right by the book, and read back.
    fn check_sent(&self, sent: &[u8], head: Head) {
        let ip = &sent[if self.ethernet { 14 } else { 0 }..];
        assert_eq!(sum::ipv4(ip), 0xffff);
        let [high, low] = u16::try_from(ip.len() - 20).unwrap().to_be_bytes();
        assert_eq!(sum::sum(&[&ip[12..20], &[0, 17, high, low], &ip[20..]]), 0xffff);
        assert_ne!(ip[26..28], [0, 0], "there is a checksum");
        assert_eq!(self.reader.read(sent), Read::Ours { head, whole: true });
    }

    fn receive(&mut self, frame: &[u8]) {
        let read = self.reader.read(frame);
        assert_eq!(read, look_at(frame, self.ethernet));
        if let Read::Ours { head, .. } = read {
            self.flows.take(head.flow, head.number, frame.len(), &mut self.found);
            self.oracle.take(head, frame.len());
            let found = (self.found.packets, self.found.bytes, self.found.lost);
            assert_eq!(found, (self.oracle.packets, self.oracle.bytes, self.oracle.lost));
            let odd = (self.found.duplicated, self.found.reordered);
            assert_eq!(odd, (self.oracle.duplicated, self.oracle.reordered));
        }
    }
}

/// What a frame is, by its layout.
fn look_at(frame: &[u8], ethernet: bool) -> Read {
    let start = if ethernet { 14 } else { 0 };
    let byte = |at: usize| frame.get(start + at).copied();
    let word = |at: usize| {
        byte(at).zip(byte(at + 1)).map(|(high, low)| usize::from(u16::from_be_bytes([high, low])))
    };
    let link = !ethernet || frame.get(12..14) == Some(&[8, 0]);
    if !link || byte(0) != Some(0x45) || byte(9) != Some(17) || word(28) != Some(0x5250) {
        return Read::Other;
    }
    let len = frame.len() - start;
    if len < 46 || word(2) != Some(len) || word(24) != Some(len - 20) {
        return Read::WrongLength;
    }
    let number = |range: std::ops::Range<usize>| {
        range.fold(0, |all: u64, at| all << 8 | u64::from(frame[start + at]))
    };
    let head = Head {
        flow: u16::try_from(number(30..32)).unwrap(),
        number: number(32..38),
        sent: number(38..46),
    };
    let pattern = (46..len).all(|at| usize::from(frame[start + at]) == (at - 46) % 251);
    Read::Ours { head, whole: pattern }
}

/// Every frame that came, by flow.
#[derive(Default)]
struct Oracle {
    flows: HashMap<u16, (u64, BTreeSet<u64>)>,
    packets: u64,
    bytes: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
}

impl Oracle {
    fn next(&self, flow: u16) -> u64 {
        self.flows.get(&flow).map_or(0, |(next, _)| *next)
    }

    fn take(&mut self, head: Head, len: usize) {
        let (next, came) = self.flows.entry(head.flow).or_insert((head.number, BTreeSet::new()));
        if head.number >= *next {
            self.lost += head.number - *next;
            *next = head.number + 1;
        } else {
            if head.number + WINDOW >= *next && came.contains(&head.number) {
                self.duplicated += 1;
                return;
            }
            self.reordered += 1;
            self.lost = self.lost.saturating_sub(1);
        }
        came.insert(head.number);
        (self.packets, self.bytes) = (self.packets + 1, self.bytes + len as u64);
    }
}
