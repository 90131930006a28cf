//! Who is turned away, by whom, and in which words.

use crate::driver_support::Place;
use crate::support::table::each_row;
use crate::support::{Killed, Outcome, link, link_down, open, wait_until};
use crate::{Row, table};
use ringport_bench::peers::testpmd::{MemifArgs, Mode};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::{ControlError, DownReason, EventKind, Port};
use std::fmt;
use std::time::Duration;

/// A request for an interface, and the answer.
struct Request {
    theirs: Option<&'static str>,
    ours: &'static str,
    id: u32,
    /// `None`: admitted.
    answer: Option<&'static str>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { theirs, ours, id, answer } = self;
        write!(f, "secret {theirs:?} with testpmd, {ours:?} with us, id {id}: {answer:?}")
    }
}

fn request(
    theirs: Option<&'static str>,
    ours: &'static str,
    id: u32,
    answer: Option<&'static str>,
) -> Request {
    Request { theirs, ours, id, answer }
}

fn testpmd(memif: MemifArgs, secret: Option<&'static str>) -> Testpmd {
    let memif = memif.id(3);
    let memif = if let Some(secret) = secret { memif.secret(secret) } else { memif };
    Testpmd::new().memif(memif).forward(Mode::Io).memory(64).interactive()
}

/// The next refusal in words; others than in words fail, but a server of DPDK knows no interface
/// until it has started its port.
fn refusal(port: &mut Port, passing: &str) -> Outcome<String> {
    wait_until("a refusal", || {
        match port.poll(Some(Duration::from_millis(10)))?.map(|event| event.kind) {
            Some(EventKind::Refused(ControlError::Refused(why))) => Ok(Some(why.to_string())),
            Some(EventKind::Refused(ControlError::Rejected { text, .. })) => {
                Ok(Some(text.to_string()).filter(|text| text != passing))
            }
            None => Ok(None),
            other => Err(format!("{other:?}").into()),
        }
    })
}

fn check(port: &mut Port, answer: Option<&str>, passing: &str) -> Outcome {
    let Some(answer) = answer else { return link(port).map(drop) };
    let said = refusal(port, passing)?;
    if said == answer { Ok(()) } else { Err(format!("said {said:?}").into()) }
}

const LONGEST: &str = "23-bytes-fill-the-field";

#[test]
fn dpdk_client_is_admitted_with_the_right_secret_and_id_only() {
    let test = "dpdk_client_is_admitted_with_the_right_secret_and_id_only";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", 64) else { return };
    let rows = [
        request(Some("s3cret"), ",secret=s3cret", 3, None),
        request(Some(LONGEST), ",secret=23-bytes-fill-the-field", 3, None),
        // A client that sends a secret where none is asked for is welcome.
        request(Some("s3cret"), "", 3, None),
        request(Some("wrong"), ",secret=s3cret", 3, Some("incorrect secret")),
        request(Some("s3crets"), ",secret=s3cret", 3, Some("incorrect secret")),
        request(None, ",secret=s3cret", 3, Some("secret required")),
        request(None, "", 4, Some("unmatched interface id")),
        request(None, ",mode=ip", 3, Some("mode mismatch")),
    ];
    each_row(rows, |row| {
        let place = Place::new();
        let mut port = open(&place.path, &format!("role=server,id={}{}", row.id, row.ours))?;
        let _client = Killed(testpmd(MemifArgs::client(&place.path), row.theirs).start()?);
        check(&mut port, row.answer, "")
    });
}

#[test]
fn dpdk_server_turns_us_away_in_words() {
    let test = "dpdk_server_turns_us_away_in_words";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", 64) else { return };
    let rows = [
        request(Some("s3cret"), ",secret=s3cret", 3, None),
        request(Some(LONGEST), ",secret=23-bytes-fill-the-field", 3, None),
        request(None, ",secret=s3cret", 3, None),
        request(Some("s3cret"), ",secret=wrong", 3, Some("Incorrect secret")),
        request(Some("s3cret"), "", 3, Some("Secret required")),
        request(None, "", 4, Some("ID not found")),
        request(None, ",mode=ip", 3, Some("Only ethernet mode supported")),
    ];
    each_row(rows, |row| {
        let place = Place::new();
        let mut server = Killed(testpmd(MemifArgs::server(&place.path), row.theirs).start()?);
        let options = format!("role=client,reconnect=10ms-50ms,id={}{}", row.id, row.ours);
        let passing = if row.id == 3 { "ID not found" } else { "" };
        check(&mut open(&place.path, &options)?, row.answer, passing)?;
        Ok(server.process().check_running()?)
    });
}

#[test]
fn second_client_of_a_dpdk_server_is_turned_away_and_the_first_one_stays() {
    table(
        "second_client_of_a_dpdk_server_is_turned_away_and_the_first_one_stays",
        [Row::server()],
        |row| {
            let place = Place::new();
            let (mut peer, _port, mut link) = row.join(&place, row.testpmd(&place))?;
            let mut second = open(&place.path, &row.ours())?;
            check(&mut second, Some("Already connected"), "")?;
            drop(second);
            crate::echo(&mut link, &row.plan())?;
            Ok(peer.process().check_running()?)
        },
    );
}

#[test]
fn memory_that_cannot_be_sealed_is_refused_when_it_must_be() {
    let row = Row { options: ",policy=sealed", ..Row::zero_copy() };
    table("memory_that_cannot_be_sealed_is_refused_when_it_must_be", [row], |row| {
        let place = Place::new();
        let mut port = open(&place.path, &row.ours())?;
        let _client = Killed(row.testpmd(&place).start()?);
        wait_until("a refusal", || match port.poll(Some(Duration::from_millis(10)))? {
            Some(event) => match event.kind {
                EventKind::Refused(ControlError::Layout(_)) => Ok(Some(())),
                other => Err(format!("{other:?}").into()),
            },
            None => Ok(None),
        })
    });
}

#[test]
fn our_goodbye_reaches_a_dpdk_server_and_it_takes_the_next_client() {
    table(
        "our_goodbye_reaches_a_dpdk_server_and_it_takes_the_next_client",
        [Row::server()],
        |row| {
            let place = Place::new();
            let (mut peer, port, _link) = row.join(&place, row.testpmd(&place))?;
            port.close("time to go");
            let mut port = open(&place.path, &row.ours())?;
            crate::echo(&mut link(&mut port)?, &row.plan())?;
            peer.process().stop()?;
            match link_down(&mut port)? {
                DownReason::PeerClosed | DownReason::PeerDisconnected { .. } => Ok(()),
                other => Err(format!("{other}").into()),
            }
        },
    );
}
