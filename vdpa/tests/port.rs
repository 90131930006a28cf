//! A port on a fake device that works, and on some that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use relay_support::{Fake, FakeConfig, Handle, PATIENCE, Told, exchange_on};
use ringport::error::QueueError;
use ringport_bench::interop::census::Census;
use ringport_vdpa::device::VdpaDevice;
use ringport_vdpa::port::{DownReason, PortError};
use ringport_vdpa::{
    DeviceError, DeviceName, OpenError, Opener, Port, PortConfig, PortEvent, PortLink,
};
use ringport_vhost_user::wire::feature;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Devices that are opened one after the other. Without any there is none.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Fake>>>);

impl Shelf {
    fn put(&self, config: FakeConfig) -> Handle {
        let (fake, handle) = Fake::new(config);
        self.0.lock().unwrap().insert(0, fake);
        handle
    }

    /// A port that takes its devices from here.
    fn port(&self, items: &str) -> Port {
        let config: PortConfig = format!("vdpa:/nowhere{items}").parse().unwrap();
        Port::with_opener(config, self.clone()).unwrap()
    }
}

impl Opener for Shelf {
    fn open(&self, _: &DeviceName) -> Result<Box<dyn VdpaDevice>, OpenError> {
        let fake = self.0.lock().unwrap().pop().ok_or(DeviceError::Unable("be found"))?;
        Ok(Box::new(fake))
    }
}

/// What happens next to a port that has something to report.
#[track_caller]
fn next(port: &mut Port) -> PortEvent {
    port.poll(Some(PATIENCE)).unwrap().expect("nothing happened")
}

#[track_caller]
fn link_up(port: &mut Port) -> PortLink {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match next(port) {
            PortEvent::LinkUp(link) => return *link,
            PortEvent::Refused(_) => assert!(Instant::now() < deadline, "no link"),
            other => panic!("no link: {other:?}"),
        }
    }
}

#[track_caller]
fn link_down(port: &mut Port) -> DownReason {
    match next(port) {
        PortEvent::LinkDown(reason) => reason,
        other => panic!("it is not down: {other:?}"),
    }
}

#[track_caller]
fn swap_packets(link: &mut PortLink, device: &Handle) {
    exchange_on((&mut link.rx[0], &mut link.tx[0]), device, 50);
}

fn is_readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(patience).unwrap()).unwrap() == 1
}

const SOON: &str = ",reconnect=1ms-10ms";
const NEVER: &str = ",reconnect=never";

#[test]
fn packets_pass_both_ways_on_both_kinds_of_rings() {
    for (packed, items) in
        [(false, ""), (true, ""), (false, ",packed=off"), (true, ",rx-mode=polling")]
    {
        let shelf = Shelf::default();
        let mut config = FakeConfig::default();
        if packed || items == ",packed=off" {
            config.capabilities.features |= feature::RING_PACKED;
        }
        let device = shelf.put(config);
        let mut port = shelf.port(items);
        let mut link = link_up(&mut port);
        let parameters = &link.parameters;
        assert_eq!((&*parameters.device, parameters.packed), ("fake", packed));
        assert_eq!((parameters.ring_sizes, parameters.buffer_size), ([256; 2], 2048));
        assert_eq!(parameters.mac, Some([2, 0, 0, 0, 0, 1]), "from the device");
        assert!(parameters.carrier && parameters.mtu.is_none());
        swap_packets(&mut link, &device);
        let calls = device.calls();
        let [Told::Map(ranges), Told::Start { features, rings: 2 }] = &calls[..] else {
            panic!("{calls:?}")
        };
        assert_eq!(*features, link.parameters.features);
        assert_eq!(ranges.len(), 1, "all memory is in one range");
        assert!(*ranges[0].start() > 0);
    }
}

#[test]
fn device_is_opened_by_the_first_poll_which_the_descriptor_asks_for() {
    let shelf = Shelf::default();
    let device = shelf.put(FakeConfig::default());
    let mut port = shelf.port("");
    assert!(is_readable(port.as_fd(), PATIENCE) && !device.runs());
    let link = link_up(&mut port);
    assert!(device.runs());
    assert!(!is_readable(port.as_fd(), Duration::ZERO), "there is nothing to do");
    device.yank();
    assert!(is_readable(port.as_fd(), PATIENCE));
    assert!(matches!(link_down(&mut port), DownReason::Gone));
    drop(link);
}

