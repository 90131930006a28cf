//! Every function, called as C calls it: what works, and what careless callers get.
#![expect(unsafe_code, reason = "calls with pointers")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::undocumented_unsafe_blocks,
    reason = "a test"
)]

mod support;

use ringport_memif_c::*;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::time::Duration;
use support::pair::{Ends, Pair, close, error_text, open, text, wait_for};

/// Packets long enough to need several of a client's buffers.
const LONG: usize = 9000;

fn packet(data: &mut [u8]) -> Packet {
    let len = data.len() as u32;
    Packet { data: data.as_mut_ptr().cast(), len, capacity: len }
}

fn frames(lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter().zip(1..).map(|(len, fill)| vec![fill; *len]).collect()
}

fn send_copied(ends: &Ends, frames: &[Vec<u8>]) {
    let mut frames = frames.to_vec();
    let packets: Vec<Packet> = frames.iter_mut().map(|frame| packet(frame)).collect();
    let sent = unsafe { ringport_memif_tx_burst(ends.tx, packets.as_ptr(), packets.len()) };
    assert_eq!(sent, packets.len() as c_int, "{}", error_text());
}

fn send_in_place(ends: &Ends, frames: &[Vec<u8>]) {
    let mut room = vec![Packet { data: null_mut(), len: 0, capacity: 0 }; frames.len()];
    let reserved = unsafe { ringport_memif_tx_reserve(ends.tx, room.as_mut_ptr(), room.len()) };
    assert_eq!(reserved, frames.len() as c_int, "{}", error_text());
    for (slot, frame) in room.iter_mut().zip(frames) {
        assert_eq!(slot.capacity, 2048);
        unsafe { slot.data.cast::<u8>().copy_from(frame.as_ptr(), frame.len()) };
        slot.len = frame.len() as u32;
    }
    let sent = unsafe { ringport_memif_tx_commit(ends.tx, room.as_ptr(), room.len()) };
    assert_eq!(sent, frames.len() as c_int, "{}", error_text());
}

fn receive_copied(ends: &Ends) -> Vec<Vec<u8>> {
    let mut buffers = vec![vec![0; LONG]; 8];
    let mut packets: Vec<Packet> = buffers.iter_mut().map(|buffer| packet(buffer)).collect();
    let received = unsafe { ringport_memif_rx_burst(ends.rx, packets.as_mut_ptr(), packets.len()) };
    assert!(received >= 0, "{}", error_text());
    for (buffer, packet) in buffers.iter_mut().zip(&packets) {
        buffer.truncate(packet.len as usize);
    }
    buffers.truncate(received as usize);
    buffers
}

fn receive_in_place(ends: &Ends) -> Vec<Vec<u8>> {
    let mut pieces = [Piece { data: null(), len: 0, more: 0 }; 64];
    let count = unsafe { ringport_memif_rx_peek(ends.rx, pieces.as_mut_ptr(), pieces.len()) };
    assert!(count >= 0, "{}", error_text());
    let mut frames = vec![Vec::new()];
    for piece in &pieces[..count as usize] {
        let bytes =
            unsafe { std::slice::from_raw_parts(piece.data.cast::<u8>(), piece.len as usize) };
        frames.last_mut().unwrap().extend_from_slice(bytes);
        if piece.more == 0 {
            frames.push(Vec::new());
        }
    }
    assert_eq!(frames.pop(), Some(Vec::new()), "only whole packets");
    if count > 0 {
        assert_eq!(ringport_memif_rx_release(ends.rx, frames.len()), 0, "{}", error_text());
    }
    frames
}

#[test]
fn packets_arrive_whole_and_in_order_whichever_way_they_are_sent_and_received() {
    let pair = Pair::join("");
    let short = frames(&[1, 64, 65, 1518, 2048]);
    let any = frames(&[64, 2049, 60, LONG, 1]);
    for (from, to) in [(&pair.server, &pair.client), (&pair.client, &pair.server)] {
        for receive in [receive_copied, receive_in_place] {
            for (send, frames) in [
                (send_copied as fn(&Ends, &[Vec<u8>]), &any),
                (send_copied, &short),
                (send_in_place, &short),
            ] {
                send(from, frames);
                assert_eq!(&receive(to), frames);
                assert_eq!(receive(to), Vec::<Vec<u8>>::new());
            }
        }
    }
}

