//! A stand-in for ovs-vswitchd: it numbers the interfaces that it sees in the database, fails those
//! whose name contains `bad`, and says that it has applied what it has seen.

use super::DEADLINE;
use ringport_cni::engines::ovs::rpc::Rpc;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

/// The stand-in. It ends with the database server.
pub(crate) struct FakeVswitch {
    pub(crate) thread: JoinHandle<()>,
}

impl FakeVswitch {
    /// Starts one on a database; DPDK runs, and server ports get their sockets below `run_dir`.
    pub(crate) fn start(address: &str, run_dir: &std::path::Path) -> Self {
        let mut rpc = Rpc::connect(&address.parse().unwrap(), Duration::from_secs(3600)).unwrap();
        let run_dir = run_dir.to_owned();
        let row = json!({
            "ovs_version": "3.1.0", "dpdk_initialized": true,
            "external_ids": ["map", [["rundir", run_dir.display().to_string()]]],
            "iface_types": ["set", ["dpdkvhostuser", "dpdkvhostuserclient", "internal"]],
        });
        transact(&mut rpc, vec![update("Open_vSwitch", &json!([]), &row)]).unwrap();
        let mut fake = Fake { rpc, applied: -1, numbers: BTreeMap::new(), run_dir };
        let thread = std::thread::spawn(move || while fake.apply().is_some() {});
        Self { thread }
    }
}

struct Fake {
    rpc: Rpc,
    applied: i64,
    numbers: BTreeMap<String, i64>,
    run_dir: std::path::PathBuf,
}

impl Fake {
    /// Waits until somebody wants something to be applied.
    fn apply(&mut self) -> Option<()> {
        let wanted = json!([["next_cfg", "!=", self.applied]]);
        let results = transact(
            &mut self.rpc,
            vec![
                json!({"op": "wait", "table": "Open_vSwitch", "where": wanted, "until": "!=",
                       "columns": ["next_cfg"], "rows": []}),
                json!({"op": "select", "table": "Open_vSwitch", "where": [],
                       "columns": ["next_cfg"]}),
                json!({"op": "select", "table": "Interface", "where": [],
                       "columns": ["name", "type", "ofport"]}),
            ],
        )?;
        self.applied = results[1]["rows"][0]["next_cfg"].as_i64()?;
        let mut operations = Vec::new();
        let new = |row: &&Value| row["ofport"] == json!(["set", []]);
        for row in results[2]["rows"].as_array()?.iter().filter(new) {
            let name = row["name"].as_str()?;
            let by_name = json!([["name", "==", name]]);
            let state = if name.contains("bad") {
                json!({"ofport": -1, "error": "could not open network device"})
            } else {
                let next = i64::try_from(self.numbers.len()).unwrap() + 1;
                let number = *self.numbers.entry(name.to_owned()).or_insert(next);
                json!({"ofport": number, "error": ["set", []]})
            };
            if row["type"] == "dpdkvhostuser" {
                let path = self.run_dir.join(name);
                let _ = std::fs::remove_file(&path);
                drop(std::os::unix::net::UnixListener::bind(path).unwrap());
            }
            operations.push(update("Interface", &by_name, &state));
        }
        let applied = json!({"cur_cfg": self.applied});
        operations.push(update("Open_vSwitch", &json!([]), &applied));
        transact(&mut self.rpc, operations).map(|_| ())
    }
}

fn update(table: &str, condition: &Value, row: &Value) -> Value {
    json!({"op": "update", "table": table, "where": condition, "row": row})
}

fn transact(rpc: &mut Rpc, operations: Vec<Value>) -> Option<Value> {
    assert!(rpc.timeout() > DEADLINE);
    let mut params = vec![json!("Open_vSwitch")];
    params.extend(operations);
    rpc.call("transact", &Value::Array(params)).ok()
}
