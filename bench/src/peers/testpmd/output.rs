//! What testpmd prints.

/// One second of a port, as `--stats-period 1` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Packets received since the link came up.
    pub rx_packets: u64,
    /// Packets sent since the link came up.
    pub tx_packets: u64,
    /// Bytes received since the link came up.
    pub rx_bytes: u64,
    /// Bytes sent since the link came up.
    pub tx_bytes: u64,
    /// Packets received in the last second.
    pub rx_pps: u64,
    /// Packets sent in the last second.
    pub tx_pps: u64,
}

/// What testpmd counted from the start of forwarding to its end, over all ports.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that found no room in a ring.
    pub tx_dropped: u64,
    /// Cycles of the forwarding core per packet, spent in bursts that were not empty; with
    /// [`record_core_cycles`](super::Testpmd::record_core_cycles), when there was a packet.
    pub cycles_per_packet: Option<f64>,
}

/// The samples of `port` in `log`, oldest first.
pub(super) fn parse_samples(log: &str, port: u16) -> Vec<Sample> {
    let title = format!("NIC statistics for port {port} ");
    log.split(&title).skip(1).filter_map(parse_sample).collect()
}

fn parse_sample(block: &str) -> Option<Sample> {
    Some(Sample {
        rx_packets: number_after(block, "RX-packets:")?,
        tx_packets: number_after(block, "TX-packets:")?,
        rx_bytes: number_after(block, "RX-bytes:")?,
        tx_bytes: number_after(block, "TX-bytes:")?,
        rx_pps: number_after(block, "Rx-pps:")?,
        tx_pps: number_after(block, "Tx-pps:")?,
    })
}

/// The last totals in `log`: those of a later stop count.
pub(super) fn parse_totals(log: &str) -> Option<Totals> {
    let (_, block) = log.rsplit_once("Accumulated forward statistics for all ports")?;
    let cycles = block.split_once("CPU cycles/packet=").and_then(|(_, rest)| {
        let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        number.parse().ok()
    });
    Some(Totals {
        rx_packets: number_after(block, "RX-packets:")?,
        tx_packets: number_after(block, "TX-packets:")?,
        tx_dropped: number_after(block, "TX-dropped:")?,
        cycles_per_packet: cycles,
    })
}

/// The number behind the first `name` in `text`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}
