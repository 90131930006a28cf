//! The verbs.

mod add;
mod check;
mod del;
mod gc;
mod reconcile;
mod status;
mod undo;
mod watch;

pub use reconcile::reconcile;
pub use watch::Task;

use crate::conf::{DATA_DIR, NetConf, Parsed, parse};
use crate::env::{CallEnv, Verb};
use crate::error::{CniError, code};
use crate::logging;
use crate::version::CniVersion;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What is said when no command is given.
pub const ABOUT: &str = concat!(
    "userspace ",
    env!("CARGO_PKG_VERSION"),
    ": a CNI plugin for memif and vhost-user interfaces; CNI versions 0.1.0 to 1.1.0.\n",
    "A container runtime runs it. `userspace schema` prints the schema of its configuration;\n",
    "`userspace reconcile [DATADIR]` makes again what a restarted vswitch has lost, and sets again what\n",
    "VPP forgets; with `--watch [SECONDS]` it does so until it is stopped.\n"
);

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing was asked.
    About,
    /// It went well; there may be something to print.
    Done(Option<Value>),
    /// It failed; this is to be printed.
    Failed(Value),
}

/// A call with everything that belongs to it.
#[derive(Debug)]
struct Call {
    env: CallEnv,
    parsed: Parsed,
}

impl Call {
    const fn conf(&self) -> &NetConf {
        &self.parsed.conf
    }

    fn data_dir(&self) -> PathBuf {
        let given = self.conf().data_dir.as_str();
        PathBuf::from(if given.is_empty() { DATA_DIR } else { given })
    }

    fn ipam(&self) -> Option<&str> {
        let plugin = self.conf().ipam.as_ref()?.plugin.as_str();
        (!plugin.is_empty()).then_some(plugin)
    }
}

/// Does what the environment asks, with the configuration that `read` gives.
pub fn run(
    vars: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce() -> std::io::Result<Vec<u8>>,
) -> Outcome {
    let env = match CallEnv::read(vars) {
        Ok(Some(env)) => env,
        Ok(None) => return Outcome::About,
        Err(error) => return Outcome::Failed(error.to_json(CniVersion::NEWEST)),
    };
    let input = match read() {
        Ok(input) => input,
        Err(e) => {
            let error = CniError::caused(code::IO, "cannot read standard input", &e);
            return Outcome::Failed(error.to_json(CniVersion::NEWEST));
        }
    };
    let version = version_of(&input);
    if env.verb == Verb::Version {
        return Outcome::Done(Some(version.report()));
    }
    let done = parse(&input).and_then(|parsed| dispatch(&Call { env, parsed }));
    done.map_or_else(|error| Outcome::Failed(error.to_json(version)), Outcome::Done)
}

/// Version that an answer is worded in, even when the question cannot be understood.
fn version_of(input: &[u8]) -> CniVersion {
    let document: Value = serde_json::from_slice(input).unwrap_or_default();
    match document.get("cniVersion") {
        None => CniVersion::NEWEST,
        Some(_) => CniVersion::of(&document).unwrap_or(CniVersion::NEWEST),
    }
}

fn dispatch(call: &Call) -> Result<Option<Value>, CniError> {
    logging::start(call.conf());
    for key in &call.parsed.unknown {
        tracing::warn!(key, "unknown key in the configuration");
    }
    let version = call.parsed.version;
    match call.env.verb {
        Verb::Add => {
            check_netns(&call.env, true)?;
            add::add(call).map(|result| Some(result.to_json(version)))
        }
        Verb::Del => {
            check_netns(&call.env, false)?;
            del::del(call).map(|()| None)
        }
        Verb::Check => {
            since(version, CniVersion::V0_4_0, "CHECK")?;
            check_netns(&call.env, true)?;
            check::check(call).map(|()| None)
        }
        Verb::Gc => {
            since(version, CniVersion::V1_1_0, "GC")?;
            gc::gc(call).map(|()| None)
        }
        Verb::Status => {
            since(version, CniVersion::V1_1_0, "STATUS")?;
            status::status(call).map(|()| None)
        }
        Verb::Version => Ok(Some(version.report())),
    }
}

fn since(version: CniVersion, first: CniVersion, verb: &str) -> Result<(), CniError> {
    if version >= first {
        return Ok(());
    }
    let msg = format!("config version does not allow {verb}");
    Err(CniError::new(code::INCOMPATIBLE_VERSION, msg).with_details(version.to_string()))
}

/// The container's namespace must not be the plugin's own, or what is meant for a container would be
/// the host's.
fn check_netns(env: &CallEnv, must_exist: bool) -> Result<(), CniError> {
    let theirs = match std::fs::metadata(&env.netns) {
        Ok(metadata) => metadata,
        Err(_) if !must_exist => return Ok(()),
        Err(e) => {
            let msg = format!("cannot open netns {}", env.netns);
            return Err(CniError::caused(code::BAD_ENVIRONMENT, msg, &e));
        }
    };
    let ours = std::fs::metadata("/proc/self/ns/net");
    let same = ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()));
    if same && !env.netns_override {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(CniError::new(code::BAD_NETNS, msg));
    }
    Ok(())
}