#[test]
fn call_of_the_device_wakes_who_waits_for_packets() {
    let shelf = Shelf::default();
    let device = shelf.put(FakeConfig::default());
    let mut port = shelf.port("");
    let mut link = link_up(&mut port);
    let rx = &mut link.rx[0];
    assert!(rx.rx_burst(1).unwrap().is_empty() && !rx.arm().unwrap());
    assert!(!is_readable(rx.as_fd(), Duration::ZERO));
    assert_eq!(device.send(&[vec![7; 60]]), 1);
    assert!(is_readable(rx.as_fd(), PATIENCE));
    let packet = rx.rx_burst(1).unwrap().packets().next().map(|packet| packet.detach().to_vec());
    assert_eq!(packet, Some(vec![7; 60]));
}

#[test]
fn device_that_goes_is_closed_and_the_next_one_is_taken() {
    let shelf = Shelf::default();
    let mut port = shelf.port(SOON);
    let mut census: Option<Census> = None;
    for round in 0..20 {
        let device = shelf.put(FakeConfig::default());
        let mut link = link_up(&mut port);
        swap_packets(&mut link, &device);
        device.yank();
        assert!(matches!(link_down(&mut port), DownReason::Gone));
        assert!(device.is_closed(), "round {round}");
        assert_eq!(link.rx[0].rx_burst(1).err(), Some(QueueError::LinkDown));
        assert_eq!(link.tx[0].tx_burst(1).err(), Some(QueueError::LinkDown));
        drop((link, device));
        census.get_or_insert_with(Census::take).compare().unwrap();
    }
}

#[test]
fn port_that_is_to_try_once_is_finished_after_that() {
    let shelf = Shelf::default();
    let mut port = shelf.port(NEVER);
    let PortEvent::Refused(reason) = next(&mut port) else { panic!("there is no device") };
    assert_eq!(reason.to_string(), "the device cannot be found");
    assert!(port.is_finished() && port.poll(None).unwrap().is_none());

    let device = shelf.put(FakeConfig::default());
    let mut port = shelf.port(NEVER);
    let _link = link_up(&mut port);
    assert!(!port.is_finished());
    device.yank();
    link_down(&mut port);
    assert!(port.is_finished() && port.poll(None).unwrap().is_none());
}

#[test]
fn wait_for_a_link_returns_the_last_refusal_when_its_time_is_over() {
    let shelf = Shelf::default();
    let refused = shelf.port(SOON).wait_link_up(Duration::from_millis(50)).unwrap_err();
    let PortError::Open(OpenError::Device(why)) = refused else { panic!("{refused}") };
    assert!(matches!(why, DeviceError::Unable("be found")), "{why}");
    let _device = shelf.put(FakeConfig::default());
    let mut port = shelf.port(SOON);
    let _link = port.wait_link_up(PATIENCE).unwrap();
    let waited = port.wait_link_up(Duration::from_millis(10)).unwrap_err();
    assert!(matches!(waited, PortError::Timeout { .. }), "{waited}");
}

#[test]
fn changes_of_the_configuration_are_reported_once_each() {
    let shelf = Shelf::default();
    let mut config = FakeConfig::default();
    config.capabilities.features |= feature::MTU;
    config.space[10..12].copy_from_slice(&1500_u16.to_le_bytes());
    let device = shelf.put(config);
    let mut port = shelf.port("");
    let link = link_up(&mut port);
    assert_eq!(link.parameters.mtu, Some(1500));
    device.config_changes(|space| space[6] = 0);
    assert!(matches!(next(&mut port), PortEvent::Carrier(false)));
    device.config_changes(|space| space[6] = 1);
    assert!(matches!(next(&mut port), PortEvent::Carrier(true)));
    device.config_changes(|space| space[10..12].copy_from_slice(&9000_u16.to_le_bytes()));
    assert!(matches!(next(&mut port), PortEvent::Mtu(9000)));
    // The same again, and an MTU that nobody can have.
    device.config_changes(|_| {});
    device.config_changes(|space| space[10..12].copy_from_slice(&[67, 0]));
    assert!(port.poll(Some(Duration::from_millis(20))).unwrap().is_none());
    // A device that cannot be asked any more is given up.
    device.config_changes(|space| space.truncate(6));
    let reason = link_down(&mut port).to_string();
    assert!(reason.contains("the configuration has 6 bytes"), "{reason}");
    assert!(device.is_closed());
}

