//! Replays the seeds and corpora, runs pseudo-random inputs, and lets another thread write in the
//! memory of running queues.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

use ringport_fuzz::{Mutated, TARGETS, mutated_client, mutated_server, seeds};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Pseudo-random inputs of one target, unless the time is up before.
const RANDOM_INPUTS: u32 = 20_000;
const RANDOM_TIME: Duration = Duration::from_secs(2);

/// What a corpus may hold.
const FILES_MAX: usize = 250;
const BYTES_MAX: usize = 300 << 10;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn target(name: &str) -> fn(&[u8]) {
    TARGETS.iter().find(|target| target.0 == name).expect("a target").1
}

/// Name and contents of every file in a corpus.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap());
    let read = |path: PathBuf| (path.display().to_string(), fs::read(path).unwrap());
    let mut files: Vec<_> = entries.map(|entry| read(entry.path())).collect();
    files.sort();
    files
}

/// Says which input failed.
struct Running<'a> {
    target: &'a str,
    input: &'a str,
    data: &'a [u8],
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{} failed with {}: {:02x?}", self.target, self.input, self.data);
        }
    }
}

fn run(name: &str, input: &str, data: &[u8]) {
    let _running = Running { target: name, input, data };
    target(name)(data);
}

fn replay(name: &str) {
    for (seed, data) in seeds::of(name) {
        run(name, seed, &data);
    }
    let files = files(name);
    for (file, data) in &files {
        run(name, file, data);
    }
    let bytes: usize = files.iter().map(|(_, data)| data.len()).sum();
    assert!(files.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files, {bytes} bytes", files.len());
    assert!(files.len() >= seeds::of(name).len() / 4, "is the corpus lost?");
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One seed, or two spliced, with some bytes changed; now and then nothing but noise.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if self.below(16) == 0 {
            return (0..self.below(400)).map(|_| self.byte()).collect();
        }
        let mut data = seeds[self.below(seeds.len())].clone();
        if self.below(2) == 0 {
            let other = &seeds[self.below(seeds.len())];
            data.truncate(self.below(data.len() + 1));
            data.extend_from_slice(&other[self.below(other.len() + 1)..]);
        }
        for _ in 0..self.below(6) {
            let at = self.below(data.len());
            match (self.below(3), data.get_mut(at)) {
                (0, Some(byte)) => *byte = self.byte(),
                (1, Some(byte)) => *byte = byte.wrapping_add(1),
                _ => data.insert(at, self.byte()),
            }
        }
        data
    }
}

fn pseudo_random(name: &str) {
    let seeds: Vec<_> = seeds::of(name).into_iter().map(|(_, data)| data).collect();
    let (start, mut random) = (Instant::now(), Random(1));
    let mut done = 0;
    while done < RANDOM_INPUTS && start.elapsed() < RANDOM_TIME {
        run(name, "a pseudo-random input", &random.input(&seeds));
        done += 1;
    }
    println!("{name}: {done} inputs");
    assert!(done > 0);
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        mod $target {
            #[test]
            fn corpus_passes() {
                super::replay(stringify!($target));
            }

            #[test]
            fn pseudo_random_inputs_pass() {
                super::pseudo_random(stringify!($target));
            }
        }
    )*};
}

targets!(wire control_server control_client memif_listener memif_client ring_server ring_client);
targets!(vhost_messages vhost_device vhost_state vhost_split vhost_packed vhost_notes);
targets!(driver_split driver_packed frontend_messages vhost_driver offloads);
targets!(relay_messages pci_capabilities);
targets!(station dump pktgen port_strings);

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    for (name, _) in TARGETS {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs"));
        assert!(binary.is_file() && corpus(name).is_dir(), "{name}");
        assert!(!seeds::of(name).is_empty(), "{name}");
    }
}

fn check_mutated(done: Mutated) {
    println!("{done:?}");
    assert!(done.links > 0 && done.received > 0 && done.sent > 0, "{done:?}");
}

#[test]
fn server_withstands_memory_that_another_thread_writes() {
    check_mutated(mutated_server(1, Duration::from_secs(1)));
}

#[test]
fn client_withstands_memory_that_another_thread_writes() {
    check_mutated(mutated_client(1, Duration::from_secs(1)));
}

#[test]
#[ignore = "writes the seeds to the corpora"]
fn write_seeds() {
    for (name, _) in TARGETS {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, data) in seeds::of(name) {
            fs::write(corpus(name).join(seed), data).unwrap();
        }
    }
}
