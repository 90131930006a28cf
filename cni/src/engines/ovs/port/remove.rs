//! Removing a port.

use super::super::OvsError;
use super::super::database::{Database, ROOT};
use super::super::rows::{equals, set};
use super::{is_our_bridge, owner_of};
use crate::state::Owner;
use serde_json::{Value, json};

impl Database {
    /// Removes a port, and its bridge when it is ours and nobody else has a port on it. A port that
    /// is absent is removed already. One that is not `owner`'s stays; without an owner it goes
    /// whosesoever it is.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub fn remove_port(
        &mut self,
        port: &str,
        bridge: &str,
        owner: Option<&Owner>,
    ) -> Result<(), OvsError> {
        let condition = equals("name", &json!(port));
        let rows = self.select("Port", &condition, &["_uuid", "external_ids"])?;
        for row in &rows {
            if owner.is_some() && owner_of(&row["external_ids"]).as_ref() != owner {
                tracing::warn!(port, "a port of this name is not ours and stays");
                continue;
            }
            let reference = &row["_uuid"];
            self.tell(vec![json!({
                "op": "mutate", "table": "Bridge",
                "where": [["ports", "includes", reference]],
                "mutations": [["ports", "delete", reference]],
            })])?;
        }
        self.remove_bridge_if_ours_and_empty(bridge)
    }

    fn remove_bridge_if_ours_and_empty(&mut self, bridge: &str) -> Result<(), OvsError> {
        let condition = equals("name", &json!(bridge));
        let rows = self.select("Bridge", &condition, &["_uuid", "ports", "external_ids"])?;
        let Some(row) = rows.first() else { return Ok(()) };
        if !is_our_bridge(&row["external_ids"]) || !self.is_empty(bridge, &row["ports"])? {
            return Ok(());
        }
        let unchanged = json!({
            "op": "wait", "table": "Bridge", "timeout": 0, "until": "==",
            "where": condition, "columns": ["_uuid", "ports"],
            "rows": [{ "_uuid": row["_uuid"], "ports": row["ports"] }],
        });
        let removal = json!({
            "op": "mutate", "table": ROOT, "where": [],
            "mutations": [["bridges", "delete", row["_uuid"]]],
        });
        match self.tell(vec![unchanged, removal]) {
            // Somebody has just added a port, or removed the bridge.
            Err(error) if error.is_race() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Whether a bridge has no port but its own.
    fn is_empty(&mut self, bridge: &str, ports: &Value) -> Result<bool, OvsError> {
        match set(ports).as_slice() {
            [] => Ok(true),
            [only] => {
                let rows = self.select("Port", &equals("_uuid", only), &["name"])?;
                Ok(rows.first().is_some_and(|row| row["name"] == bridge))
            }
            _ => Ok(false),
        }
    }
}
