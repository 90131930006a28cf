//! Control messages: encoding and decoding.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringport_bench::workload;
use std::time::Duration;

fn codec(c: &mut Criterion) {
    let message = workload::message();
    let bytes = message.encode();
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |b| b.iter(|| std::hint::black_box(&message).encode()));
    group.bench_function("decode", |b| {
        b.iter(|| ringport_memif::wire::Message::decode(std::hint::black_box(&bytes)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = codec
}
criterion_main!(benches);
