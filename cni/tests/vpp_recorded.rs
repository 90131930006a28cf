//! Recordings of a real VPP (26.10-rc0) against everything that is not one.
//!
//! * What VPP's own Python client said is what our client says, field by field.
//! * What VPP answered it is what our fake VPP answers.
//! * What the plugin said to VPP is what it says today, byte by byte.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use ringport_cni::conf::Secret;
use ringport_cni::engines::vpp::memif::{MemifMode, NewMemif};
use ringport_cni::engines::vpp::message;
use ringport_cni::engines::vpp::route::Borrower;
use ringport_cni::engines::vpp::vhost::NewVhost;
use ringport_cni::engines::vpp::{Session, VppError};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use support::DEADLINE;
use support::vpp::fake::FakeVpp;
use support::vpp::lab::directory;
use support::vpp::recording::{Connection, Frame, parse};
use support::vpp::replay::Replay;
use support::vpp::table::{Table, short};
use support::vpp::transcripts;
use support::vpp::wire::{read, u16_at, u32_at, write};

const FOREIGN: [&str; 3] = [
    include_str!("fixtures/vpp/foreign-26.10.txt"),
    include_str!("fixtures/vpp/foreign-vlans-26.10.txt"),
    include_str!("fixtures/vpp/foreign-routes-26.10.txt"),
];
/// Where a request's fields begin.
const FIELDS: usize = 10;

fn foreign() -> impl Iterator<Item = Connection> {
    FOREIGN.iter().flat_map(|text| parse(text, support::vpp::recording::PLACEHOLDER))
}

/// Says with our client what VPP's own said when it was recorded. Refusals are as good as success.
fn say_everything(session: &mut Session) -> Result<(), VppError> {
    let server = NewMemif {
        server: true,
        mode: MemifMode::Ethernet,
        rx_queues: 2,
        tx_queues: 3,
        id: 0,
        ring_size: 512,
        buffer_size: 4096,
        secret: Secret("tiger".to_owned()),
    };
    let client = NewMemif {
        server: false,
        mode: MemifMode::Ip,
        rx_queues: 1,
        tx_queues: 1,
        ring_size: 1024,
        buffer_size: 2048,
        secret: Secret::default(),
        ..server.clone()
    };
    assert_eq!(session.add_memif_socket("/run/ringport/m.sock", &[0])?, 1);
    assert_eq!(session.create_memif(1, &server)?, 1);
    assert_eq!(session.add_memif_socket("/run/ringport/n.sock", &[0, 1])?, 2);
    assert_eq!(session.create_memif(2, &client)?, 2);
    session.set_tag(1, "ringport:tag")?;
    session.set_mtu(1, 9000)?;
    session.set_mac(1, [2, 0, 0, 0, 0, 9])?;
    assert!(session.add_bridge(10, "ringport-cni")?);
    assert!(!session.add_bridge(10, "ringport-cni")?);
    session.join_bridge(1, 10)?;
    session.set_up(1)?;
    session.add_address(2, "10.5.0.1/24".parse().unwrap())?;
    session.add_address(2, "fd05::1/64".parse().unwrap())?;
    for (server, file) in [(true, "/run/ringport/v.sock"), (false, "/run/ringport/w.sock")] {
        session.create_vhost(&NewVhost { server, file, tag: "ringport:v" })?;
    }
    assert_eq!(session.memif_sockets()?.len(), 3);
    assert_eq!(session.memifs()?.len(), 2);
    assert_eq!(session.vhosts()?.len(), 2);
    assert_eq!(session.interfaces()?.len(), 5);
    assert_eq!(session.bridges()?.len(), 1);
    assert_eq!(session.addresses(2)?.len(), 2);
    say_vlans(session)?;
    say_routes(session)?;
    session.remove_bridge(10)?;
    session.leave_bridge(1, 10)?;
    session.delete_memif(1)?;
    session.remove_addresses(2)?;
    session.delete_memif(2)?;
    session.delete_vhost(3)?;
    session.delete_vhost(4)?;
    session.remove_memif_socket(1)?;
    session.remove_memif_socket(2)?;
    session.remove_bridge(10)
}

/// The same about VLANs and receiving.
fn say_vlans(session: &mut Session) -> Result<(), VppError> {
    session.add_vlan(1, 7)?;
    session.refuse_tags(1)?;
    for (sub, domain) in [(3, 28_679), (4, 28_680)] {
        session.join_bridge(sub, domain)?;
    }
    session.pop_tag(3)?;
    assert_eq!(session.rx_queues(1)?, []);
    for refused in [session.set_rx_mode(1, 0, 2), session.set_rx_worker(1, 0, 0)] {
        assert!(refused.unwrap_err().is_refusal(&[-9]));
    }
    session.delete_sub(3)
}

