//! VPP and we ping each other.

use super::Outcome;
use super::station::Station;
use super::vpp::Vpp;
use ringport::burst::{PacketRx, PacketTx};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Pings of `lens` bytes from us to VPP, which is at `vpps`, and from VPP to us.
pub fn ping_each_other<R: PacketRx, T: PacketTx>(
    vpp: &Vpp,
    station: &mut Station<R, T>,
    vpps: Ipv4Addr,
    lens: &[usize],
) -> Outcome {
    let mac = station.resolve(vpps)?;
    for (sequence, &len) in (1..).zip(lens) {
        let checksum_is_right = station.ping(mac, vpps, sequence, len)?;
        if !checksum_is_right {
            return Err(format!("VPP answered {len} bytes with a wrong checksum").into());
        }
        // It waits one interval for the last reply: as long as a busy machine may take.
        let ping = format!("ping {} repeat 3 interval 0.2 size {len}", station.host.ip);
        let mut running = vpp.begin(&ping)?;
        station.serve_while(|| Ok(running.wait_end(Duration::ZERO)?.is_none()))?;
        // VPP learned our address from our own question, so not even the first one may be lost.
        let said = running.log();
        if !said.contains("3 sent, 3 received, 0% packet loss") {
            return Err(format!("{ping}: {said}").into());
        }
    }
    Ok(())
}
