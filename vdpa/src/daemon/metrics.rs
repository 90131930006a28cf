//! What the daemon counts, in the form that Prometheus reads (OpenMetrics 1.0 text).
//!
//! | metric | kind | value |
//! |---|---|---|
//! | `ringport_vdpa_device_info` | info | labels `socket`, `side`, and `kind` (`vhost-vdpa`, `vfio-pci`, or empty while it is not there) |
//! | `ringport_vdpa_device_state` | gauge, one for each `state` | 1 for the [state](super::State) that it is in, else 0 |
//! | `ringport_vdpa_kicks_by_thread` | gauge | 1 while a thread passes kicks on, which the kernel refused to, else 0 |
//! | `ringport_vdpa_opened_total` | counter | how often it was opened |
//! | `ringport_vdpa_given_up_total` | counter | how often it was given up: removed, or failed |
//! | `ringport_vdpa_links_total` | counter | links that came up |
//! | `ringport_vdpa_links_lost_total` | counter | links that went down |
//! | `ringport_vdpa_connections_refused_total` | counter | connections that ended before there was a link |
//! | `ringport_vdpa_requests_refused_total` | counter | requests of front-ends that were refused |
//!
//! Each has the label `device`. Counters begin anew when a device is added anew. Packets are not counted: they
//! do not pass through the daemon; the switch, the front-end and `vdpa dev vstats` have those figures.

mod server;

pub use server::{MetricsError, MetricsServer};

use super::status::{DeviceStatus, Kicks, State, Statistics};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use std::fmt;

/// The devices' figures as text.
#[must_use]
pub fn text(devices: Vec<DeviceStatus>) -> String {
    let mut registry = Registry::with_prefix("ringport_vdpa");
    registry.register_collector(Box::new(Collector(devices)));
    let mut text = String::new();
    // A string takes whatever is written to it.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Collector(Vec<DeviceStatus>);

/// A counter's name, what it says, and where it is.
type Count = (&'static str, &'static str, fn(&Statistics) -> u64);

const COUNTS: [Count; 6] = [
    ("opened", "How often the device was opened", |count| count.opened),
    ("given_up", "How often the device was given up: removed, or failed", |count| count.given_up),
    ("links", "Links that came up", |count| count.links),
    ("links_lost", "Links that went down", |count| count.links_lost),
    ("connections_refused", "Connections that ended before there was a link", |count| {
        count.connections_refused
    }),
    ("requests_refused", "Requests of front-ends that were refused", |count| {
        count.requests_refused
    }),
];

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.info(&mut encoder)?;
        self.state(&mut encoder)?;
        self.kicks(&mut encoder)?;
        COUNTS.iter().try_for_each(|count| self.count(&mut encoder, count))
    }
}

impl Collector {
    fn info(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "The device's socket, and who makes it";
        let mut metric = encoder.encode_descriptor("device", help, None, MetricType::Info)?;
        self.0.iter().try_for_each(|it| {
            let kind = it.kind.clone().unwrap_or_default();
            let socket = [("socket", it.socket.clone()), ("side", it.side.to_string())];
            let labels = [socket.as_slice(), &[("kind", kind)]].concat();
            metric.encode_family(&device(it))?.encode_info(&labels)
        })
    }

    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether the device is in this state";
        let mut metric =
            encoder.encode_descriptor("device_state", help, None, MetricType::Gauge)?;
        let all = || [State::Absent, State::Ready, State::Linked];
        let pairs = self.0.iter().flat_map(|it| all().map(|state| (it, state)));
        pairs.into_iter().try_for_each(|(it, state)| {
            let labels = [("device", it.device.to_string()), ("state", state.to_string())];
            metric.encode_family(&labels)?.encode_gauge(&u64::from(it.state == state))
        })
    }

    fn kicks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether a thread passes kicks on, which the kernel refused to";
        let mut metric =
            encoder.encode_descriptor("kicks_by_thread", help, None, MetricType::Gauge)?;
        self.0.iter().try_for_each(|it| {
            let by_thread = u64::from(it.kicks == Some(Kicks::Thread));
            metric.encode_family(&device(it))?.encode_gauge(&by_thread)
        })
    }

    fn count(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        &(name, help, value): &Count,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.0.iter().try_for_each(|it| {
            let count = ConstCounter::new(value(&it.statistics));
            count.encode(metric.encode_family(&device(it))?)
        })
    }
}

fn device(status: &DeviceStatus) -> impl EncodeLabelSet {
    [("device", status.device.to_string())]
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;

    fn status(device: &str, state: State) -> DeviceStatus {
        DeviceStatus {
            device: device.parse().unwrap(),
            socket: "/run/vdpa-0".into(),
            side: Side::Client,
            state,
            kind: Some("vfio-pci".into()),
            kicks: Some(Kicks::Thread),
            trouble: None,
            statistics: Statistics { links: 7, links_lost: 6, ..Statistics::default() },
        }
    }

    #[test]
    fn each_device_has_its_state_and_its_counts() {
        let text = text(vec![status("82:00.2", State::Ready), status("/dev/\"v", State::Absent)]);
        let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line}: {text}");
        has("# TYPE ringport_vdpa_links counter");
        has(r#"ringport_vdpa_links_total{device="0000:82:00.2"} 7"#);
        has(r#"ringport_vdpa_links_lost_total{device="/dev/\"v"} 6"#);
        has(r#"ringport_vdpa_opened_total{device="0000:82:00.2"} 0"#);
        has(r#"ringport_vdpa_device_state{device="0000:82:00.2",state="ready"} 1"#);
        has(r#"ringport_vdpa_device_state{device="0000:82:00.2",state="absent"} 0"#);
        has(r#"ringport_vdpa_kicks_by_thread{device="0000:82:00.2"} 1"#);
        let socket = r#"socket="/run/vdpa-0",side="client",kind="vfio-pci""#;
        has(&format!(r#"ringport_vdpa_device_info{{{socket},device="0000:82:00.2"}} 1"#));
        assert_eq!(text.lines().last(), Some("# EOF"));
    }

    #[test]
    fn names_are_those_of_the_page() {
        let page = include_str!("metrics.rs");
        let text = text(vec![status("82:00.2", State::Ready)]);
        let names = text.lines().filter(|line| !line.starts_with('#'));
        for name in names.map(|line| line.split('{').next().unwrap()) {
            assert!(page.contains(&format!("//! | `{name}` |")), "{name}");
        }
    }
}
