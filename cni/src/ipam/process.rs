//! Running a plugin, for no longer than a while.

use super::Attachment;
use crate::error::{CniError, code};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a plugin may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes that it may answer.
const ANSWER_MAX: u64 = 16 << 20;

pub(super) fn run(
    program: &Path,
    path: &[PathBuf],
    verb: &str,
    whose: Option<Attachment<'_>>,
    config: &Value,
) -> Result<Vec<u8>, CniError> {
    let mut command = Command::new(program);
    let joined = std::env::join_paths(path).unwrap_or_default();
    command.env("CNI_COMMAND", verb).env("CNI_PATH", joined);
    for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"] {
        command.env_remove(name);
    }
    if let Some(whose) = whose {
        command
            .env("CNI_CONTAINERID", &whose.owner.container_id)
            .env("CNI_IFNAME", &whose.owner.if_name)
            .env("CNI_NETNS", whose.netns)
            .env("CNI_ARGS", whose.args);
    }
    let failed = |e: &std::io::Error| CniError::io("run", program, e);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let (status, answer) = converse(child.map_err(|e| failed(&e))?, config.to_string())
        .map_err(|e| failed(&e))?
        .ok_or_else(|| {
            let msg = format!("{} {verb} did not end within {TIMEOUT:?}", program.display());
            CniError::new(code::TRY_AGAIN, msg)
        })?;
    if status.success() { Ok(answer) } else { Err(error_of(program, verb, status, &answer)) }
}

/// Hands over the configuration and takes the answer. `None`: it took too long, and was ended.
fn converse(mut child: Child, config: String) -> std::io::Result<Option<(ExitStatus, Vec<u8>)>> {
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that does not read its configuration says by its status what it thinks of it.
        std::thread::spawn(move || drop(stdin.write_all(config.as_bytes())));
    }
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(ANSWER_MAX).read_to_end(&mut answer);
            // Nobody listens any more when it took too long.
            let _ = sender.send(read.map(|_| answer));
        });
    }
    let Ok(answer) = receiver.recv_timeout(TIMEOUT) else {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    };
    let status = child.wait()?;
    Ok(Some((status, answer?)))
}

/// The plugin's own error, if it gave one.
fn error_of(program: &Path, verb: &str, status: ExitStatus, answer: &[u8]) -> CniError {
    let said: Value = serde_json::from_slice(answer).unwrap_or_default();
    let word = |key: &str| said[key].as_str().unwrap_or_default();
    match said["code"].as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(code) => {
            CniError::new(code, format!("IPAM: {}", word("msg"))).with_details(word("details"))
        }
        None => {
            let msg = format!("{} {verb} failed ({status})", program.display());
            CniError::new(code::IPAM, msg)
        }
    }
}
