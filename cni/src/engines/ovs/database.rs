//! Transactions on the database `Open_vSwitch`.

use super::rows::{map, number, texts};
use super::rpc::{Rpc, malformed, refusal};
use super::{Address, OvsError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "Open_vSwitch";
/// The table with the one row for the whole vswitch.
pub(super) const ROOT: &str = "Open_vSwitch";
/// Where Debian and most others let the vswitch run.
const RUN_DIR: &str = "/var/run/openvswitch";

/// A connection to the database.
#[derive(Debug)]
pub struct Database {
    rpc: Rpc,
}

/// What the vswitch says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vswitch {
    /// Its release.
    pub release: String,
    /// Whether DPDK runs.
    pub dpdk: bool,
    /// Kinds of interfaces that it has.
    pub iface_types: Vec<String>,
    /// Where it makes the sockets of server ports.
    pub socket_dir: PathBuf,
}

impl Database {
    /// Connects to an address that needs nothing else.
    ///
    /// # Errors
    /// When `address` is none, or nobody listens there.
    pub fn connect(address: &str, timeout: Duration) -> Result<Self, OvsError> {
        Self::at(&address.parse()?, timeout)
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Address::connect`].
    pub fn at(address: &Address, timeout: Duration) -> Result<Self, OvsError> {
        Ok(Self { rpc: Rpc::connect(address, timeout)? })
    }

    /// Begins the time anew, for cleaning up after a time-out.
    pub fn restart_clock(&mut self) {
        self.rpc.restart_clock();
    }

    /// Runs operations, all or none, and returns their results.
    ///
    /// # Errors
    /// [`OvsError::Refused`] with the first error of any of them.
    pub fn transact(&mut self, operations: Vec<Value>) -> Result<Vec<Value>, OvsError> {
        let count = operations.len();
        let mut params = vec![Value::from(NAME)];
        params.extend(operations);
        let Value::Array(results) = self.rpc.call("transact", &Value::Array(params))? else {
            return Err(malformed("the result of a transaction is no list"));
        };
        // An error of the whole transaction comes after the results of its operations.
        if let Some(failed) = results.iter().find(|result| result.get("error").is_some()) {
            return Err(refusal(failed));
        }
        if results.len() == count {
            Ok(results)
        } else {
            Err(malformed("a transaction has fewer results than operations"))
        }
    }

    /// Rows of a table.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub fn select(
        &mut self,
        table: &str,
        condition: &Value,
        columns: &[&str],
    ) -> Result<Vec<Value>, OvsError> {
        let select =
            json!({ "op": "select", "table": table, "where": condition, "columns": columns });
        let mut results = self.transact(vec![select])?;
        rows_of(results.pop())
    }

    /// As [`Self::transact`]; then waits until the vswitch has applied it, and returns what the operations
    /// `after` find by then.
    ///
    /// # Errors
    /// As [`Self::transact`]; [`OvsError::Unapplied`] when the vswitch does not do so in time.
    pub fn apply(
        &mut self,
        operations: Vec<Value>,
        after: Vec<Value>,
    ) -> Result<Vec<Value>, OvsError> {
        let mut results = self.tell(operations)?;
        let root = rows_of(results.pop())?;
        let target = root.first().and_then(|row| number(&row["next_cfg"]));
        let target = target.ok_or_else(|| malformed("no next_cfg"))?;
        let waited = self.timeout();
        self.once_applied(target, after).map_err(|error| match error {
            OvsError::Silent { .. } => OvsError::Unapplied { waited },
            error if error.is_race() => OvsError::Unapplied { waited },
            other => other,
        })
    }

    /// As [`Self::transact`]; tells the vswitch, and does not wait for it.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub fn tell(&mut self, mut operations: Vec<Value>) -> Result<Vec<Value>, OvsError> {
        operations.extend(bump());
        self.transact(operations)
    }

    /// Runs operations as soon as the vswitch shows a number: the database itself waits for it.
    ///
    /// Spec: RFC 7047 §5.2.6
    fn once_applied(
        &mut self,
        target: i64,
        mut operations: Vec<Value>,
    ) -> Result<Vec<Value>, OvsError> {
        let milliseconds = u64::try_from(self.rpc.left().as_millis()).unwrap_or(u64::MAX);
        operations.insert(
            0,
            json!({
                "op": "wait", "table": ROOT, "timeout": milliseconds, "until": "!=",
                "where": [["cur_cfg", ">=", target]], "columns": ["cur_cfg"], "rows": [],
            }),
        );
        let mut results = self.transact(operations)?;
        results.remove(0);
        Ok(results)
    }

    /// Asks the vswitch about itself.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub fn vswitch(&mut self) -> Result<Vswitch, OvsError> {
        const COLUMNS: [&str; 5] =
            ["ovs_version", "dpdk_initialized", "iface_types", "external_ids", "other_config"];
        let rows = self.select(ROOT, &json!([]), &COLUMNS)?;
        let row = rows.first().ok_or_else(|| malformed("no row for the vswitch"))?;
        let run_dir = map(&row["external_ids"]).get("rundir").copied().unwrap_or(RUN_DIR);
        let below = map(&row["other_config"]).get("vhost-sock-dir").copied().unwrap_or_default();
        Ok(Vswitch {
            release: texts(&row["ovs_version"]).concat(),
            dpdk: row["dpdk_initialized"] == true,
            iface_types: texts(&row["iface_types"]).into_iter().map(str::to_owned).collect(),
            socket_dir: Path::new(run_dir).join(below),
        })
    }

    /// How long everything on this connection may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.rpc.timeout()
    }
}

/// Operations that make the vswitch look at the database, and say what number it will then show.
fn bump() -> [Value; 2] {
    [
        json!({ "op": "mutate", "table": ROOT, "where": [], "mutations": [["next_cfg", "+=", 1]] }),
        json!({ "op": "select", "table": ROOT, "where": [], "columns": ["next_cfg"] }),
    ]
}

/// Rows of a select's result.
pub(super) fn rows_of(result: Option<Value>) -> Result<Vec<Value>, OvsError> {
    match result.map(|mut result| result["rows"].take()) {
        Some(Value::Array(rows)) => Ok(rows),
        _ => Err(malformed("a select has no rows")),
    }
}
