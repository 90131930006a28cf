//! The cases of `peers vhost-user`.

use super::{Case, Entry};
use crate::line_up::{Link, Side};
use crate::rounds::Unit;
use crate::transport::{Transport, Way};
use ringport_bench::frames::HOT_POOL_FRAMES;
use ringport_bench::peers::testpmd::DataPath;
use ringport_bench::raw_ring::Shape;

/// The paths by which DPDK's driver is compared with others, by ring format.
const FORMATS: [(&str, DataPath); 2] =
    [("split", DataPath::SplitInOrderMergeable), ("packed", DataPath::PackedInOrderMergeable)];

/// All cases, in the order in which they run.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| frames(format, way, 64, Unit::Mpps)));
    }
    cases.extend(FORMATS.map(cycles));
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| frames(format, way, 1518, Unit::Gbps)));
    }
    for way in Way::ALL {
        cases.push(split_paths(way));
        cases.push(packed_paths(way));
    }
    cases
}

fn dpdk(path: DataPath, way: Way) -> Link {
    Link::new(Transport::VhostUser(path), way, Side::Dpdk, Side::Dpdk)
}

/// Our device with DPDK's driver.
fn ours(path: DataPath, way: Way) -> Link {
    let (sender, receiver) = match way {
        Way::ToListener => (Side::Dpdk, Side::Ours),
        Way::ToConnector => (Side::Ours, Side::Dpdk),
    };
    Link::new(Transport::VhostUser(path), way, sender, receiver)
}

/// Cycles that the device spends on a packet that the driver sent.
fn cycles((format, path): (&str, DataPath)) -> Case {
    let way = Way::ToListener;
    let entries = vec![
        Entry::Link("ours", ours(path, way).cycles()),
        Entry::Link("dpdk", dpdk(path, way).cycles()),
    ];
    let name = Transport::VhostUser(path).way_name(way);
    Case::new(format!("vhost-user-64B-{format}-{name}-cycles"), Unit::Mpps, entries)
}

fn frames((format, path): (&str, DataPath), way: Way, bytes: u16, unit: Unit) -> Case {
    let shape = Shape::memif(usize::from(bytes));
    let mut entries = vec![
        Entry::Link("ours", ours(path, way).frame_len(bytes)),
        Entry::Link("dpdk", dpdk(path, way).frame_len(bytes)),
        Entry::Bound("bound", shape),
    ];
    if bytes > 64 {
        // testpmd's frames stay in the nearest cache.
        let shape = Shape { pool_frames: HOT_POOL_FRAMES, ..shape };
        entries.push(Entry::Bound("bound-hot-pool", shape));
    }
    let name = Transport::VhostUser(path).way_name(way);
    Case::new(format!("vhost-user-{bytes}B-{format}-{name}"), unit, entries)
}

/// DPDK's paths beside each other: which one is the fastest here.
fn split_paths(way: Way) -> Case {
    let paths = [
        ("in-order-mergeable", DataPath::SplitInOrderMergeable),
        ("mergeable", DataPath::SplitMergeable),
        ("in-order", DataPath::SplitInOrder),
        ("plain", DataPath::SplitPlain),
        ("vector", DataPath::SplitVector),
    ];
    paths_beside_each_other("split", &paths, way)
}

fn packed_paths(way: Way) -> Case {
    let paths = [
        ("in-order-mergeable", DataPath::PackedInOrderMergeable),
        ("mergeable", DataPath::PackedMergeable),
        ("in-order", DataPath::PackedInOrder),
        ("plain", DataPath::PackedPlain),
        ("vector", DataPath::PackedVector),
    ];
    paths_beside_each_other("packed", &paths, way)
}

fn paths_beside_each_other(format: &str, paths: &[(&'static str, DataPath)], way: Way) -> Case {
    let here = paths.iter().filter(|(_, path)| path.runs_here());
    let entries = here.map(|(name, path)| Entry::Link(name, dpdk(*path, way))).collect();
    let name = Transport::VhostUser(paths[0].1).way_name(way);
    Case::new(format!("vhost-user-64B-dpdk-paths-{format}-{name}"), Unit::Mpps, entries)
}