/// The same about several containers in one subnet.
fn say_routes(session: &mut Session) -> Result<(), VppError> {
    session.add_loopback([2, 0x52, 1, 2, 3, 4])?;
    let borrower = Borrower { sw_if_index: 1, from: 2 };
    session.borrow_addresses(borrower, true)?;
    assert_eq!(session.borrowers()?, [borrower]);
    session.enable_ip6(1)?;
    session.enable_ip6(1)?;
    for host in ["10.9.0.2", "fd09::2"] {
        let host = host.parse().unwrap();
        session.add_host_route(host, 1)?;
        assert_eq!(session.host_route(host)?, Some(1));
        session.remove_host_route(host, 1)?;
        assert_eq!(session.host_route(host)?, None);
    }
    session.set_arp_proxy([10, 9, 0, 2].into(), true)?;
    session.answer_arp(1, true)?;
    session.answer_arp(1, false)?;
    session.set_arp_proxy([10, 9, 0, 2].into(), false)?;
    session.borrow_addresses(borrower, false)?;
    session.delete_loopback(2)
}

/// Both versions of messages that have two: a release of before and one of after.
#[test]
fn client_says_what_vpps_own_client_said() {
    let theirs: BTreeSet<(String, Vec<u8>)> = foreign()
        .flat_map(|connection| connection.frames)
        .filter(|frame| frame.from_client && frame.body.len() >= FIELDS)
        .map(|frame| (short(&frame.name).to_owned(), frame.body[FIELDS..].to_vec()))
        .collect();
    let mut compared = BTreeSet::new();
    for table in [Table::of_release("20.05"), Table::recorded()] {
        let directory = directory();
        let fake = FakeVpp::start(directory.path(), table);
        let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
        say_everything(&mut session).unwrap();
        drop(session);
        for (name, body) in fake.world.lock().unwrap().log.drain(..) {
            if name == "sockclnt_create" {
                continue;
            }
            let said = (name.clone(), body[FIELDS..].to_vec());
            assert!(theirs.contains(&said), "{name} {:x?}", said.1);
            compared.insert(name);
        }
    }
    let known: BTreeSet<String> =
        message::ALL.iter().map(|exchange| exchange.request.name.to_owned()).collect();
    assert_eq!(known.difference(&compared).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn fake_answers_what_vpp_answered() {
    let compared: usize = foreign().map(|recorded| compare(&recorded)).sum();
    assert!(compared > 130, "{compared}");
}

/// Says to a fake what was said to VPP; returns how many answers were compared.
fn compare(recorded: &Connection) -> usize {
    let directory = directory();
    let fake = FakeVpp::start(directory.path(), Table::recorded());
    let pong = recorded.frames.iter().find(|frame| frame.name.starts_with("control_ping_reply"));
    fake.world.lock().unwrap().pid = u32_at(&pong.unwrap().body, 14);

    let mut stream = UnixStream::connect(&fake.api).unwrap();
    let mut frames = recorded.frames.as_slice();
    let mut compared = 0;
    while !frames.is_empty() {
        let (said, rest) = split(frames, true);
        let (answered, rest) = split(rest, false);
        frames = rest;
        for frame in said {
            write(&mut stream, &frame.body).unwrap();
            if frame.name.starts_with("sockclnt_create_") {
                let welcome = read(&mut stream).unwrap();
                assert_eq!(u32_at(&welcome, 14), recorded.index);
            }
        }
        let mut is: Vec<Vec<u8>> =
            answered.iter().map(|_| without_chance(&read(&mut stream).unwrap())).collect();
        let mut was: Vec<Vec<u8>> =
            answered.iter().map(|frame| without_chance(&frame.body)).collect();
        // VPP lists things in the order of its hash tables.
        is.sort();
        was.sort();
        let name = said.last().map(|frame| frame.name.clone());
        assert_eq!(is, was, "{name:?}");
        compared += is.len();
    }
    compared
}

/// The frames of one side before the other speaks.
fn split(frames: &[Frame], from_client: bool) -> (&[Frame], &[Frame]) {
    let first = frames.first();
    let alone = first.is_some_and(|frame| frame.name.starts_with("sockclnt_create_"));
    let len = frames.iter().take_while(|frame| frame.from_client == from_client).count();
    frames.split_at(if alone { 1 } else { len })
}

/// An answer without what differs each time: MAC addresses that VPP makes up, and what follows the
/// reason of a refusal.
fn without_chance(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let table = Table::recorded();
    let name = table.name(u16_at(&answer, 0));
    let mac = match name {
        "sw_interface_details" => Some(14),
        "memif_details" => Some(10),
        _ => None,
    };
    if let Some(at) = mac
        && answer[at..].starts_with(&[2, 0xfe])
    {
        answer[at..at + 6].fill(0);
    }
    // Where counters are.
    match name {
        "ip_route_add_del_reply" => answer.truncate(FIELDS),
        "ip_route_lookup_reply" => answer[14..18].fill(0),
        _ => {}
    }
    if name.ends_with("_reply") && name != "sockclnt_delete_reply" && u32_at(&answer, 6) != 0 {
        answer.truncate(FIELDS);
    }
    answer
}

#[test]
fn plugin_says_what_was_recorded() {
    for transcript in &transcripts::ALL {
        if !transcript.can_run() {
            skip("plugin_says_what_was_recorded", "host-local is not installed");
            continue;
        }
        let directory = directory();
        let base = directory.path().display().to_string();
        let api = directory.path().join("proxy/api.sock");
        std::fs::create_dir(api.parent().unwrap()).unwrap();
        let replay = Replay::start(&api, parse(transcript.recorded, &base));
        transcript.run(directory.path(), &api);
        if let Err(what) = replay.finish() {
            panic!("{}: {what}", transcript.name);
        }
    }
}
