//! The cases of `peers vhost-user`.

use super::{Case, Entry};
use crate::line_up::{Link, Side};
use crate::rounds::Unit;
use crate::transport::{Transport, Way};
use ringport_bench::frames::HOT_POOL_FRAMES;
use ringport_bench::in_thread::Logging;
use ringport_bench::peers::testpmd::DataPath;
use ringport_bench::raw_ring::Shape;
use ringport_bench::virtio::Extent;

/// The paths by which DPDK's driver is compared with others, by ring format.
const FORMATS: [(&str, DataPath); 2] =
    [("split", DataPath::SplitInOrderMergeable), ("packed", DataPath::PackedInOrderMergeable)];

/// Descriptors of rings in one thread: few, so that eight of them still fit the nearest caches.
const IN_THREAD_RING: u16 = 256;

/// All cases, in the order in which they run.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| frames(format, way, 64, Unit::Mpps)));
    }
    cases.extend(FORMATS.map(cycles));
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| bare_driver(format, way)));
    }
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| our_driver(format, way)));
    }
    cases.extend(FORMATS.map(our_driver_cycles));
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| ours_on_both_sides(format, way)));
    }
    cases.extend(FORMATS.map(forwarding));
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| queue_pairs(format, way)));
        cases.extend(FORMATS.map(|format| regions(format, way)));
    }
    cases.extend(FORMATS.map(dpdk_queue_pairs));
    for way in Way::ALL {
        cases.extend(FORMATS.map(|format| dirty_log(format, way)));
    }
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

/// A driver that is faster than DPDK's, so that the device is the bottleneck.
fn bare_driver((format, path): (&str, DataPath), way: Way) -> Case {
    let link = |device| match way {
        Way::ToListener => Link::new(Transport::VhostUser(path), way, Side::Bare, device),
        Way::ToConnector => Link::new(Transport::VhostUser(path), way, device, Side::Bare),
    };
    let name = Transport::VhostUser(path).way_name(way);
    // Sending, testpmd is a generator.
    let entries = vec![
        Entry::Link("ours", link(Side::Ours)),
        Entry::Link("dpdk", link(Side::Dpdk)),
        Entry::Bound("bound", Shape::memif(64)),
    ];
    Case::new(format!("vhost-user-64B-{format}-{name}-bare-driver"), Unit::Mpps, entries)
}

/// Our driver with DPDK's device, beside DPDK's driver with it.
fn our_driver((format, path): (&str, DataPath), way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", driver_of_ours(path, way)),
        Entry::Link("dpdk", dpdk(path, way)),
        Entry::Bound("bound", Shape::memif(64)),
    ];
    let name = Transport::VhostUser(path).way_name(way);
    Case::new(format!("vhost-user-64B-{format}-{name}-our-driver"), Unit::Mpps, entries)
}

/// Cycles that the driver spends on a packet that the device sent.
fn our_driver_cycles((format, path): (&str, DataPath)) -> Case {
    let way = Way::ToConnector;
    let entries = vec![
        Entry::Link("ours", driver_of_ours(path, way).cycles()),
        Entry::Link("dpdk", dpdk(path, way).cycles()),
    ];
    let name = Transport::VhostUser(path).way_name(way);
    Case::new(format!("vhost-user-64B-{format}-{name}-our-driver-cycles"), Unit::Mpps, entries)
}

fn driver_of_ours(path: DataPath, way: Way) -> Link {
    let (sender, receiver) = match way {
        Way::ToListener => (Side::Ours, Side::Dpdk),
        Way::ToConnector => (Side::Dpdk, Side::Ours),
    };
    Link::new(Transport::VhostUser(path), way, sender, receiver)
}

/// Our driver with our device, beside DPDK's two.
fn ours_on_both_sides((format, path): (&str, DataPath), way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", Link::new(Transport::VhostUser(path), way, Side::Ours, Side::Ours)),
        Entry::Link("dpdk", dpdk(path, way)),
        Entry::Bound("bound", Shape::memif(64)),
    ];
    let name = Transport::VhostUser(path).way_name(way);
    Case::new(format!("vhost-user-64B-{format}-{name}-both"), Unit::Mpps, entries)
}

/// From memif to vhost-user.
fn forwarding((format, path): (&str, DataPath)) -> Case {
    let entries = vec![
        Entry::Forwarding("ours", Side::Ours, path),
        Entry::Forwarding("dpdk", Side::Dpdk, path),
    ];
    Case::new(format!("vhost-user-64B-{format}-forward-from-memif"), Unit::Mpps, entries)
}

/// What a packet costs with several queue pairs, all served by one thread.
fn queue_pairs((format, path): (&str, DataPath), way: Way) -> Case {
    let entry = |(name, rings)| (name, Extent { rings, size: IN_THREAD_RING, regions: 1 });
    let each = [("8-pairs", 8), ("1-pair", 1), ("2-pairs", 2), ("4-pairs", 4)];
    in_thread(("queue-pairs", format, path), way, each.map(entry))
}

/// What a packet costs when the driver's buffers lie in several memory regions, from packet to packet
/// in another one.
fn regions((format, path): (&str, DataPath), way: Way) -> Case {
    let entry = |(name, regions)| (name, Extent { rings: 1, size: IN_THREAD_RING, regions });
    let each = [("8-regions", 8), ("1-region", 1), ("2-regions", 2), ("4-regions", 4)];
    in_thread(("regions", format, path), way, each.map(entry))
}

fn in_thread(
    (what, format, path): (&str, &str, DataPath),
    way: Way,
    each: [(&'static str, Extent); 4],
) -> Case {
    let transport = Transport::VhostUser(path);
    let entry =
        |(name, extent)| Entry::InThread(name, way, transport.format(), (extent, Logging::Off));
    let name = transport.way_name(way);
    let entries = each.map(entry).into();
    Case::new(format!("vhost-user-64B-{format}-{name}-{what}"), Unit::Cycles, entries)
}

/// What the dirty log of a migration costs a packet.
fn dirty_log((format, path): (&str, DataPath), way: Way) -> Case {
    let transport = Transport::VhostUser(path);
    let each = [("kept", Logging::Kept), ("off", Logging::Off), ("taken", Logging::Taken)];
    let extent = Extent { rings: 1, size: IN_THREAD_RING, regions: 1 };
    let entry = |(name, logging)| Entry::InThread(name, way, transport.format(), (extent, logging));
    let name = format!("vhost-user-64B-{format}-{}-dirty-log", transport.way_name(way));
    Case::new(name, Unit::Cycles, each.map(entry).into())
}

/// As [`queue_pairs`], with DPDK's driver on another core.
fn dpdk_queue_pairs((format, path): (&str, DataPath)) -> Case {
    let way = Way::ToListener;
    // More than four pairs want more buffers than testpmd makes here.
    let each = [("4-pairs", 4), ("1-pair", 1), ("2-pairs", 2)];
    let entry = |(name, pairs)| Entry::Link(name, ours(path, way).cycles().queues(pairs));
    let name = Transport::VhostUser(path).way_name(way);
    let entries = each.map(entry).into();
    Case::new(format!("vhost-user-64B-{format}-{name}-dpdk-queue-pairs"), Unit::Cycles, entries)
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
