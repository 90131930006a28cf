//! A packet through a memif ring, sent and received by one thread, and forwarded by it.
#![expect(clippy::expect_used, reason = "a benchmark without its link is worth nothing")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringport_bench::workload::{BURST, OneWay, Through};
use ringport_memif::Direction;
use std::time::Duration;

fn loop_back(c: &mut Criterion) {
    let mut group = c.benchmark_group("memif/tx+rx");
    for (name, direction) in [("c2s", Direction::C2s), ("s2c", Direction::S2c)] {
        for frame_len in [64usize, 1518, 9000] {
            let mut way = OneWay::new(direction, frame_len).expect("a link");
            let packets = BURST / frame_len.div_ceil(2048);
            group.throughput(Throughput::Elements(packets as u64));
            group.bench_function(format!("{name}/{frame_len}"), |b| {
                b.iter(|| way.turn().expect("the link is up"));
            });
        }
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("memif/tx+forward+rx");
    for frame_len in [64, 1518] {
        let mut through = Through::new(frame_len).expect("two links");
        group.throughput(Throughput::Elements(BURST as u64));
        group.bench_function(frame_len.to_string(), |b| {
            b.iter(|| through.turn().expect("the links are up"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = loop_back, forward
}
criterion_main!(benches);
