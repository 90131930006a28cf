//! Making a port.

use super::super::OvsError;
use super::super::database::{Database, ROOT, rows_of};
use super::super::rows::{equals, number, texts, to_map, to_set};
use super::super::rpc::malformed;
use super::{KEY_OWNER, PortSpec, marks, owner_of};
use crate::conf::Mode;
use crate::engines::MARK;
use serde_json::{Value, json};

/// How often a transaction is tried when others change the same rows.
const ATTEMPTS: u32 = 16;
/// The datapath in which vhost-user ports are.
const NETDEV: &str = "netdev";

impl Database {
    /// Makes a port, and its bridge when it is missing, and waits until the vswitch has it.
    /// Returns the port's number on its bridge. When the vswitch fails, the port is gone again.
    ///
    /// # Errors
    /// [`OvsError::Foreign`], [`OvsError::Datapath`]: what is there is not ours to change;
    /// [`OvsError::Port`], [`OvsError::Unapplied`]: the vswitch did not make it.
    pub fn add_port(&mut self, port: &PortSpec) -> Result<i64, OvsError> {
        match self.insert(port) {
            Err(error @ (OvsError::Port { .. } | OvsError::Unapplied { .. })) => {
                // Undoing walks the same way later, should this fail.
                self.restart_clock();
                if let Err(e) = self.remove_port(&port.name, &port.bridge, Some(&port.owner)) {
                    tracing::warn!(port = port.name, error = %e, "cannot remove a failed port");
                }
                Err(error)
            }
            other => other,
        }
    }

    /// Nearly always the bridge is there and the port is not: whether it is so is looked at when the
    /// transaction fails.
    fn insert(&mut self, port: &PortSpec) -> Result<i64, OvsError> {
        let mut exists = true;
        for _ in 0..ATTEMPTS {
            let mut operations = vec![wait_for_bridge(&port.bridge, exists)];
            operations.extend(insert_port(port));
            if exists {
                operations.push(join_bridge(&port.bridge));
            } else {
                operations.extend(insert_bridge(&port.bridge));
            }
            let made = select("Interface", &port.name, &["ofport", "error"]);
            match self.apply(operations, vec![made]) {
                Err(error) if error.is_race() => exists = self.look_at(port)?,
                other => return number_of(port, &rows_of(other?.pop())?),
            }
        }
        Err(OvsError::Contended { bridge: port.bridge.clone(), attempts: ATTEMPTS })
    }

    /// Looks whether the port can be made, and whether its bridge is there.
    fn look_at(&mut self, port: &PortSpec) -> Result<bool, OvsError> {
        let mut results = self.transact(vec![
            select("Bridge", &port.bridge, &["datapath_type"]),
            select("Port", &port.name, &["external_ids"]),
        ])?;
        let ports = rows_of(results.pop())?;
        let bridges = rows_of(results.pop())?;
        if let Some(found) = ports.first() {
            if owner_of(&found["external_ids"]).as_ref() != Some(&port.owner) {
                return Err(OvsError::Foreign { port: port.name.clone() });
            }
            self.remove_port(&port.name, &port.bridge, Some(&port.owner))?;
            return self.look_at(port);
        }
        let Some(bridge) = bridges.first() else { return Ok(false) };
        match bridge["datapath_type"].as_str().unwrap_or_default() {
            NETDEV => Ok(true),
            other => {
                Err(OvsError::Datapath { bridge: port.bridge.clone(), datapath: other.to_owned() })
            }
        }
    }
}

/// The number that the vswitch gave to a port, of its interface's row.
fn number_of(port: &PortSpec, rows: &[Value]) -> Result<i64, OvsError> {
    let row = rows.first().ok_or_else(|| malformed("the port vanished"))?;
    let reason = texts(&row["error"]).concat();
    match number(&row["ofport"]) {
        Some(number) if number > 0 && reason.is_empty() => Ok(number),
        _ if reason.is_empty() => {
            Err(OvsError::Port { port: port.name.clone(), reason: "no reason given".to_owned() })
        }
        _ => Err(OvsError::Port { port: port.name.clone(), reason }),
    }
}

fn select(table: &str, name: &str, columns: &[&str]) -> Value {
    let condition = equals("name", &json!(name));
    json!({ "op": "select", "table": table, "where": condition, "columns": columns })
}

/// Fails the transaction when the bridge is not there, or not one for such ports; or when it is there
/// and should not be. Adding a port to a bridge that is gone would succeed and do nothing.
fn wait_for_bridge(bridge: &str, exists: bool) -> Value {
    let row = json!({ "name": bridge, "datapath_type": NETDEV });
    let rows = if exists { json!([row]) } else { json!([]) };
    json!({
        "op": "wait", "table": "Bridge", "timeout": 0, "until": "==",
        "where": equals("name", &json!(bridge)), "columns": ["name", "datapath_type"], "rows": rows,
    })
}

fn insert_port(port: &PortSpec) -> [Value; 2] {
    let ids = to_map(marks(&port.owner));
    let mut interface = json!({ "name": port.name, "type": port.kind(), "external_ids": ids });
    if port.mode == Mode::Client {
        let path = port.socket.display().to_string();
        interface["options"] = to_map([("vhost-server-path", path.as_str())]);
    }
    for (column, value) in [
        ("mtu_request", port.mtu),
        ("ingress_policing_rate", port.ingress_rate),
        ("ingress_policing_burst", port.ingress_burst),
    ] {
        if let Some(value) = value {
            interface[column] = Value::from(value);
        }
    }
    let mut row = json!({
        "name": port.name, "interfaces": ["named-uuid", "interface"], "external_ids": ids,
    });
    if let Some(vlan) = port.vlan {
        row["tag"] = Value::from(vlan);
    }
    if !port.trunk.is_empty() {
        row["trunks"] = to_set(&port.trunk);
    }
    if let Some(mode) = port.vlan_mode() {
        row["vlan_mode"] = Value::from(mode);
    }
    [
        json!({ "op": "insert", "table": "Interface", "uuid-name": "interface", "row": interface }),
        json!({ "op": "insert", "table": "Port", "uuid-name": "port", "row": row }),
    ]
}

fn join_bridge(bridge: &str) -> Value {
    json!({
        "op": "mutate", "table": "Bridge", "where": equals("name", &json!(bridge)),
        "mutations": [["ports", "insert", ["set", [["named-uuid", "port"]]]]],
    })
}

/// A bridge of ours, with its own port and the one that it is made for.
fn insert_bridge(bridge: &str) -> [Value; 4] {
    let ids = to_map([(KEY_OWNER, MARK)]);
    let ports = json!(["set", [["named-uuid", "local_port"], ["named-uuid", "port"]]]);
    [
        json!({ "op": "insert", "table": "Interface", "uuid-name": "local",
                "row": { "name": bridge, "type": "internal" } }),
        json!({ "op": "insert", "table": "Port", "uuid-name": "local_port",
                "row": { "name": bridge, "interfaces": ["named-uuid", "local"] } }),
        json!({ "op": "insert", "table": "Bridge", "uuid-name": "bridge",
                "row": { "name": bridge, "datapath_type": NETDEV, "ports": ports,
                         "external_ids": ids } }),
        json!({ "op": "mutate", "table": ROOT, "where": [],
                "mutations": [["bridges", "insert", ["set", [["named-uuid", "bridge"]]]]] }),
    ]
}
