//! Between versions.

use super::{CniResult, Ip, Route};
use crate::error::{CniError, code};
use crate::version::CniVersion;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) fn read(value: &Value) -> Result<CniResult, CniError> {
    let version = CniVersion::of(value)?;
    if version < CniVersion::V0_3_0 { read_old(value) } else { decode(value) }
}

fn decode<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, CniError> {
    T::deserialize(value).map_err(|e| CniError::caused(code::DECODE, "cannot decode a result", &e))
}

/// The form up to 0.2.0: at most one address of each family.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OldIp {
    ip: String,
    gateway: String,
    routes: Vec<Route>,
}

fn read_old(value: &Value) -> Result<CniResult, CniError> {
    let mut result = CniResult::default();
    for family in ["ip4", "ip6"] {
        if let Some(found) = value.get(family).filter(|found| found.is_object()) {
            let old: OldIp = decode(found)?;
            result.ips.push(Ip { interface: None, address: old.ip, gateway: old.gateway });
            result.routes.extend(old.routes);
        }
    }
    if let Some(dns) = value.get("dns").and_then(Value::as_object) {
        result.dns = dns.clone();
    }
    Ok(result)
}

pub(super) fn write(result: &CniResult, version: CniVersion) -> Value {
    let mut written =
        if version < CniVersion::V0_3_0 { write_old(result) } else { write_new(result, version) };
    let mut named = Map::new();
    named.insert("cniVersion".to_owned(), Value::from(version.as_str()));
    named.append(&mut written);
    named.insert("dns".to_owned(), Value::Object(result.dns.clone()));
    Value::Object(named)
}

fn write_new(result: &CniResult, version: CniVersion) -> Map<String, Value> {
    let mut members = Map::new();
    let mut list = |name: &str, rows: Vec<Value>| {
        if !rows.is_empty() {
            members.insert(name.to_owned(), Value::Array(rows));
        }
    };
    list("interfaces", rows(&result.interfaces, |row| without_new_words(row, version, INTERFACE)));
    list("ips", rows(&result.ips, |row| with_family(row, version)));
    list("routes", rows(&result.routes, |row| without_new_words(row, version, ROUTE)));
    members
}

/// What only 1.1.0 can say about an interface.
const INTERFACE: &[&str] = &["mtu", "socketPath", "pciID"];
/// What only 1.1.0 can say about a route.
const ROUTE: &[&str] = &["mtu", "advmss", "priority", "table", "scope"];

fn rows<T: serde::Serialize>(items: &[T], adapt: impl Fn(&mut Map<String, Value>)) -> Vec<Value> {
    let mut rows = Vec::new();
    for item in items {
        // These types have string keys and finite numbers only, so that they always serialise.
        if let Ok(Value::Object(mut row)) = serde_json::to_value(item) {
            adapt(&mut row);
            rows.push(Value::Object(row));
        }
    }
    rows
}

fn without_new_words(row: &mut Map<String, Value>, version: CniVersion, words: &[&str]) {
    if version < CniVersion::V1_1_0 {
        row.retain(|key, _| !words.contains(&key.as_str()));
    }
}

/// Before 1.0.0 an address says its family.
fn with_family(row: &mut Map<String, Value>, version: CniVersion) {
    if version < CniVersion::V1_0_0 {
        let address = row.get("address").and_then(Value::as_str).unwrap_or_default();
        let family = if is_v6(address) { "6" } else { "4" };
        row.insert("version".to_owned(), Value::from(family));
    }
}

fn is_v6(address: &str) -> bool {
    address.contains(':')
}

fn write_old(result: &CniResult) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, v6) in [("ip4", false), ("ip6", true)] {
        let Some(ip) = result.ips.iter().find(|ip| is_v6(&ip.address) == v6) else { continue };
        let mut row = json!({ "ip": ip.address });
        if !ip.gateway.is_empty() {
            row["gateway"] = Value::from(ip.gateway.clone());
        }
        let of_family: Vec<Route> =
            result.routes.iter().filter(|route| is_v6(&route.dst) == v6).cloned().collect();
        let routes = rows(&of_family, |row| without_new_words(row, CniVersion::V0_2_0, ROUTE));
        if !routes.is_empty() {
            row["routes"] = Value::Array(routes);
        }
        members.insert(name.to_owned(), row);
    }
    members
}