#[test]
fn device_that_breaks_a_ring_is_closed_and_may_come_again() {
    let shelf = Shelf::default();
    let device = shelf.put(FakeConfig::default());
    let mut port = shelf.port(&format!("{SOON},packed=off"));
    let mut link = link_up(&mut port);
    device.break_ring(0);
    let found = link.rx[0].rx_burst(8).map(|burst| burst.len()).unwrap_err();
    let DownReason::Fault(fault) = link_down(&mut port) else { panic!("no fault") };
    assert_eq!(fault, found);
    assert_eq!(link.tx[0].tx_burst(1).err(), Some(fault), "the whole link is down");
    assert!(device.is_closed());
    let device = shelf.put(FakeConfig::default());
    swap_packets(&mut link_up(&mut port), &device);
}

#[test]
fn device_that_is_none_for_a_port_is_refused_with_the_reason_and_closed() {
    type Change = fn(&mut FakeConfig);
    let cases: [(Change, &str); 9] = [
        (|it| it.capabilities.device_id = 2, "of kind 2"),
        (|it| it.capabilities.rings = 1, "takes 2 rings"),
        (|it| it.capabilities.ring_size_max = 0, "rings have 0 entries"),
        (|it| it.capabilities.features &= !feature::VERSION_1, "before virtio 1"),
        (|it| it.capabilities.translated = true, "past the IOMMU"),
        (|it| it.capabilities.iova = vec![0x1000..=0xffff], "out of the device's reach"),
        (|it| it.space.truncate(7), "the configuration has 7 bytes"),
        (|it| it.mappings = 0, "up to 1 mappings"),
        (|it| it.starts = false, "refuses features"),
    ];
    for (change, reason) in cases {
        let shelf = Shelf::default();
        let mut config = FakeConfig::default();
        change(&mut config);
        let device = shelf.put(config);
        let mut port = shelf.port(SOON);
        let PortEvent::Refused(refused) = next(&mut port) else { panic!("{reason}: a link") };
        assert!(refused.to_string().contains(reason), "{refused}");
        assert!(device.is_closed(), "{reason}");
        // The next one is taken for what it is.
        let device = shelf.put(FakeConfig::default());
        swap_packets(&mut link_up(&mut port), &device);
    }
}

#[test]
fn memory_is_where_the_device_reaches_and_rings_are_as_long_as_it_takes() {
    let shelf = Shelf::default();
    let mut config = FakeConfig::default();
    config.capabilities.iova = vec![0..=0xffff, 0x10_0000..=0xfedf_ffff];
    config.capabilities.ring_size_max = 100;
    let device = shelf.put(config);
    let mut port = shelf.port("");
    let mut link = link_up(&mut port);
    assert_eq!(link.parameters.ring_sizes, [64; 2]);
    let mapped = device.mapped();
    assert_eq!(mapped.len(), 1);
    assert_eq!(*mapped[0].start(), 0x20_0000);
    swap_packets(&mut link, &device);
}

#[test]
fn port_that_is_dropped_closes_its_device_and_the_queues_say_so() {
    let shelf = Shelf::default();
    let device = shelf.put(FakeConfig::default());
    let mut port = shelf.port("");
    let mut link = link_up(&mut port);
    drop(port);
    assert!(device.is_closed());
    assert_eq!(link.rx[0].rx_burst(1).err(), Some(QueueError::LinkDown));
    assert_eq!(link.tx[0].tx_burst(1).err(), Some(QueueError::LinkDown));
}

#[test]
fn port_of_a_device_that_is_not_there_says_what_would_help() {
    let refused = |port: &str| {
        let mut port = Port::open(port).unwrap();
        match next(&mut port) {
            PortEvent::Refused(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let node = refused("vdpa:/nowhere/vhost-vdpa-0");
    assert!(
        node.contains("/nowhere/vhost-vdpa-0 cannot be opened: a vDPA device has a node"),
        "{node}"
    );
    let function = refused("vdpa:ffff:1f:1f.7");
    assert!(function.contains("no PCI function ffff:1f:1f.7: lspci -D lists"), "{function}");
    let odd = PortConfig { ring_size: 100, ..PortConfig::new("01:00.1".parse().unwrap()) };
    assert!(matches!(Port::new(odd), Err(PortError::Config(_))));
}