#[test]
fn queues_of_a_link_are_as_many_as_agreed_on_and_keep_packets_apart() {
    let pair = Pair::join(",rings=3");
    assert_eq!((pair.server.up.rx_queues, pair.server.up.tx_queues), (3, 3));
    for index in 1..3 {
        let (from, to) = (pair.client.take(index), pair.server.take(index));
        send_copied(&from, &frames(&[60 + index as usize]));
        assert_eq!(receive_copied(&to), frames(&[60 + index as usize]));
        assert!(receive_copied(&pair.server).is_empty());
    }
}

#[test]
fn queue_works_on_another_thread_while_its_port_is_polled_here() {
    let pair = Pair::join("");
    let (rx, tx) = (pair.server.rx.addr(), pair.client.tx.addr());
    let other = std::thread::spawn(move || {
        let ends = Ends { rx: null_mut::<u8>().with_addr(rx).cast(), ..Ends::none() };
        wait_for("a packet", || Some(receive_in_place(&ends)).filter(|frames| !frames.is_empty()))
    });
    let ends = Ends { tx: null_mut::<u8>().with_addr(tx).cast(), ..Ends::none() };
    send_copied(&ends, &frames(&[64]));
    wait_for("the thread", || {
        assert_eq!(pair.server.next_event(1).map(|event| event.kind), None);
        other.is_finished().then_some(())
    });
    assert_eq!(other.join().unwrap(), frames(&[64]));
}

#[test]
fn handle_that_another_thread_is_in_is_busy_and_nothing_is_done() {
    let mut pair = Pair::join("");
    let port = pair.server.port.addr();
    let other = std::thread::spawn(move || {
        let port = null_mut::<u8>().with_addr(port).cast();
        let (mut event, size) = (Pair::no_event(), size_of::<Event>());
        wait_for("its turn", || {
            match unsafe { ringport_memif_poll(port, 20_000, &raw mut event, size) } {
                RINGPORT_MEMIF_E_BUSY => None,
                code => Some((code, event.kind)),
            }
        })
    });
    let port = pair.server.port;
    wait_for("the other thread", || {
        std::thread::sleep(Duration::from_millis(1));
        (ringport_memif_fd(port) == RINGPORT_MEMIF_E_BUSY).then_some(())
    });
    assert_eq!(unsafe { ringport_memif_close(port, null()) }, RINGPORT_MEMIF_E_BUSY);
    close(std::mem::replace(&mut pair.client.port, null_mut()), "");
    assert_eq!(other.join().unwrap(), (1, RINGPORT_MEMIF_LINK_DOWN));
    assert!(ringport_memif_fd(port) >= 0);
}

#[test]
fn packet_longer_than_its_buffer_is_cut_and_says_how_long_it_was() {
    let pair = Pair::join("");
    send_copied(&pair.client, &frames(&[100, LONG, 64]));
    let (mut short, mut shorter) = ([0_u8; 10], [0_u8; 3]);
    let mut packets = [packet(&mut short), packet(&mut shorter), packet(&mut [])];
    packets[2].data = null_mut();
    let received = unsafe { ringport_memif_rx_burst(pair.server.rx, packets.as_mut_ptr(), 3) };
    assert_eq!(received, 3);
    assert_eq!(packets.map(|packet| packet.len), [100, LONG as u32, 64]);
    assert_eq!((short, shorter), ([1; 10], [2; 3]));
}

