//! `ringport dump`: what is in its files, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapNGReader};
use ringport_bench::peers::{find_program, skip};
use ringport_memif::{Link, Port};
use std::io::Read;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use support::*;

const SERVER: &str = "memif:SOCKET,role=server";
const CLIENT: &str = "memif:SOCKET,role=client";

/// A capture, read by a library that has nothing to do with us.
#[derive(Debug, Default)]
struct Capture {
    /// Link type, snap length and name of each interface.
    interfaces: Vec<(Linktype, u32, String)>,
    packets: Vec<Packet>,
}

#[derive(Debug)]
struct Packet {
    interface: u32,
    nanos: u64,
    len: u32,
    bytes: Vec<u8>,
}

#[track_caller]
fn read(capture: &[u8]) -> Capture {
    let mut reader = PcapNGReader::new(1 << 20, capture).unwrap();
    let mut found = Capture::default();
    loop {
        let (used, block) = match reader.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return found,
            Err(PcapError::Incomplete(_)) => {
                reader.refill().unwrap();
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        match block {
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                assert_eq!((header.major_version, header.minor_version), (1, 0));
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(about)) => {
                assert_eq!(about.if_tsresol, 9);
                let name = about.if_name().unwrap().unwrap().to_owned();
                found.interfaces.push((about.linktype, about.snaplen, name));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => found.packets.push(Packet {
                interface: packet.if_id,
                nanos: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                len: packet.origlen,
                bytes: packet.packet_data().to_vec(),
            }),
            _ => panic!("a block of another kind"),
        }
        reader.consume(used);
    }
}

/// How many packets are whole in a file that is still being written.
fn whole_packets(mut file: &[u8]) -> usize {
    let mut found = 0;
    let word = |at: &[u8]| u32::from_le_bytes(at.try_into().unwrap());
    while let Some((kind, rest)) = file.split_at_checked(4)
        && let Some(len) = rest.get(..4)
        && let Some(next) = file.get(word(len) as usize..)
    {
        found += usize::from(word(kind) == 6);
        file = next;
    }
    found
}

fn connect(place: &Place) -> (Port, Link) {
    place.wait_socket();
    let mut port = Port::open(&place.port(CLIENT)).unwrap();
    let link = port.wait_link_up(PATIENCE).unwrap();
    (port, link)
}

fn send(link: &mut Link, packets: &[Vec<u8>]) {
    for packet in packets {
        wait_for("room in the ring", || {
            let mut out = link.tx[0].tx_burst(64).unwrap();
            out.push(packet).ok()?;
            out.commit();
            Some(())
        });
    }
}

/// Frames of UDP over IPv4 from 10.0.0.1, port `number`, to 10.0.0.2, port 9.
fn udp(number: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xbd, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, number, 0, 9, 0, 26, 0, 0]);
    frame.resize(len, number);
    frame
}

/// Packets of all kinds and lengths.
fn assorted() -> Vec<Vec<u8>> {
    let mut packets: Vec<_> = (0..40).map(|n| udp(n, 60 + usize::from(n) * 230)).collect();
    packets.extend((1..60).map(|len| vec![0xff; len]));
    packets.extend((1..60).map(|len| udp(1, 60)[..len].to_vec()));
    packets
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

#[test]
fn file_holds_every_packet_whole_with_its_time_until_ctrl_c() {
    let place = Place::new();
    let file = place.path("all.pcapng");
    let mut run = Run::start(&["dump", &place.port(SERVER), "-w", file.to_str().unwrap()]);
    let before = nanos();
    let (_port, mut link) = connect(&place);
    let packets = assorted();
    send(&mut link, &packets);
    wait_for("all packets in the file", || {
        (whole_packets(&std::fs::read(&file).unwrap()) == packets.len()).then_some(())
    });
    run.signal(Signal::SIGINT);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("captured 158 of 158 packets"));
    let found = read(&std::fs::read(&file).unwrap());
    let [(Linktype::ETHERNET, 262_144, name)] = &found.interfaces[..] else { panic!("{found:?}") };
    assert!(name.starts_with("memif:") && name.contains("role=server"), "{name}");
    assert_eq!(found.packets.len(), packets.len());
    for (found, sent) in found.packets.iter().zip(&packets) {
        assert_eq!((&found.bytes, found.len as usize), (sent, sent.len()));
        assert!((before..nanos()).contains(&found.nanos), "{found:?}");
    }
    assert!(found.packets.is_sorted_by_key(|packet| packet.nanos));
}

