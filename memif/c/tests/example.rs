//! The C example against a port of ours.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use ringport_memif::Port;
use support::library::Library;
use support::responder::{ADDRESS, PAYLOADS, interrupt, pings, start, station};
use support::{Outcome, PATIENCE, receive, send};

/// A port of ours, and the port string of the example, which has the other role.
fn ends(dir: &tempfile::TempDir, ours: &str, options: &str) -> Outcome<(Port, String)> {
    let socket = dir.path().join("memif.sock");
    let theirs = if ours == "server" { "client" } else { "server" };
    let port = Port::open(&format!("memif:{},role={ours}", socket.display()))?;
    Ok((port, format!("memif:{},role={theirs}{options}", socket.display())))
}

#[test]
fn example_answers_arp_and_pings_in_both_roles_and_over_links() -> Outcome {
    let test = "example_answers_arp_and_pings_in_both_roles_and_over_links";
    let Some(library) = Library::install(test) else { return Ok(()) };
    for ours in ["server", "client"] {
        let dir = tempfile::tempdir()?;
        let (mut port, theirs) = ends(&dir, ours, "")?;
        let mut responder = start(&library, &[&theirs, &ADDRESS.to_string()])?;
        let mut peer = station(&mut port)?;
        responder.wait_for_line("link up: ringport", PATIENCE)?;
        assert_eq!(peer.resolve(ADDRESS)?, [2, 0xfe, 0, 0, 0, 1]);
        pings(&mut peer, &PAYLOADS)?;
        port.close("enough");
        let statistics = responder.wait_for_line("queue 0: received ", PATIENCE)?;
        assert!(!statistics.contains("sent 0"), "{statistics}");
        responder.wait_for_line("link down: peer disconnected: enough", PATIENCE)?;
        // The next link is like the first.
        let (mut port, _) = ends(&dir, ours, "")?;
        let mut peer = station(&mut port)?;
        peer.resolve(ADDRESS)?;
        let log = interrupt(responder)?;
        assert!(log.ends_with("link down: interrupted\n"), "{log}");
    }
    Ok(())
}

#[test]
fn example_without_an_address_sends_packets_of_every_queue_back() -> Outcome {
    let test = "example_without_an_address_sends_packets_of_every_queue_back";
    let Some(library) = Library::install(test) else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let (mut port, theirs) = ends(&dir, "server", ",rings=3")?;
    let responder = start(&library, &[&theirs])?;
    let mut link = port.wait_link_up(PATIENCE)?;
    for (rx, tx) in link.rx.iter_mut().zip(&mut link.tx) {
        for len in [60, 2048, 9000] {
            let frame = [&[1; 6][..], &[2; 6], &vec![3; len - 12]].concat();
            send(tx, &frame)?;
            let back = receive(rx)?;
            assert_eq!(back.len(), len);
            assert_eq!((&back[..6], &back[6..12]), (&[2; 6][..], &[1; 6][..]));
            assert_eq!(back[12..], frame[12..]);
        }
    }
    let log = interrupt(responder)?;
    for queue in 0..3 {
        assert!(log.contains(&format!("queue {queue}: received 3, sent 3 packets")), "{log}");
    }
    Ok(())
}

#[test]
fn example_with_a_port_string_that_cannot_work_says_why() -> Outcome {
    let Some(library) = Library::install("example_with_a_port_string_that_cannot_work_says_why")
    else {
        return Ok(());
    };
    let mut responder = start(&library, &["memif:/run/a.sock"])?;
    let status = responder.wait_end(PATIENCE)?;
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    assert!(responder.log().contains("key role is missing"), "{}", responder.log());
    Ok(())
}
