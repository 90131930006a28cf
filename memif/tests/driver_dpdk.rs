//! Against DPDK's net_memif, in both roles. Needs `dpdk-testpmd`, no huge pages and no root:
//! `cargo test --test driver_dpdk -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use ringport_memif::{DownReason, EventKind, Port};
use std::process::{Child, Command, Stdio};

/// A testpmd with one memif port, killed when dropped.
struct Testpmd(Child);

impl Testpmd {
    fn start(place: &Place, role: &str, more: &str) -> Self {
        let device = format!(
            "--vdev=net_memif0,role={role},id=3,socket={},socket-abstract=no,secret=s3cret{more}",
            place.path.display()
        );
        let prefix = format!("--file-prefix=ringport-{role}-{}", std::process::id());
        let child = Command::new("dpdk-testpmd")
            .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "-l", "0-1"])
            .args([prefix, device])
            .args(["--", "--total-num-mbufs=4096", "--forward-mode=txonly", "--auto-start", "-a"])
            .arg("--stats-period=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dpdk-testpmd");
        Self(child)
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check_link(port: &mut Port, rings: usize, app_name: &str) {
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    assert_eq!((link.rx.len(), link.tx.len()), (rings, rings));
    assert!(link.peer.app_name.to_string().starts_with(app_name), "{:?}", link.peer);
    let mut packets = 0;
    wait_for("packets", || {
        for rx in &mut link.rx {
            packets += rx.rx_burst(64).unwrap().len();
        }
        (packets > 10_000).then_some(())
    });
}

#[test]
#[ignore = "needs dpdk-testpmd"]
fn dpdk_client_connects_to_our_server_and_dies() {
    let place = Place::new();
    let text = format!("memif:{},role=server,id=3,secret=s3cret", place.path.display());
    let mut port = Port::open(&text).unwrap();
    for _ in 0..2 {
        let testpmd = Testpmd::start(&place, "client", "");
        check_link(&mut port, 1, "DPDK");
        drop(testpmd);
        let event = next_event(&mut port);
        assert!(matches!(event.kind, EventKind::LinkDown(DownReason::PeerClosed)), "{event:?}");
    }
}

#[test]
#[ignore = "needs dpdk-testpmd"]
fn our_client_connects_to_a_dpdk_server() {
    let place = Place::new();
    let _testpmd = Testpmd::start(&place, "server", "");
    let text = format!("memif:{},role=client,id=3,secret=s3cret", place.path.display());
    check_link(&mut Port::open(&text).unwrap(), 1, "DPDK");
    // Again after a goodbye: DPDK's server takes the next client.
    check_link(&mut Port::open(&text).unwrap(), 1, "DPDK");
}

#[test]
#[ignore = "needs dpdk-testpmd"]
fn a_dpdk_server_refuses_a_wrong_secret_in_words() {
    let place = Place::new();
    let _testpmd = Testpmd::start(&place, "server", "");
    wait_for("the socket", || place.path.exists().then_some(()));
    let text =
        format!("memif:{},role=client,id=3,secret=other,reconnect=20ms-50ms", place.path.display());
    let mut port = Port::open(&text).unwrap();
    let said = wait_for("a refusal in words", || match next_refusal(&mut port).1 {
        // Until testpmd has started its port, DPDK knows no such interface.
        ringport_memif::ControlError::Rejected { text, .. } => {
            Some(text.to_string()).filter(|said| said != "ID not found")
        }
        _ => None,
    });
    assert_eq!(said, "Incorrect secret");
}