#[test]
fn full_ring_takes_what_fits_and_the_rest_later() {
    let pair = Pair::join(",ring-size=8");
    let mut frame = [7_u8; 64];
    let packets = [packet(&mut frame); 12];
    let send = |count| unsafe { ringport_memif_tx_burst(pair.client.tx, packets.as_ptr(), count) };
    assert_eq!(send(12), 8);
    assert_eq!(send(4), 0);
    let mut stats = TxCounters {
        packets: 0,
        bytes: 0,
        ring_full: 0,
        doorbells: 0,
        doorbells_suppressed: 0,
        faults: 0,
    };
    let size = size_of::<TxCounters>();
    assert_eq!(unsafe { ringport_memif_tx_stats(pair.client.tx, &raw mut stats, size) }, 0);
    assert_eq!((stats.packets, stats.bytes, stats.faults), (8, 8 * 64, 0));
    assert!(stats.ring_full > 0);
    assert_eq!(receive_copied(&pair.server).len(), 8);
    assert_eq!(send(4), 4);
    assert_eq!(receive_in_place(&pair.server).len(), 4);
}

#[test]
fn packet_that_cannot_be_sent_ends_the_burst_and_fails_the_next_call() {
    let pair = Pair::join(",ring-size=8");
    let (mut good, mut long) = ([1_u8; 64], vec![1_u8; 9 * 2048]);
    let bad = [
        (Packet { data: null_mut(), len: 5, capacity: 5 }, RINGPORT_MEMIF_E_INVALID),
        (packet(&mut []), RINGPORT_MEMIF_E_PACKET),
        (packet(&mut long), RINGPORT_MEMIF_E_PACKET),
    ];
    for (bad, code) in bad {
        let packets = [packet(&mut good), packet(&mut good), bad, packet(&mut good)];
        let send = |from: &[Packet]| unsafe {
            ringport_memif_tx_burst(pair.client.tx, from.as_ptr(), from.len())
        };
        assert_eq!(send(&packets), 2);
        assert_eq!(receive_copied(&pair.server).len(), 2);
        assert_eq!(send(&packets[2..]), code, "{bad:?}");
        assert!(error_text().starts_with("packet 0 of the call"), "{}", error_text());
        assert_eq!(receive_copied(&pair.server).len(), 0);
    }
}

#[test]
fn packets_that_were_shown_and_not_released_come_again() {
    let pair = Pair::join("");
    send_copied(&pair.client, &frames(&[10, 11, LONG]));
    let mut pieces = [Piece { data: null(), len: 0, more: 0 }; 3];
    let rx = pair.server.rx;
    let mut peek = |count| unsafe { ringport_memif_rx_peek(rx, pieces.as_mut_ptr().cast(), count) };
    assert_eq!(peek(3), 2, "the third packet does not fit");
    // Nothing but a release makes sense now.
    assert_eq!(peek(3), RINGPORT_MEMIF_E_ORDER);
    assert_eq!(ringport_memif_rx_arm(rx), RINGPORT_MEMIF_E_ORDER);
    assert_eq!(ringport_memif_rx_release(rx, 3), RINGPORT_MEMIF_E_INVALID);
    assert!(ringport_memif_rx_fd(rx) >= 0);
    assert_eq!(ringport_memif_rx_release(rx, 1), 0);
    assert_eq!(ringport_memif_rx_release(rx, 1), RINGPORT_MEMIF_E_ORDER);
    assert_eq!(peek(3), 1);
    assert_eq!(ringport_memif_rx_release(rx, 1), 0);
    assert_eq!(peek(3), RINGPORT_MEMIF_E_PACKET, "{LONG} bytes are in five pieces");
    assert_eq!(receive_in_place(&pair.server), [vec![3; LONG]]);
    assert_eq!(peek(3), 0);
    assert_eq!(ringport_memif_rx_release(rx, 0), RINGPORT_MEMIF_E_ORDER, "nothing was shown");
}

