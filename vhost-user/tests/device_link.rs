//! A device with sockets: links that come and go, and changes while they run.
//!
//! Spec: vhost-user "Ring states", "Starting and stopping rings", "Memory slots".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Front, Guest, PATIENCE, Place, Served, eventually, frame, receive, send};
use ringport::error::QueueError;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::wire::Message;
use ringport_vhost_user::{Device, DeviceConfig, DownReason, Event};
use std::os::unix::net::UnixListener;
use std::time::Duration;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

fn config() -> DeviceConfig {
    DeviceConfig::default()
}

#[test]
fn link_is_up_once_a_pair_runs_and_packets_go_both_ways() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!((link.rx.len(), link.tx.len()), (1, 1));
    assert_eq!(link.parameters.ring_sizes, [64, 64]);
    assert!(!link.parameters.packed);
    let sent: Vec<_> = (0..200).map(|n| frame(60 + 7 * n as usize, n)).collect();
    for (at, packet) in sent.iter().enumerate() {
        let (ring, guest) = front.sending();
        ring.send(guest, packet);
        let got = receive(&mut link.rx[0], 1);
        assert_eq!(&got[0], packet, "packet {at} from the driver");
        let (ring, guest) = front.receiving();
        ring.provide(guest);
        send(&mut link.tx[0], std::slice::from_ref(packet));
        assert_eq!(&ring.receive(guest, 1)[0], packet, "packet {at} to the driver");
    }
}

#[test]
fn queues_of_all_pairs_are_there_and_pairs_that_run_are_counted() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig { queue_pairs: 2, ..config() });
    let mut front = Front::connect(&place, 2);
    front.share();
    front.start_pair(0);
    let mut link = device.link_up();
    assert_eq!((link.rx.len(), link.tx.len()), (2, 2));
    assert_eq!(device.pairs_enabled(), 1);
    assert_eq!(link.tx[1].tx_burst(1).unwrap().free(), 0, "nobody is there");
    front.start_pair(1);
    assert_eq!(device.pairs_enabled(), 2);
    front.rings[2].provide(&front.guest);
    send(&mut link.tx[1], &[frame(100, 1)]);
    assert_eq!(front.rings[2].receive(&front.guest, 1), [frame(100, 1)]);
    front.vhost.set_vring_enable(3, false).unwrap();
    assert_eq!(device.pairs_enabled(), 1);
}

#[test]
fn front_end_that_leaves_ends_the_link_and_the_next_gets_new_queues() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    for _ in 0..20 {
        let mut front = Front::running(&place, 1);
        let mut link = device.link_up();
        let (ring, guest) = front.sending();
        ring.send(guest, &frame(64, 9));
        assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 9)]);
        drop(front);
        assert!(matches!(device.link_down(), DownReason::PeerClosed));
        assert_eq!(link.rx[0].rx_burst(1).unwrap_err(), QueueError::LinkDown);
        assert_eq!(link.tx[0].tx_burst(1).unwrap_err(), QueueError::LinkDown);
    }
}

#[test]
fn second_front_end_waits_until_the_first_has_left() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let first = Front::running(&place, 1);
    let _link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let path = place.path.clone();
    let second = std::thread::spawn(move || {
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        let mut front = Front::new(stream, 1, 1 << 32 | 1 << 30);
        front.share();
        front.start_pair(0);
        front
    });
    assert!(device.happened().is_none());
    drop(first);
    assert!(matches!(device.link_down(), DownReason::PeerClosed));
    let _link = device.link_up();
    drop(second.join().unwrap());
}

