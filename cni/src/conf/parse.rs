//! From bytes to [`NetConf`].

use super::NetConf;
use crate::env::is_identifier;
use crate::error::{CniError, code};
use crate::version::CniVersion;
use serde::Deserialize;
use serde_json::Value;

/// A configuration that parses.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The keys that we know.
    pub conf: NetConf,
    /// Everything, for delegates.
    pub raw: Value,
    /// Version that it keeps to.
    pub version: CniVersion,
    /// Keys that nobody knows.
    pub unknown: Vec<String>,
}

/// Parses a configuration.
///
/// # Errors
/// Code 6 when it is no JSON object, 7 when its name or the value of a key is wrong, 1 when we do
/// not speak its version.
pub fn parse(bytes: &[u8]) -> Result<Parsed, CniError> {
    let raw = decode(bytes)?;
    check_name(&raw)?;
    let version = CniVersion::of(&raw)?;
    let (mut conf, unknown) = typed(&raw)?;
    conf.modernise();
    Ok(Parsed { conf, raw, version, unknown })
}

/// Parses JSON that must be an object.
fn decode(bytes: &[u8]) -> Result<Value, CniError> {
    let raw: Value = serde_json::from_slice(bytes)
        .map_err(|e| CniError::caused(code::DECODE, "cannot decode the configuration", &e))?;
    if raw.is_object() {
        Ok(raw)
    } else {
        Err(CniError::new(code::DECODE, "cannot decode the configuration")
            .with_details("it is no JSON object"))
    }
}

fn check_name(raw: &Value) -> Result<(), CniError> {
    let name = raw.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(CniError::new(code::BAD_CONFIG, "missing network name"));
    }
    if !is_identifier(name) || name.len() > NAME_MAX {
        let msg = "invalid characters found in network name";
        return Err(CniError::new(code::BAD_CONFIG, msg).with_details(name));
    }
    Ok(())
}

/// Longest name of a network that is a name of a directory, in bytes.
const NAME_MAX: usize = 200;

fn typed(raw: &Value) -> Result<(NetConf, Vec<String>), CniError> {
    let mut unknown = Vec::new();
    let given = without_nulls(raw.clone());
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&given, &mut track);
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
    let parsed = NetConf::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    match parsed {
        Ok(conf) => Ok((conf, unknown)),
        Err(error) => {
            let key = track.path().to_string();
            Err(CniError::refused(&key, shown(&given, &key), error))
        }
    }
}

/// Value of a key as an error shows it; secrets are not shown.
fn shown(document: &Value, key: &str) -> String {
    if key.contains("secret") {
        return "(secret)".to_owned();
    }
    let pointer = key.replace(['.', '['], "/").replace(']', "");
    document.pointer(&format!("/{pointer}")).map_or_else(|| "?".to_owned(), Value::to_string)
}

/// A null means that the key is not given.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let given = members.into_iter().filter(|(_, value)| !value.is_null());
            given.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        other => other,
    }
}
