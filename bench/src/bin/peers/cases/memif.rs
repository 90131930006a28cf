//! The cases of `peers memif`.

use super::{Case, Entry};
use crate::line_up::{Link, Side};
use crate::rounds::Unit;
use crate::transport::{Transport, Way};
use ringport_bench::frames::HOT_POOL_FRAMES;
use ringport_bench::raw_ring::Shape;

/// All cases, in the order in which they run.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in Way::ALL {
        cases.push(one_way(way));
        cases.push(to_dpdk(way));
        cases.push(from_dpdk(way));
    }
    cases.push(packed_from_dpdk());
    for way in Way::ALL {
        for bytes in [1518, 9000] {
            cases.push(long_frames(way, bytes));
            cases.push(long_hot_frames(way, bytes));
        }
    }
    cases.push(lease_only());
    cases.push(queue_pairs());
    let polling = vec![Entry::RoundTrip { sleeps: false }, Entry::RawRoundTrip, Entry::Words];
    cases.push(Case::new("memif-64B-roundtrip-polling", Unit::NanosPerTrip, polling));
    let sleeping = vec![Entry::RoundTrip { sleeps: true }, Entry::Events];
    cases.push(Case::new("memif-64B-roundtrip-interrupt", Unit::NanosPerTrip, sleeping));
    cases
}

fn link(way: Way, sender: Side, receiver: Side) -> Link {
    Link::new(Transport::Memif, way, sender, receiver)
}

fn name(way: Way) -> &'static str {
    Transport::Memif.way_name(way)
}

fn one_way(way: Way) -> Case {
    let mut entries = vec![
        Entry::Link("ours", link(way, Side::Ours, Side::Ours)),
        Entry::Link("dpdk-copy", link(way, Side::Dpdk, Side::Dpdk)),
    ];
    let zero_copy = match way {
        Way::ToListener => link(way, Side::DpdkZeroCopy, Side::Dpdk),
        Way::ToConnector => link(way, Side::Dpdk, Side::DpdkZeroCopy),
    };
    entries.push(Entry::Link("dpdk-zero-copy", zero_copy));
    entries.push(Entry::Bound("bound", Shape::memif(64)));
    Case::new(format!("memif-64B-{}", name(way)), Unit::Mpps, entries)
}

fn to_dpdk(way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", link(way, Side::Ours, Side::Dpdk)),
        Entry::Link("dpdk", link(way, Side::Dpdk, Side::Dpdk)),
    ];
    Case::new(format!("memif-64B-{}-to-dpdk-receiver", name(way)), Unit::Mpps, entries)
}

fn from_dpdk(way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", link(way, Side::Dpdk, Side::Ours).cycles()),
        Entry::Link("dpdk", link(way, Side::Dpdk, Side::Dpdk).cycles()),
    ];
    Case::new(format!("memif-64B-{}-from-dpdk-sender", name(way)), Unit::Mpps, entries)
}

/// Our buffers lie back to back, as those of DPDK's client do.
fn packed_from_dpdk() -> Case {
    let link = |receiver| link(Way::ToConnector, Side::Dpdk, receiver).cycles();
    let entries =
        vec![Entry::Link("ours", link(Side::Ours).packed()), Entry::Link("dpdk", link(Side::Dpdk))];
    Case::new("memif-64B-s2c-from-dpdk-sender-packed", Unit::Mpps, entries)
}

fn long_frames(way: Way, bytes: u16) -> Case {
    let shape = Shape::memif(usize::from(bytes));
    let entries = vec![
        Entry::Link("ours", link(way, Side::Ours, Side::Ours).frame_len(bytes)),
        Entry::Link("dpdk-copy", link(way, Side::Dpdk, Side::Dpdk).frame_len(bytes)),
        Entry::Bound("bound", shape),
    ];
    Case::new(format!("memif-{bytes}B-{}", name(way)), Unit::Gbps, entries)
}

/// The same with frames that stay in the nearest caches, as those of testpmd's generator do.
fn long_hot_frames(way: Way, bytes: u16) -> Case {
    let shape = Shape { pool_frames: HOT_POOL_FRAMES, ..Shape::memif(usize::from(bytes)) };
    let entries = vec![
        Entry::Link("ours", link(way, Side::Ours, Side::Ours).frame_len(bytes).hot_pool()),
        Entry::Link("dpdk-copy", link(way, Side::Dpdk, Side::Dpdk).frame_len(bytes)),
        Entry::Bound("bound", shape),
    ];
    Case::new(format!("memif-{bytes}B-{}-hot-pool", name(way)), Unit::Gbps, entries)
}

/// Our receiver gives packets back without a look at them.
fn lease_only() -> Case {
    let ours = link(Way::ToListener, Side::Ours, Side::Ours);
    let entries = vec![
        Entry::Link("ours-lease-only", ours.lease_only()),
        Entry::Link("ours-copied-out", ours),
    ];
    Case::new("memif-64B-c2s-lease-only", Unit::Mpps, entries)
}

fn queue_pairs() -> Case {
    let ours = |queues| link(Way::ToListener, Side::Ours, Side::Ours).queues(queues);
    let dpdk = |queues| link(Way::ToListener, Side::Dpdk, Side::Dpdk).queues(queues);
    let entries = vec![
        Entry::Link("ours-4-queues", ours(4)),
        Entry::Link("ours-1-queue", ours(1)),
        Entry::Link("dpdk-4-queues", dpdk(4)),
        Entry::Link("dpdk-1-queue", dpdk(1)),
    ];
    Case::new("memif-64B-4-queues", Unit::Mpps, entries)
}