#[test]
fn lengths_that_do_not_fit_are_not_committed_and_can_be_corrected() {
    let pair = Pair::join("");
    let tx = pair.client.tx;
    let mut room = [Packet { data: null_mut(), len: 0, capacity: 0 }; 2];
    assert_eq!(unsafe { ringport_memif_tx_commit(tx, room.as_ptr(), 0) }, RINGPORT_MEMIF_E_ORDER);
    assert_eq!(unsafe { ringport_memif_tx_reserve(tx, room.as_mut_ptr(), 2) }, 2);
    let commit = |lens: [u32; 2], count| {
        let packets = lens.map(|len| Packet { data: null_mut(), len, capacity: u32::MAX });
        unsafe { ringport_memif_tx_commit(tx, packets.as_ptr(), count) }
    };
    assert_eq!(commit([64, 2049], 2), RINGPORT_MEMIF_E_PACKET);
    assert_eq!(commit([0, 64], 2), RINGPORT_MEMIF_E_PACKET);
    assert_eq!(commit([64, 64], 3), RINGPORT_MEMIF_E_INVALID);
    let reserve = unsafe { ringport_memif_tx_reserve(tx, room.as_mut_ptr(), 2) };
    assert_eq!(reserve, RINGPORT_MEMIF_E_ORDER);
    assert_eq!(unsafe { ringport_memif_tx_burst(tx, room.as_ptr(), 1) }, RINGPORT_MEMIF_E_ORDER);
    assert!(receive_copied(&pair.server).is_empty(), "nothing was sent");
    assert_eq!(commit([64, 2048], 2), 2);
    let lens: Vec<usize> = receive_copied(&pair.server).iter().map(Vec::len).collect();
    assert_eq!(lens, [64, 2048]);
    assert_eq!(unsafe { ringport_memif_tx_reserve(tx, room.as_mut_ptr(), 2) }, 2);
    assert_eq!(commit([64, 64], 0), 0, "room is given back");
    send_copied(&pair.client, &frames(&[9]));
    assert_eq!(receive_copied(&pair.server), frames(&[9]));
}

#[test]
fn sleeper_is_woken_by_a_packet_and_by_the_end_of_the_link() {
    let mut pair = Pair::join("");
    let fd = ringport_memif_rx_fd(pair.server.rx);
    assert_eq!(ringport_memif_rx_arm(pair.server.rx), 0);
    assert!(!support::readable(fd, 0));
    send_copied(&pair.client, &frames(&[64]));
    assert!(support::readable(fd, 20_000));
    assert_eq!(ringport_memif_rx_arm(pair.server.rx), 1);
    assert_eq!(receive_copied(&pair.server).len(), 1);
    assert_eq!(ringport_memif_rx_arm(pair.server.rx), 0);
    close(std::mem::replace(&mut pair.client.port, null_mut()), "enough");
    assert!(support::readable(ringport_memif_fd(pair.server.port), 20_000));
    let event = wait_for("the end", || pair.server.next_event(100));
    assert_eq!((event.kind, event.error), (RINGPORT_MEMIF_LINK_DOWN, RINGPORT_MEMIF_E_PEER_LEFT));
    assert_eq!(text(&event.reason), "peer disconnected: enough (code 0)");
    assert!(support::readable(fd, 20_000));
    assert_eq!(ringport_memif_rx_arm(pair.server.rx), RINGPORT_MEMIF_E_LINK_DOWN);
    assert_eq!(error_text(), "link is down");
}

#[test]
fn link_that_is_down_has_no_queues_and_the_next_one_has_new_ones() {
    let mut pair = Pair::join("");
    let (old_rx, old_tx) = (pair.server.rx, pair.server.tx);
    close(std::mem::replace(&mut pair.client.port, null_mut()), "restart");
    wait_for("the end", || pair.server.next_event(100));
    let mut rx = null_mut();
    let take = unsafe { ringport_memif_take_rx(pair.server.port, 0, &raw mut rx) };
    assert_eq!(take, RINGPORT_MEMIF_E_NO_QUEUE);
    let mut info = Pair::no_info();
    let size = size_of::<LinkInfo>();
    let known = unsafe { ringport_memif_get_link_info(pair.server.port, &raw mut info, size) };
    assert_eq!(known, RINGPORT_MEMIF_E_LINK_DOWN);
    pair.reconnect();
    assert_eq!(
        unsafe { ringport_memif_rx_burst(old_rx, null_mut(), 0) },
        RINGPORT_MEMIF_E_LINK_DOWN
    );
    assert_eq!(unsafe { ringport_memif_tx_burst(old_tx, null(), 0) }, RINGPORT_MEMIF_E_LINK_DOWN);
    assert_eq!(ringport_memif_rx_free(old_rx), 0);
    assert_eq!(ringport_memif_tx_free(old_tx), 0);
    send_copied(&pair.client, &frames(&[64]));
    assert_eq!(receive_copied(&pair.server), frames(&[64]));
}

