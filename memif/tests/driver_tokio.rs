//! A port in a tokio runtime.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use ringport_memif::tokio::AsyncPort;
use ringport_memif::{DownReason, EventKind, Port};
use std::time::Duration;

#[tokio::test]
async fn links_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memif.sock");
    let open = |role: &str| {
        let port = Port::open(&format!("memif:{},{role}", path.display())).unwrap();
        AsyncPort::new(port).unwrap()
    };
    let mut server = open("role=server");
    let mut client = open("role=client,reconnect=5ms-20ms");
    let scenario = async {
        for _ in 0..3 {
            let (left, right) = tokio::join!(server.next_event(), client.next_event());
            assert!(matches!(left.unwrap().kind, EventKind::LinkUp(_)));
            assert!(matches!(right.unwrap().kind, EventKind::LinkUp(_)));
            client.into_inner().close("again");
            let event = server.next_event().await.unwrap();
            assert!(matches!(event.kind, EventKind::LinkDown(DownReason::PeerDisconnected { .. })));
            client = open("role=client,reconnect=5ms-20ms");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), scenario).await.unwrap();
}
