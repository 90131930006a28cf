//! The copy kernels against the library's, in warm private memory.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// Lengths of frames: around the kernels' limits, and what is common.
const LENGTHS: [usize; 14] = [8, 16, 32, 60, 64, 65, 128, 256, 257, 512, 1024, 1518, 2048, 9000];

fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    for len in LENGTHS {
        let (src, mut dst) = (vec![7u8; len], vec![0u8; len]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("kernel/{len}"), |b| {
            b.iter(|| ringport::copy::copy_slice(black_box(&mut dst), black_box(&src)));
        });
        group.bench_function(format!("library/{len}"), |b| {
            b.iter(|| black_box(&mut dst).copy_from_slice(black_box(&src)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(30);
    targets = copies
}
criterion_main!(benches);
