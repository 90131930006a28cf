use super::args::Arguments;
use super::output::{parse_samples, parse_totals};
use super::telemetry::parse_counters;
use super::*;

/// Printed by testpmd 22.11.11.
const TXONLY: &str = include_str!("tests/txonly.log");
const RXONLY_STOP: &str = include_str!("tests/rxonly_stop.log");
const TELEMETRY: &str = r#"{"/ethdev/stats":{"ipackets":1726118,"opackets":5,"ibytes":15509975992,
    "obytes":320,"imissed":0,"ierrors":0,"oerrors":2,"rx_nombuf":1,"q_ipackets":[1726118,0]}}"#;

#[test]
fn samples_of_a_generator() {
    let samples = parse_samples(TXONLY, 0);
    let pps: Vec<u64> = samples.iter().map(|sample| sample.tx_pps).collect();
    assert_eq!(pps, [0, 7_425_509, 7_489_132, 6_582_086, 7_648_877]);
    let last = Sample {
        tx_packets: 29_296_800,
        tx_bytes: 1_874_995_200,
        tx_pps: 7_648_877,
        ..Sample::default()
    };
    assert_eq!(samples.last(), Some(&last));
    assert!(parse_samples(TXONLY, 1).is_empty());
}

#[test]
fn totals_with_and_without_cycles() {
    let totals = parse_totals(TXONLY).unwrap();
    assert_eq!((totals.tx_packets, totals.tx_dropped), (36_997_728, 120_930_336));
    assert_eq!(totals.cycles_per_packet, Some(304.95));
    let totals = parse_totals(RXONLY_STOP).unwrap();
    assert_eq!((totals.rx_packets, totals.cycles_per_packet), (0, None));
    assert_eq!(parse_totals("Bye..."), None);
}

#[test]
fn counters_of_the_telemetry_socket() {
    let counters = parse_counters(&serde_json::from_str(TELEMETRY).unwrap()).unwrap();
    assert_eq!((counters.rx_packets, counters.rx_bytes), (1_726_118, 15_509_975_992));
    assert_eq!((counters.tx_packets, counters.tx_errors, counters.rx_no_buffers), (5, 2, 1));
    assert_eq!(parse_counters(&serde_json::json!({"/ethdev/stats": null})), None);
}

#[test]
fn long_packets_are_generated_in_pieces() {
    let mut args = Arguments::default();
    args.set_packet_len(64);
    assert_eq!(args.txpkts, [64]);
    args.set_packet_len(9001);
    assert_eq!(args.txpkts.len(), 6);
    assert_eq!(args.txpkts.iter().sum::<u16>(), 9001);
    let line = args.to_command_line("p");
    assert!(line.contains(&"--tx-offloads=0x8000".to_owned()), "{line:?}");
}

#[test]
fn command_line_names_the_memif_port() {
    let memif = MemifArgs::client("/tmp/s").id(7).zero_copy().secret("x").log2_ring_size(11);
    let args = Testpmd::new().memif(memif).core(1).queues(4).args;
    let line = args.to_command_line("p").join(" ");
    let vdev = "--vdev=net_memif0,role=client,id=7,socket=/tmp/s,socket-abstract=no,bsize=2048,\
                rsize=11,zero-copy=yes,secret=x";
    for part in [vdev, "--single-file-segments", "--lcores 0@1,1@1", "--rxq=4", "--file-prefix p"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn command_line_names_the_ports_of_a_vhost_user_pair() {
    let driver = VirtioUserArgs::server("/tmp/s").data_path(DataPath::PackedVector);
    let driver = Testpmd::new().virtio_user(driver.mac("02:00:00:00:00:01")).hugepages(true);
    let line = driver.args.to_command_line("p").join(" ");
    let vdev = "--vdev=net_virtio_user0,path=/tmp/s,queues=1,queue_size=1024,server=1,packed_vq=1,\
                mrg_rxbuf=0,in_order=1,vectorized=1,mac=02:00:00:00:00:01";
    let eal = ["--in-memory --single-file-segments", "--force-max-simd-bitwidth=512", "init:debug"];
    for part in eal.into_iter().chain([vdev]) {
        assert!(line.contains(part), "{part} in {line}");
    }
    let device = Testpmd::new().vhost(VhostArgs::server("/tmp/a")).queues(2).hugepages(false);
    let device = device.vhost(VhostArgs::client("/tmp/b").queue_pairs(4));
    let line = device.args.to_command_line("p").join(" ");
    let vdevs = "--vdev=net_vhost0,iface=/tmp/a,client=0,queues=2 \
                 --vdev=net_vhost1,iface=/tmp/b,client=1,queues=4";
    assert!(line.contains(vdevs) && line.contains("--no-huge"), "{line}");
    assert!(!line.contains("--in-memory"), "DPDK refuses it without hugepages: {line}");
}