#[test]
fn link_info_says_who_the_peer_is_and_what_was_agreed_on() {
    let pair = Pair::join(",rings=2,ring-size=512,name=somebody,if-name=theirs");
    let mut info = Pair::no_info();
    let size = size_of::<LinkInfo>();
    assert_eq!(unsafe { ringport_memif_get_link_info(pair.server.port, &raw mut info, size) }, 0);
    assert_eq!((info.is_server, info.rx_queues, info.tx_queues), (1, 2, 2));
    assert_eq!((info.ring_size, info.buffer_size, info.version), (512, 0, 0x200));
    assert_eq!(info.peer_pid, std::process::id());
    assert_eq!((text(&info.peer_name), text(&info.peer_if_name)), ("somebody", "theirs"));
    assert_eq!(unsafe { ringport_memif_get_link_info(pair.client.port, &raw mut info, size) }, 0);
    assert_eq!((info.is_server, info.buffer_size), (0, 2048));
}

#[test]
fn waiting_for_a_link_ends_in_time_and_says_why_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let port = open(&format!("memif:{}/none,role=client", dir.path().display())).unwrap();
    assert_eq!(ringport_memif_wait_link_up(port, 50), RINGPORT_MEMIF_E_SYSTEM);
    assert!(error_text().contains("No such file"), "{}", error_text());
    close(port, "");
    let port = open(&format!("memif:{}/some,role=server", dir.path().display())).unwrap();
    assert_eq!(ringport_memif_wait_link_up(port, 50), RINGPORT_MEMIF_E_TIMEOUT);
    assert_eq!(ringport_memif_wait_link_up(port, 0), RINGPORT_MEMIF_E_TIMEOUT);
    close(port, "");
    let pair = Pair::join("");
    assert_eq!(ringport_memif_wait_link_up(pair.server.port, 0), 0, "it is up already");
}

#[test]
fn client_with_a_wrong_secret_is_refused_on_both_sides_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |rest| format!("memif:{}/s,{rest}", dir.path().display());
    let server = open(&at("role=server,secret=right")).unwrap();
    let client = open(&at("role=client,secret=wrong")).unwrap();
    let (server, client) = (Ends::of(server), Ends::of(client));
    let [ours, theirs] = [(&server, &client), (&client, &server)].map(|(one, other)| {
        wait_for("a refusal", || {
            other.next_event(1);
            one.next_event(1).filter(|event| event.kind == RINGPORT_MEMIF_REFUSED)
        })
    });
    assert_eq!((ours.error, theirs.error), (RINGPORT_MEMIF_E_REFUSED, RINGPORT_MEMIF_E_PEER_LEFT));
    assert!(text(&ours.reason).starts_with("refused: "), "{}", text(&ours.reason));
    assert!(text(&theirs.reason).starts_with("rejected by peer: "), "{}", text(&theirs.reason));
}

#[test]
fn port_strings_that_cannot_work_are_errors_which_name_the_part() {
    let long = "memif:".to_owned() + &"x".repeat(5000);
    for (port, code, says) in [
        ("", RINGPORT_MEMIF_E_CONFIG, "does not start with"),
        ("vhost:/run/a.sock,role=device", RINGPORT_MEMIF_E_CONFIG, "does not start with"),
        ("memif:/run/a.sock", RINGPORT_MEMIF_E_CONFIG, "key role is missing"),
        ("memif:/run/a.sock,role=client,rings=0", RINGPORT_MEMIF_E_CONFIG, "rings"),
        ("memif:/no/such/directory/a.sock,role=server", RINGPORT_MEMIF_E_CONFIG, "No such file"),
        (long.as_str(), RINGPORT_MEMIF_E_INVALID, "longer than 4096 bytes"),
    ] {
        assert_eq!(open(port), Err(code), "{port}");
        assert!(error_text().contains(says), "{port}: {}", error_text());
    }
    let mut port = null_mut();
    for bytes in [c"memif:\xff", c"\xff"] {
        let code = unsafe { ringport_memif_open(bytes.as_ptr(), &raw mut port) };
        assert_eq!(code, RINGPORT_MEMIF_E_INVALID);
        assert_eq!(error_text(), "port is not UTF-8");
    }
    assert!(port.is_null(), "nothing was stored");
}