#[test]
fn tcpdump_reads_what_was_captured() {
    let Some(tcpdump) = find_program("tcpdump") else {
        return skip("tcpdump_reads_what_was_captured", "tcpdump: not installed");
    };
    for (mode, at) in [("", 0), (",mode=ip", 14)] {
        let place = Place::new();
        let file = place.path("some.pcapng");
        let server = format!("{}{mode}", place.port(SERVER));
        let mut run =
            Run::start(&["dump", &server, "--write", file.to_str().unwrap(), "--count", "3"]);
        place.wait_socket();
        let mut port = Port::open(&format!("{}{mode}", place.port(CLIENT))).unwrap();
        let mut link = port.wait_link_up(PATIENCE).unwrap();
        let packets: Vec<_> = (1..=3).map(|n| udp(n, 60)[at..].to_vec()).collect();
        send(&mut link, &packets);
        assert_eq!(run.end().status.code(), Some(0));
        let mut command = Command::new(&tcpdump);
        let output = command.args(["-n", "--nano", "-r"]).arg(&file).output().unwrap();
        let lines = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(lines.lines().count(), 3, "{lines}");
        for (line, number) in lines.lines().zip(1..) {
            assert!(line.contains(&format!("IP 10.0.0.1.{number} > 10.0.0.2.9: UDP")), "{line}");
            let (time, _) = line.split_once(" IP").unwrap();
            assert_eq!(time.len(), "12:34:56.123456789".len(), "{line}");
        }
    }
}

#[test]
fn filter_snap_length_and_count_say_what_is_kept() {
    let place = Place::new();
    let dump = ["dump", &place.port(SERVER), "-w", "-", "--count", "2", "--snaplen", "100"];
    let filter = ["--filter", "src port 7 or (udp and greater 9000)"];
    let mut run = Run::start(&[&dump[..], &filter].concat());
    let (_port, mut link) = connect(&place);
    send(&mut link, &assorted());
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = read(&output.stdout);
    let kept: Vec<_> =
        found.packets.iter().map(|packet| (packet.len, packet.bytes.len())).collect();
    assert_eq!(kept, [(60 + 7 * 230, 100), (60 + 39 * 230, 100)]);
    assert!(text(&output.stderr).contains("captured 2 of "));
}

