//! The kernel's vhost-vdpa devices as ours, in machines of the lab (verified with kernel 6.12.117 and QEMU
//! 11.1.3): its simulator, which returns what is sent to all, and virtio devices under vp_vdpa, which are on a
//! wire with an interface of the machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "interop_vhost_vdpa/arp.rs"]
mod arp;
mod lab;
#[path = "interop_vhost_vdpa/rig.rs"]
mod rig;
#[path = "interop_vhost_vdpa/virtio.rs"]
mod virtio;

use lab::{Inside, Tier, in_vm};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use rig::{BEGINNING, FEATURES, Rig, is_ready};
use ringport::shm::{Backing, OwnedMemory};
use ringport_vdpa::device::{DeviceMemory, Setup};
use ringport_vdpa::discovery::Discovery;
use ringport_vdpa::{DeviceError, VdpaDevice, VhostVdpa};
use ringport_vhost_user::backend::RingBase;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MAC: &str = "02:00:00:00:00:55";
const MAC_BYTES: [u8; 6] = [2, 0, 0, 0, 0, 0x55];
const LONG: Duration = Duration::from_secs(30);

#[track_caller]
fn open(node: &Path) -> VhostVdpa {
    VhostVdpa::open(node).unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// The simulator, with pages that are locked as for hardware, or not.
fn simulator(inside: &Inside, locks: bool) -> std::path::PathBuf {
    inside.load(&[if locks { "vdpa_sim use_va=0" } else { "vdpa_sim" }]);
    inside.simulator("vdpa0", MAC)
}

#[test]
fn simulator_says_what_it_can_do_and_is_opened_once() {
    in_vm("simulator_says_what_it_can_do_and_is_opened_once", Tier::T2, |inside| {
        let node = simulator(inside, false);
        let device = open(&node);
        println!("{:?}", device.capabilities());
        let can = device.capabilities().clone();
        assert_eq!((can.device_id, can.rings, can.ring_size_max), (1, 3, 256));
        assert!(
            can.features & FEATURES == FEATURES
                && can.translated
                && can.starts_midway
                && can.tells_base
        );
        assert!(!can.locks_memory);
        assert!(device.doorbell(0).is_none());
        let mut mac = [0; 6];
        device.read_config(0, &mut mac).unwrap();
        assert_eq!(mac, MAC_BYTES);
        let beyond = device.read_config(can.config_len - 5, &mut mac).unwrap_err();
        assert!(matches!(beyond, DeviceError::NoConfig { .. }), "{beyond}");

        let busy = VhostVdpa::open(&node).unwrap_err().to_string();
        assert!(busy.contains("/dev/vhost-vdpa-0 cannot be opened: somebody has it"), "{busy}");
        drop(device);
        drop(open(&node));
        let missing = VhostVdpa::open("/dev/vhost-vdpa-7").unwrap_err().to_string();
        assert!(missing.contains("modprobe vhost_vdpa"), "{missing}");
        let found = Discovery::default().by_name("vdpa0").unwrap().unwrap();
        assert_eq!((found.node.as_deref(), found.pci), (Some(&*node), None));
    });
}

#[test]
fn frames_pass_before_and_after_stops_on_the_same_rings() {
    in_vm("frames_pass_before_and_after_stops_on_the_same_rings", Tier::T2, |inside| {
        for locks in [false, true] {
            let node = simulator(inside, locks);
            let mut device = open(&node);
            assert_eq!(device.capabilities().locks_memory, locks);
            let mut rig = Rig::new(64);
            // Before the device listens, which is to hear of it all the same.
            rig.send(&rig::frame(100));
            rig.start(&mut device);
            assert_eq!(rig.receive(|_| true), rig::frame(100));
            let mut bases = BEGINNING;
            for round in 1..=3 {
                // Further than the rings are long.
                (0..100).for_each(|number| rig.bounce(number));
                let stopped = device.stop();
                let at = RingBase::Split { avail: round * 100 + 1 };
                assert_eq!(stopped, [Some(at), Some(at), None]);
                assert_eq!(device.stop(), [None; 3], "it is stopped");
                bases = [at; 2];
                device.start(&rig.setup(bases)).unwrap();
            }
            assert_ne!(bases, BEGINNING);
            drop(device);
            inside.sh("vdpa dev del vdpa0; modprobe -r vdpa_sim_net vdpa_sim");
        }
    });
}

#[test]
fn devices_that_come_and_go_leave_nothing_open() {
    in_vm("devices_that_come_and_go_leave_nothing_open", Tier::T2, |inside| {
        let node = simulator(inside, true);
        let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
        let round = |count| {
            let mut device = open(&node);
            let mut rig = Rig::new(16);
            rig.start(&mut device);
            rig.bounce(count);
            let range = rig.range();
            match count % 3 {
                0 => {
                    device.stop();
                    device.unmap(&[range]).unwrap();
                }
                1 => drop(device.stop()),
                _ => {}
            }
        };
        // Not after a first round: the watch's thread closes its files one after another.
        let before = open_files();
        (0..9).for_each(round);
        inside.wait_for("all to be closed", || (open_files() == before).then_some(()));
        assert_eq!(locked(), 0);
    });
}

#[test]
fn setups_that_are_refused_leave_the_device_as_it_was() {
    in_vm("setups_that_are_refused_leave_the_device_as_it_was", Tier::T2, |inside| {
        let mut device = open(&simulator(inside, false));
        let mut rig = Rig::new(64);
        device.map(&[rig.memory()]).unwrap();
        let with = |features| Setup { features, ..rig.setup(BEGINNING) };
        let more = device.start(&with(FEATURES | 1 << 63)).unwrap_err();
        assert!(matches!(more, DeviceError::Unable(_)), "{more}");
        let past = device.start(&with(1 << 32)).unwrap_err();
        assert!(matches!(past, DeviceError::Unable(_)), "{past}");
        let mut far = with(FEATURES);
        far.rings[0].device_area = 0x4000;
        let outside = device.start(&far).unwrap_err();
        assert!(matches!(outside, DeviceError::BadRing { ring: 0, .. }), "{outside}");
        device.start(&with(FEATURES)).unwrap();
        assert!(matches!(device.start(&with(FEATURES)), Err(DeviceError::Unable(_))));
        rig.bounce(1);
    });
}

#[test]
fn calls_and_kicks_are_exchanged_while_frames_pass() {
    in_vm("calls_and_kicks_are_exchanged_while_frames_pass", Tier::T2, |inside| {
        let mut device = open(&simulator(inside, false));
        let mut rig = Rig::new(64);
        rig.start(&mut device);
        rig.bounce(1);
        let other = rig.setup(BEGINNING).rings;
        let eventfd = || -> Arc<OwnedFd> { Arc::new(File::open("/dev/null").unwrap().into()) };
        assert!(device.set_call(0, &eventfd()).is_err(), "no eventfd");
        for ring in &other {
            device.set_call(ring.index, &ring.call).unwrap();
            device.set_kick(ring.index, &ring.kick).unwrap();
            rig.bounce(2 + u64::from(ring.index));
        }
        assert!(device.set_call(3, &other[0].call).is_err(), "no such ring");
        device.stop();
        assert!(device.set_kick(0, &other[0].kick).is_err(), "it does not run");
    });
}

#[test]
fn memory_beyond_limits_is_refused_with_what_would_raise_them() {
    in_vm("memory_beyond_limits_is_refused_with_what_would_raise_them", Tier::T2, |inside| {
        let mut device = open(&simulator(inside, true));
        let mut rig = Rig::new(64);
        let ours = rig.memory();
        let scattered = scattered(64 << 20);
        let large = DeviceMemory {
            iova: 1 << 40,
            len: scattered.mapping().len() as u64,
            mapping: Arc::clone(scattered.mapping()),
            offset: 0,
        };
        let both = [ours.clone(), large.clone()];

        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
        setrlimit(Resource::RLIMIT_MEMLOCK, 8 << 20, hard).unwrap();
        let lock = device.map(&both).unwrap_err();
        println!("{lock}");
        assert!(matches!(lock, DeviceError::MemoryLock { limit: 0x80_0000, .. }), "{lock}");
        assert_eq!(locked(), 0);

        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
        let many = device.map(&both).unwrap_err();
        println!("{many} {many:?}");
        let max = device.capabilities().mappings_max;
        assert!(matches!(many, DeviceError::TooManyMappings { .. }), "{many} {max:?}");
        assert_eq!(locked(), 0, "nothing is left of it");

        device.map(std::slice::from_ref(&ours)).unwrap();
        assert_eq!(locked(), ours.len);
        let twice = device.map(std::slice::from_ref(&ours)).unwrap_err();
        assert!(matches!(twice, DeviceError::Overlap(_)), "{twice}");
        device.start(&rig.setup(BEGINNING)).unwrap();
        rig.bounce(1);
        device.stop();
        device.unmap(&[rig.range()]).unwrap();
        assert_eq!(locked(), 0);
        assert!(device.unmap(&[rig.range()]).is_err(), "it is not mapped");
        device.map(&[ours]).unwrap();
    });
}

#[test]
fn removal_of_a_running_device_is_told_and_waits_until_it_is_dropped() {
    let test = "removal_of_a_running_device_is_told_and_waits_until_it_is_dropped";
    in_vm(test, Tier::T2, |inside| {
        let mut device = open(&simulator(inside, false));
        let mut rig = Rig::new(64);
        rig.start(&mut device);
        rig.bounce(1);
        assert!(!is_ready(device.gone(), Duration::ZERO));
        assert!(!is_ready(device.config_changed(), Duration::ZERO));
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| inside.sh("vdpa dev del vdpa0"));
            assert!(is_ready(device.gone(), LONG));
            rig.bounce(2);
            assert!(!removal.is_finished());
            drop(device);
            removal.join().unwrap();
        });
        assert_eq!(Discovery::default().devices().unwrap(), []);
    });
}

/// Memory whose neighbouring pages are nowhere near each other.
fn scattered(bytes: usize) -> OwnedMemory {
    let memory = OwnedMemory::create("scattered", bytes, Backing::Pages).unwrap();
    let file: File = memory.fd().try_clone_to_owned().unwrap().into();
    let pages = bytes as u64 / 4096;
    // A step that has no factor with a power of two in common reaches each page once.
    (0..pages).for_each(|n| file.write_all_at(&[1], (n * 8191 % pages) * 4096).unwrap());
    memory
}

/// Bytes that are locked for devices.
fn locked() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPin:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