#[test]
fn handle_that_was_closed_or_freed_is_refused_by_every_function() {
    let mut pair = Pair::join("");
    let (port, rx, tx) = (pair.client.port, pair.client.rx, pair.client.tx);
    close(port, "");
    pair.client.port = null_mut();
    assert_eq!(ringport_memif_rx_free(rx), 0);
    assert_eq!(ringport_memif_tx_free(tx), 0);
    for (what, code) in every_function(port, rx, tx) {
        assert_eq!(code, RINGPORT_MEMIF_E_HANDLE, "{what}");
    }
    // Nor is one of another kind taken.
    let (port, rx, tx) = (pair.server.port, pair.server.rx, pair.server.tx);
    for (what, code) in every_function(rx.cast(), tx.cast(), port.cast()) {
        assert_eq!(code, RINGPORT_MEMIF_E_HANDLE, "{what}");
    }
    for (what, code) in every_function(null_mut(), null_mut(), null_mut()) {
        assert_eq!(code, RINGPORT_MEMIF_E_INVALID, "{what}");
    }
}

/// What each function that takes a handle says to one, with arguments that are otherwise in order.
fn every_function(port: *mut Port, rx: *mut Rx, tx: *mut Tx) -> Vec<(&'static str, c_int)> {
    let mut event = Pair::no_event();
    let mut info = Pair::no_info();
    let (mut taken_rx, mut taken_tx) = (null_mut(), null_mut());
    let mut room = Packet { data: null_mut(), len: 0, capacity: 0 };
    let mut piece = Piece { data: null(), len: 0, more: 0 };
    let (mut out, size) = ([0_u64; 64], 512);
    let out: *mut c_void = out.as_mut_ptr().cast();
    unsafe {
        vec![
            ("fd", ringport_memif_fd(port)),
            ("poll", ringport_memif_poll(port, 0, &raw mut event, size_of_val(&event))),
            ("wait", ringport_memif_wait_link_up(port, 0)),
            ("info", ringport_memif_get_link_info(port, &raw mut info, size_of_val(&info))),
            ("take_rx", ringport_memif_take_rx(port, 0, &raw mut taken_rx)),
            ("take_tx", ringport_memif_take_tx(port, 0, &raw mut taken_tx)),
            ("rx_burst", ringport_memif_rx_burst(rx, &raw mut room, 1)),
            ("rx_peek", ringport_memif_rx_peek(rx, &raw mut piece, 1)),
            ("rx_release", ringport_memif_rx_release(rx, 0)),
            ("rx_arm", ringport_memif_rx_arm(rx)),
            ("rx_fd", ringport_memif_rx_fd(rx)),
            ("rx_stats", ringport_memif_rx_stats(rx, out.cast(), size)),
            ("tx_burst", ringport_memif_tx_burst(tx, &raw const room, 1)),
            ("tx_reserve", ringport_memif_tx_reserve(tx, &raw mut room, 1)),
            ("tx_commit", ringport_memif_tx_commit(tx, &raw const room, 1)),
            ("tx_stats", ringport_memif_tx_stats(tx, out.cast(), size)),
            ("rx_free", ringport_memif_rx_free(rx)),
            ("tx_free", ringport_memif_tx_free(tx)),
            ("close", ringport_memif_close(port, null())),
        ]
    }
}