#[test]
fn device_that_connects_does_so_again_when_the_link_is_lost() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.path).unwrap();
    let reconnect = ringport::retry::Reconnect::Backoff {
        initial: Duration::from_millis(5),
        max: Duration::from_millis(20),
    };
    let device = Device::open(&place.address(), SocketRole::Connect(reconnect), config()).unwrap();
    let device = Served::new(device);
    for _ in 0..3 {
        let mut front = Front::new(listener.accept().unwrap().0, 1, 1 << 32 | 1 << 30);
        front.share();
        front.start_pair(0);
        let _link = device.link_up();
        drop(front);
        assert!(matches!(device.link_down(), DownReason::PeerClosed));
    }
}

#[test]
fn stopped_ring_says_where_it_was_and_goes_on_there() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    for round in 0..5_u16 {
        for n in 0..7 {
            let (ring, guest) = front.sending();
            ring.send(guest, &frame(64, n));
        }
        assert_eq!(receive(&mut link.rx[0], 7).len(), 7);
        let base = front.vhost.get_vring_base(1).unwrap();
        assert_eq!(base, u32::from(7 * (round + 1)));
        assert!(link.rx[0].rx_burst(1).unwrap().is_empty(), "stopped");
        front.start_ring(1, u16::try_from(base).unwrap()).unwrap();
    }
}

#[test]
fn open_burst_holds_back_the_answer_to_stop_and_is_given_back_first() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 1));
    eventually("the packet is there", || link.rx[0].rx_burst(1).unwrap().packets().count() == 1);
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 2));
    let mut burst = link.rx[0].rx_burst(1).unwrap();
    while burst.is_empty() {
        drop(burst);
        burst = link.rx[0].rx_burst(1).unwrap();
    }
    let stop = std::thread::spawn(move || {
        let base = front.vhost.get_vring_base(1);
        (front, base)
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!stop.is_finished(), "answered while a burst was open");
    drop(burst);
    let (front, base) = stop.join().unwrap();
    let base = base.unwrap();
    assert_eq!(base, u32::from(front.rings[1].used_index(&front.guest)));
}

#[test]
fn burst_held_beyond_the_limit_ends_the_connection() {
    let place = Place::new();
    let answer_timeout = Duration::from_millis(100);
    let device = Served::listen(&place, DeviceConfig { answer_timeout, ..config() });
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    let (ring, guest) = front.receiving();
    ring.provide(guest);
    let burst = link.tx[0].tx_burst(1).unwrap();
    assert_eq!(burst.free(), 1);
    assert!(front.vhost.get_vring_base(0).is_err(), "the connection is gone");
    assert!(matches!(device.link_down(), DownReason::Protocol(_)));
    drop(burst);
    assert_eq!(link.tx[0].tx_burst(1).unwrap_err(), QueueError::LinkDown);
}

#[test]
fn memory_that_is_replaced_under_traffic_loses_nothing() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    for generation in 1..20_u32 {
        for n in 0..5 {
            let (ring, guest) = front.sending();
            ring.send(guest, &frame(200, generation + n));
        }
        // Two are received from the old memory, three from the new one.
        let mut got = Vec::new();
        while got.len() < 2 {
            let burst = link.rx[0].rx_burst(2 - got.len()).unwrap();
            got.extend(burst.packets().map(|packet| packet.detach().to_vec()));
        }
        front.guest = front.guest.copy(u64::from(generation % 3) * 0x1000);
        front.share();
        got.extend(receive(&mut link.rx[0], 3));
        let wanted: Vec<_> = (0..5).map(|n| frame(200, generation + n)).collect();
        assert_eq!(got, wanted);
        let (ring, guest) = front.receiving();
        ring.provide(guest);
        send(&mut link.tx[0], &[frame(1000, generation)]);
        assert_eq!(ring.receive(guest, 1), [frame(1000, generation)]);
        let (ring, guest) = front.sending();
        ring.wait_used(guest);
    }
}

#[test]
fn memory_without_a_running_ring_is_refused_and_the_old_one_stays() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let elsewhere = Guest::new();
    let mut region = elsewhere.region();
    region.userspace_addr += 0x1000_0000_0000;
    assert!(front.vhost.set_mem_table(&[region]).is_err());
    assert!(matches!(device.next(), Event::RequestRefused(_)));
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 5));
    assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 5)]);
}