#[test]
fn lines_say_what_packets_are() {
    let place = Place::new();
    let mut run = Run::start(&["dump", &place.port(SERVER), "--count", "4"]);
    let (_port, mut link) = connect(&place);
    let other = [&udp(1, 12)[..], &[0x88, 0xb5, 1]].concat();
    send(&mut link, &[udp(5, 60), other, vec![1; 5], udp(6, 41)]);
    let output = run.end();
    let lines: Vec<_> = text(&output.stdout).lines().map(|line| line[18..].to_owned()).collect();
    let expected = [
        " a 10.0.0.1 port 5 > 10.0.0.2 port 9 udp, 60 bytes",
        " a 02:00:00:00:00:02 > 02:00:00:00:00:01 type 0x88b5, 15 bytes",
        " a cut off, 5 bytes",
        " a 10.0.0.1 port 6 > 10.0.0.2 port 9 udp, 41 bytes",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn objects_say_what_packets_are() {
    let place = Place::new();
    let mut run = Run::start(&["dump", &place.port(SERVER), "--count", "2", "--json"]);
    let (_port, mut link) = connect(&place);
    send(&mut link, &[udp(5, 60), vec![1; 5]]);
    let output = run.end();
    let lines = objects(&output.stdout);
    let packets: Vec<_> = lines.iter().filter(|line| line["event"] == "packet").collect();
    assert_eq!((&packets[0]["from"], &packets[0]["from_port"]), (&"10.0.0.1".into(), &5.into()));
    assert_eq!(
        (&packets[0]["to_mac"], &packets[0]["bytes"]),
        (&"02:00:00:00:00:01".into(), &60.into())
    );
    assert_eq!((&packets[1]["bytes"], packets[1].get("from")), (&5.into(), None));
    assert_eq!(lines.last().unwrap()["captured"], 2);
}

#[test]
fn reader_that_goes_away_is_a_clean_end() {
    for options in [&["-w", "-"][..], &[], &["--json"]] {
        let place = Place::new();
        let mut run = Run::start(&[&["dump", &place.port(SERVER)], options].concat());
        let (_port, mut link) = connect(&place);
        send(&mut link, &[udp(1, 60)]);
        let mut stdout = run.child().stdout.take().unwrap();
        let mut some = [0; 10];
        stdout.read_exact(&mut some).unwrap();
        drop(stdout);
        wait_for("the end", || {
            send(&mut link, &[udp(2, 60)]);
            run.child().try_wait().unwrap()
        });
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{options:?} {}", text(&output.stderr));
    }
}

#[test]
fn reader_that_stops_reading_does_not_keep_ctrl_c_from_ending_it() {
    let place = Place::new();
    let mut run = Run::start(&["dump", &place.port(SERVER), "-w", "-"]);
    let (_port, mut link) = connect(&place);
    // The ring is full again when the pipe, and what is collected for it, are.
    let mut sent = 0;
    wait_for("the pipe to be full", || {
        let mut out = link.tx[0].tx_burst(64).unwrap();
        while out.push(&udp(1, 1500)).is_ok() {}
        sent += out.commit();
        (sent > 1060).then_some(())
    });
    run.signal(Signal::SIGTERM);
    wait_for("the end", || run.child().try_wait().unwrap());
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("captured "));
}

#[test]
fn what_passes_between_two_ports_is_captured_on_its_way() {
    let place = Place::new();
    let file = place.path("both.pcapng");
    let (a, b) = (place.port(SERVER), place.port(SERVER).replace("p.sock", "b.sock"));
    let mut run = Run::start(&["dump", &a, &b, "-w", file.to_str().unwrap()]);
    let (_a, mut left) = connect(&place);
    wait_for("the socket", || place.path("b.sock").exists().then_some(()));
    let mut right = Port::open(&place.port(CLIENT).replace("p.sock", "b.sock")).unwrap();
    let mut link = right.wait_link_up(PATIENCE).unwrap();
    let (there, back) = (assorted(), vec![udp(100, 61), udp(101, 3000)]);
    send(&mut left, &there);
    send(&mut link, &back);
    let receive = |from: &mut Link, count: usize| {
        let mut got: Vec<Vec<u8>> = Vec::new();
        wait_for("the packets", || {
            let burst = from.rx[0].rx_burst(64).unwrap();
            got.extend(burst.packets().map(|packet| packet.detach().to_vec()));
            (got.len() >= count).then_some(())
        });
        got
    };
    assert_eq!(receive(&mut link, there.len()), there);
    assert_eq!(receive(&mut left, back.len()), back);
    run.signal(Signal::SIGINT);
    assert_eq!(run.end().status.code(), Some(0));
    let found = read(&std::fs::read(&file).unwrap());
    assert_eq!(found.interfaces.len(), 2);
    for (interface, sent) in [(0, there), (1, back)] {
        let packets = found.packets.iter().filter(|packet| packet.interface == interface);
        assert!(packets.map(|packet| &packet.bytes).eq(&sent), "interface {interface}");
    }
}

#[test]
fn what_cannot_be_captured_is_named() {
    let port = "memif:/run/a.sock,role=client";
    for (arguments, code, named) in [
        (&["dump"][..], 2, "<PORT>"),
        (&["dump", port, "--filter", "frob"], 2, "`frob` is no test"),
        (&["dump", port, "--snaplen", "0"], 2, "'0'"),
        (&["dump", port, "--json", "-w", "-"], 2, "both --write - and --json"),
        (&["dump", port, "-w", "/proc/none"], 1, "/proc/none"),
        (&["dump", port, "-w", "/dev/full", "--count", "1"], 1, "cannot write the capture"),
    ] {
        let output = Run::start(arguments).end();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}
