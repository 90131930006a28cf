//! The memif rings of another process, read where they are mapped. A ring starts with a cookie, which
//! is how it is found; nothing is written, and the process notices nothing.

use super::show::Ring;
use crate::log::Log;
use crate::signals::Signals;
use crate::wait;
use anyhow::{Context, bail};
use ringport::ring_view::RingView;
use ringport_memif::wire::COOKIE;
use serde::Serialize;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Bytes of a mapping that are searched: rings come first, and no link has more of them.
const SEARCHED_MAX: u64 = 64 << 20;

/// Rings start on lines of at least so many bytes.
const LINE: usize = 64;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// What is said.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "look")]
struct Outside {
    pid: u32,
    rings: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    /// The mapping's name.
    memory: String,
    /// Bytes from its start.
    offset: u64,
    ring: Ring,
}

/// Shared memory of the process.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    len: u64,
    name: String,
}

pub(super) fn run(
    pid: u32,
    every: Option<Duration>,
    mut looks: Option<u64>,
    log: Log,
) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    loop {
        let rings = rings_of(pid)?;
        if rings.is_empty() {
            bail!("process {pid} has no memif rings; is its link up?");
        }
        let look = Outside { pid, rings };
        log.say(&look, || look.text())?;
        looks = looks.map(|left| left - 1);
        if looks == Some(0) {
            return Ok(());
        }
        let [signal] = wait::readable([signals.as_fd()], &[], every)?;
        if signal {
            return Ok(());
        }
    }
}

impl Outside {
    fn text(&self) -> String {
        let line = |found: &Found| {
            format!("{} at {:#x}: {}", found.memory, found.offset, found.ring.text())
        };
        self.rings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn rings_of(pid: u32) -> anyhow::Result<Vec<Found>> {
    let (maps, memory) = (format!("/proc/{pid}/maps"), format!("/proc/{pid}/mem"));
    let maps = std::fs::read_to_string(&maps).with_context(|| {
        format!("cannot read {maps}: is there such a process, and have you a debugger's rights?")
    })?;
    let memory = File::open(&memory)
        .with_context(|| format!("cannot open {memory}: this needs a debugger's rights"))?;
    let mut found = Vec::new();
    for mapping in maps.lines().filter_map(shared) {
        for (offset, view) in search(&memory, &mapping) {
            let (memory, ring) = (mapping.name.clone(), Ring::from(view));
            found.push(Found { memory, offset, ring });
        }
    }
    Ok(found)
}

/// A line of `maps` that is shared memory which the process writes.
fn shared(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    if !permissions.starts_with("rw") || !permissions.ends_with('s') {
        return None;
    }
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let name = words.skip(3).collect::<Vec<_>>().join(" ");
    Some(Mapping { start, len: end.checked_sub(start)?, name })
}

/// The rings in a mapping, with their offsets. What cannot be read is left out: it may go at any time.
fn search(memory: &File, mapping: &Mapping) -> Vec<(u64, RingView)> {
    let mut starts = Vec::new();
    let mut piece = vec![0; PIECE];
    for at in (0..mapping.len.min(SEARCHED_MAX)).step_by(PIECE) {
        let len = usize::try_from(mapping.len - at).unwrap_or(PIECE).min(PIECE);
        if memory.read_exact_at(&mut piece[..len], mapping.start + at).is_err() {
            break;
        }
        let lines = piece[..len].chunks_exact(LINE).enumerate();
        starts.extend(lines.filter_map(|(line, bytes)| {
            let offset = at + (line * LINE) as u64;
            (bytes[..4] == COOKIE.to_ne_bytes()).then_some(offset)
        }));
    }
    let rings = starts.iter().enumerate().filter_map(|(at, &start)| {
        // Rings of a link are equally long and follow each other; the last is as long as the others.
        let room =
            match (starts.get(at + 1), at.checked_sub(1).and_then(|before| starts.get(before))) {
                (Some(next), _) => next - start,
                (None, Some(before)) => start - before,
                (None, None) => mapping.len - start,
            };
        view(memory, mapping.start + start, usize::try_from(room).ok()?).map(|view| (start, view))
    });
    rings.collect()
}

/// A ring at `address` that has `room` bytes at most.
fn view(memory: &File, address: u64, room: usize) -> Option<RingView> {
    let (line, size) = shape(room)?;
    let word = |offset: usize| {
        let mut bytes = [0; 2];
        memory.read_exact_at(&mut bytes, address + offset as u64).ok()?;
        Some(u16::from_ne_bytes(bytes))
    };
    let words = vec![("head", word(6)?), ("tail", word(line)?), ("flags", word(4)?)];
    Some(RingView { layout: "memif", size, words })
}

/// Bytes of a line, and slots, of a ring that takes `room` bytes: two lines and the descriptors.
fn shape(room: usize) -> Option<(usize, u16)> {
    let slots = |line: usize| room.checked_sub(2 * line).map(|bytes| bytes / DESCRIPTOR);
    for line in [64, 128] {
        let exact = slots(line).filter(|slots| slots.is_power_of_two());
        if let Some(size) = exact.and_then(|slots| u16::try_from(slots).ok()) {
            return Some((line, size));
        }
    }
    // There is more behind it: the longest ring that fits.
    let slots = slots(64)?.checked_ilog2()?;
    Some((64, 1 << slots.min(14)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_memory_that_is_written_is_searched() {
        let line = "7f00-8f00 rw-s 00000000 00:01 12 /memfd:ringport-memif (deleted)";
        let name = "/memfd:ringport-memif (deleted)".into();
        assert_eq!(shared(line), Some(Mapping { start: 0x7f00, len: 0x1000, name }));
        assert_eq!(shared("7f00-8f00 rw-p 00000000 00:01 12"), None);
        assert_eq!(shared("7f00-8f00 r--s 00000000 00:01 12"), None);
        assert_eq!(shared("8f00-7f00 rw-s 00000000 00:01 12"), None);
        assert_eq!(shared("x"), None);
    }

    #[test]
    fn shape_of_a_ring_follows_from_the_room_that_it_has() {
        assert_eq!(shape(128 + 16 * 1024), Some((64, 1024)));
        assert_eq!(shape(256 + 16 * 1024), Some((128, 1024)));
        assert_eq!(shape(128 + 16), Some((64, 1)));
        assert_eq!(shape(65536), Some((64, 2048)));
        assert_eq!(shape(100), None);
    }
}