#[test]
fn region_can_be_added_and_removed_while_rings_run() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    let more = Guest::new();
    let mut region = more.region();
    region.guest_phys_addr += 0x1000_0000;
    region.userspace_addr += 0x1000_0000;
    front.vhost.add_mem_region(&region).unwrap();
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 5));
    assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 5)]);
    front.vhost.remove_mem_region(&region).unwrap();
    let own = front.guest.region();
    assert!(front.vhost.remove_mem_region(&own).is_err(), "rings lie in it");
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 6));
    assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 6)]);
}

#[test]
fn disabled_ring_throws_away_what_the_driver_sends() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    front.vhost.set_vring_enable(1, false).unwrap();
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 5));
    eventually("the packet is used", || {
        assert!(link.rx[0].rx_burst(1).unwrap().is_empty());
        let (ring, guest) = front.sending();
        ring.used_index(guest) == 1
    });
    front.vhost.set_vring_enable(1, true).unwrap();
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 6));
    assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 6)]);
}

#[test]
fn sleeping_thread_is_woken_by_packets_and_by_another_kick() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut rx = device.link_up().rx.remove(0);
    let sleep = |rx: &mut ringport_vhost_user::RxQueue| {
        while !rx.arm().unwrap() {
            let mut set = [PollFd::new(std::os::fd::AsFd::as_fd(rx), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).unwrap();
            assert!(poll(&mut set, patience).unwrap() > 0, "slept through it");
        }
    };
    for n in 0..10 {
        let (sender, sent) = (&mut front.rings[1], &front.guest);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(2));
                sender.send(sent, &frame(64, n));
            });
            sleep(&mut rx);
        });
        assert_eq!(receive(&mut rx, 1), [frame(64, n)]);
        front.rings[1].kick = EventFd::new(EFD_NONBLOCK).unwrap();
        front.vhost.set_vring_kick(1, &front.rings[1].kick).unwrap();
    }
}

#[test]
fn new_call_is_rung_once_and_then_used() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    let call = EventFd::new(EFD_NONBLOCK).unwrap();
    front.vhost.set_vring_call(1, &call).unwrap();
    eventually("the new call is rung", || call.read().is_ok());
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 1));
    receive(&mut link.rx[0], 1);
    eventually("it is used", || call.read().is_ok());
}

#[test]
fn reset_stops_every_ring() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    front.vhost.reset_device().unwrap();
    assert_eq!(device.pairs_enabled(), 0);
    let (ring, guest) = front.sending();
    ring.send(guest, &frame(64, 5));
    assert!(link.rx[0].rx_burst(1).unwrap().is_empty());
    front.start_ring(1, 0).unwrap();
    front.vhost.set_vring_enable(1, true).unwrap();
    assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 5)]);
}

#[test]
fn announcement_is_the_next_packet_of_the_first_queue() {
    let place = Place::new();
    let device = Served::listen(&place, config());
    let front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let address = [2, 0, 0, 0, 0, 9];
    front.raw.send(&Message::Rarp(address).encode(false), &[]);
    assert!(matches!(device.next(), Event::Announce(of) if of == address));
    assert!(link.rx[0].rx_burst(0).unwrap().is_empty());
    let packet = receive(&mut link.rx[0], 1).remove(0);
    assert_eq!(packet.len(), 60);
    let everybody = [0xff; 6];
    assert_eq!(packet[..14], [&everybody[..], &address, &[0x80, 0x35]].concat());
    assert_eq!(packet[14..22], [0, 1, 8, 0, 6, 4, 0, 3]);
    assert_eq!((&packet[22..28], &packet[32..38]), (&address[..], &address[..]));
    assert!(link.rx[0].rx_burst(1).unwrap().is_empty(), "once");
}
