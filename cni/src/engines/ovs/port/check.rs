//! Comparing ports with what they should be, and listing them.

use super::super::OvsError;
use super::super::database::{Database, rows_of};
use super::super::rows::{equals, map, number, set, texts, to_map};
use super::{KEY_NETWORK, PortSpec, owner_of};
use crate::conf::Mode;
use crate::state::Owner;
use serde_json::{Value, json};

impl Database {
    /// Says what of a port is not as it should be; nothing when all is well.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub fn differences(&mut self, port: &PortSpec) -> Result<Vec<String>, OvsError> {
        let by_name = equals("name", &json!(port.name));
        let select = |table: &str, condition: &Value, columns: &[&str]| {
            json!({
            "op": "select", "table": table, "where": condition, "columns": columns })
        };
        let mut results = self.transact(vec![
            select("Port", &by_name, &["_uuid", "external_ids", "tag", "trunks"]),
            select("Interface", &by_name, &["type", "options", "ofport", "error", "mtu_request"]),
            select("Bridge", &equals("name", &json!(port.bridge)), &["ports", "datapath_type"]),
        ])?;
        let bridge = rows_of(results.pop())?.pop();
        let interface = rows_of(results.pop())?.pop();
        let row = rows_of(results.pop())?.pop();
        let (Some(row), Some(interface)) = (row, interface) else {
            return Ok(vec![format!("port {} is not there", port.name)]);
        };
        let mut found = Vec::new();
        match bridge {
            None => found.push(format!("bridge {} is not there", port.bridge)),
            Some(bridge) if !set(&bridge["ports"]).contains(&&row["_uuid"]) => {
                found.push(format!("port {} is not on bridge {}", port.name, port.bridge));
            }
            Some(_) => {}
        }
        found.extend(port_differences(port, &row));
        found.extend(interface_differences(port, &interface));
        Ok(found)
    }

    /// Ports of ours on a network, with their bridges.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub fn ports_of(&mut self, network: &str) -> Result<Vec<OwnedPort>, OvsError> {
        let ids = to_map([(KEY_NETWORK, network)]);
        let condition = json!([["external_ids", "includes", ids]]);
        let rows = self.select("Port", &condition, &["_uuid", "name", "external_ids"])?;
        let bridges = self.select("Bridge", &json!([]), &["name", "ports"])?;
        let bridge_of = |reference: &Value| {
            let found = bridges.iter().find(|row| set(&row["ports"]).contains(&reference));
            found.and_then(|row| row["name"].as_str()).unwrap_or_default().to_owned()
        };
        let owned = rows.iter().filter_map(|row| {
            Some(OwnedPort {
                owner: owner_of(&row["external_ids"])?,
                name: row["name"].as_str()?.to_owned(),
                bridge: bridge_of(&row["_uuid"]),
            })
        });
        Ok(owned.collect())
    }
}

/// A port of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPort {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: String,
}

fn port_differences(port: &PortSpec, row: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if owner_of(&row["external_ids"]).as_ref() != Some(&port.owner) {
        found.push(format!("port {} is not marked as ours", port.name));
    }
    if number(&row["tag"]) != port.vlan.map(i64::from) {
        found.push(format!("its VLAN is {}, not {:?}", row["tag"], port.vlan));
    }
    let mut trunk: Vec<i64> = set(&row["trunks"]).iter().filter_map(|v| v.as_i64()).collect();
    let mut wanted: Vec<i64> = port.trunk.iter().copied().map(i64::from).collect();
    trunk.sort_unstable();
    wanted.sort_unstable();
    wanted.dedup();
    if trunk != wanted {
        found.push(format!("its trunk is {trunk:?}, not {wanted:?}"));
    }
    found
}

fn interface_differences(port: &PortSpec, row: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if row["type"] != port.kind() {
        found.push(format!("its type is {}, not {}", row["type"], port.kind()));
    }
    let options = map(&row["options"]);
    let path = options.get("vhost-server-path").copied().unwrap_or_default();
    if port.mode == Mode::Client && path != port.socket.as_os_str() {
        found.push(format!("its socket is `{path}`, not {}", port.socket.display()));
    }
    if number(&row["mtu_request"]) != port.mtu.map(i64::from) {
        found.push(format!("its MTU is {}, not {:?}", row["mtu_request"], port.mtu));
    }
    if number(&row["ofport"]).is_none_or(|number| number <= 0) {
        let reason = texts(&row["error"]).concat();
        found.push(format!("the vswitch does not have it ({reason})"));
    }
    found
}
