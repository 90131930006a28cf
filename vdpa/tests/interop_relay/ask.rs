//! Packets to an interface on the wire of a device, and back.

#[allow(dead_code, reason = "a part of it")]
#[path = "../interop_vhost_vdpa/arp.rs"]
pub(crate) mod arp;

use super::relay_support::eventually;
use ringport_vhost_user::driver;

/// Of the interface on the same wire.
pub(crate) const THEIRS: [u8; 4] = [10, 0, 0, 1];

/// Asks as often for the interface's address, and hears of it.
#[track_caller]
pub(crate) fn ask(link: &mut driver::Link, times: u8) {
    let mac = link.parameters.mac.expect("an address");
    for time in 0..times {
        let mut burst = link.tx[0].tx_burst(1).unwrap();
        burst.push(&arp::question(mac, [10, 0, 0, 100 + time], THEIRS)).unwrap();
        burst.commit();
        let mut heard = false;
        eventually("an answer", || {
            let burst = link.rx[0].rx_burst(8).unwrap();
            let answer = |packet: &[u8]| arp::is_answer(packet, mac, THEIRS);
            heard |= burst.packets().any(|packet| answer(&packet.detach()));
            heard
        });
    }
}