#[test]
fn null_and_unaligned_and_odd_sizes_are_errors_and_nothing_is_done() {
    let pair = Pair::join("");
    let Ends { port, rx, tx, .. } = pair.server;
    let mut buffer = [0_u8; 64];
    let mut null_data = packet(&mut buffer);
    null_data.data = null_mut();
    let mut memory = [0_u64; 64];
    let odd: *mut c_void = memory.as_mut_ptr().cast::<u8>().wrapping_add(1).cast();
    let mut event = Pair::no_event();
    let event: *mut Event = &raw mut event;
    send_copied(&pair.client, &frames(&[64]));
    unsafe {
        let calls = [
            ("no port string", ringport_memif_open(null(), (&raw mut memory).cast())),
            ("nowhere to store", ringport_memif_open(c"memif:@x,role=server".as_ptr(), null_mut())),
            ("no event", ringport_memif_poll(port, 0, null_mut(), size_of::<Event>())),
            ("short event", ringport_memif_poll(port, 0, event, size_of::<Event>() - 1)),
            ("huge event", ringport_memif_poll(port, 0, event, usize::MAX)),
            ("unaligned event", ringport_memif_poll(port, 0, odd.cast(), size_of::<Event>())),
            ("no info", ringport_memif_get_link_info(port, null_mut(), size_of::<LinkInfo>())),
            ("no rx", ringport_memif_take_rx(port, 0, null_mut())),
            ("no tx", ringport_memif_take_tx(port, 0, null_mut())),
            ("no stats", ringport_memif_rx_stats(rx, null_mut(), size_of::<RxCounters>())),
            ("no packets", ringport_memif_rx_burst(rx, null_mut(), 1)),
            ("unaligned packets", ringport_memif_rx_burst(rx, odd.cast(), 1)),
            ("no buffer", ringport_memif_rx_burst(rx, &raw mut null_data, 1)),
            ("no pieces", ringport_memif_rx_peek(rx, null_mut(), 1)),
            ("no packets to send", ringport_memif_tx_burst(tx, null(), usize::MAX)),
            ("no data", ringport_memif_tx_burst(tx, &raw const null_data, 1)),
            ("no room", ringport_memif_tx_reserve(tx, null_mut(), 1)),
            ("reason", ringport_memif_close(port, c"\xff".as_ptr())),
        ];
        for (what, code) in calls {
            assert_eq!(code, RINGPORT_MEMIF_E_INVALID, "{what}");
        }
    }
    assert_eq!(receive_copied(&pair.server), frames(&[64]), "nothing was lost");
}

#[test]
fn larger_structure_of_a_newer_caller_ends_in_zeros() {
    let pair = Pair::join("");
    let mut memory = [u64::MAX; 64];
    let size = size_of::<RxCounters>() + 80;
    let stats = memory.as_mut_ptr().cast();
    assert_eq!(unsafe { ringport_memif_rx_stats(pair.server.rx, stats, size) }, 0);
    let words = size_of::<RxCounters>() / 8;
    assert_eq!(memory[words..words + 10], [0; 10]);
    assert_eq!(memory[words + 10..], [u64::MAX; 64][words + 10..], "what is behind is not touched");
}

#[test]
fn last_error_is_each_threads_own() {
    assert_eq!(ringport_memif_fd(null_mut()), RINGPORT_MEMIF_E_INVALID);
    assert_eq!(ringport_memif_error(), RINGPORT_MEMIF_E_INVALID);
    assert_eq!(error_text(), "the handle is NULL");
    let other = || {
        let first = (ringport_memif_error(), error_text());
        assert_eq!(
            ringport_memif_fd(null_mut::<u8>().with_addr(8).cast()),
            RINGPORT_MEMIF_E_HANDLE
        );
        first
    };
    assert_eq!(std::thread::spawn(other).join().unwrap(), (0, String::new()));
    assert_eq!(ringport_memif_error(), RINGPORT_MEMIF_E_INVALID);
}

#[test]
fn codes_and_version_have_texts() {
    let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_str().unwrap();
    let texts: Vec<&str> = (-14..=0).map(|code| text(ringport_memif_code_text(code))).collect();
    assert!(!texts.contains(&"unknown code"), "{texts:?}");
    assert_eq!(text(ringport_memif_code_text(c_int::MIN)), "unknown code");
    assert_eq!(text(ringport_memif_version()), env!("CARGO_PKG_VERSION"));
    assert!(CString::new(texts.concat()).is_ok());
}
