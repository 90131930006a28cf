//! A runtime that runs lists of plugins as runtimes do: one plugin's result goes to the next, the last
//! one is kept and goes to every plugin at CHECK and DEL, and DEL is in reverse order.
//!
//! Spec: CNI 1.1.0, sections 3 (Execution of Network Configurations) and 4 (Plugin Delegation)

use super::call::{Answer, PLUGINS, answer};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A runtime with its cache, and one attachment of a container to a list.
pub(crate) struct Runner {
    /// The list: `cniVersion`, `name`, `plugins`.
    pub(crate) list: Value,
    /// What the runtime has for plugins that say that they can have it.
    pub(crate) capabilities: Map<String, Value>,
    pub(crate) container: String,
    pub(crate) netns: PathBuf,
    cache: PathBuf,
}

impl Runner {
    pub(crate) fn new(cache: &Path, list: Value, netns: &Path) -> Self {
        std::fs::create_dir_all(cache).unwrap();
        Self {
            list,
            capabilities: Map::new(),
            container: "0123456789abcdef".to_owned(),
            netns: netns.to_owned(),
            cache: cache.to_owned(),
        }
    }

    /// Each plugin gets the result of the one before; the last one's is kept. Stops at the first error,
    /// and keeps nothing then.
    pub(crate) fn add(&self) -> Result<Value, Answer> {
        let mut result = None;
        for plugin in self.plugins() {
            result = Some(self.run("ADD", plugin, result.as_ref())?.json());
        }
        let result = result.unwrap();
        std::fs::write(self.cached_at(), result.to_string()).unwrap();
        Ok(result)
    }

    /// Each plugin gets the result that was kept.
    pub(crate) fn check(&self) -> Result<(), Answer> {
        let result = self.cached().unwrap();
        self.plugins().try_for_each(|it| self.run("CHECK", it, Some(&result)).map(|_| ()))
    }

    /// The last plugin first. Each gets the result that was kept, if there is one and the version has
    /// that; it is forgotten at the end.
    pub(crate) fn del(&self) -> Result<(), Answer> {
        let result = self.cached().filter(|_| self.version() >= "0.4.0");
        self.plugins().rev().try_for_each(|it| self.run("DEL", it, result.as_ref()).map(|_| ()))?;
        let _ = std::fs::remove_file(self.cached_at());
        Ok(())
    }

    /// Has each plugin collect everything but `valid`.
    pub(crate) fn gc(&self, valid: &Value) -> Result<(), Answer> {
        for plugin in self.plugins() {
            let mut plugin = plugin.clone();
            // Under the name that early releases used as well.
            plugin["cni.dev/valid-attachments"] = valid.clone();
            plugin["cni.dev/attachments"] = valid.clone();
            self.run("GC", &plugin, None)?;
        }
        Ok(())
    }

    pub(crate) fn version(&self) -> &str {
        self.list["cniVersion"].as_str().unwrap()
    }

    fn plugins(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.list["plugins"].as_array().unwrap().iter()
    }

    fn cached_at(&self) -> PathBuf {
        let network = self.list["name"].as_str().unwrap();
        self.cache.join(format!("{network}-{}-net1", self.container))
    }

    /// The result that was kept, in the list's version, which may have changed since.
    fn cached(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.cached_at()).ok()?;
        Some(convert(serde_json::from_str(&text).unwrap(), self.version()))
    }

    fn run(&self, verb: &str, plugin: &Value, previous: Option<&Value>) -> Result<Answer, Answer> {
        let name = plugin["type"].as_str().unwrap();
        let program = match name {
            "userspace" => PathBuf::from(env!("CARGO_BIN_EXE_userspace")),
            other => Path::new(PLUGINS).join(other),
        };
        let mut command = Command::new(program);
        command.env_clear().env("CNI_COMMAND", verb).env("CNI_PATH", PLUGINS);
        if verb != "GC" {
            command
                .env("CNI_CONTAINERID", &self.container)
                .env("CNI_IFNAME", "net1")
                .env("CNI_NETNS", &self.netns)
                .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p");
        }
        let said = answer(&mut command, &self.configuration(plugin, previous).to_string());
        if said.success { Ok(said) } else { Err(said) }
    }

    /// What a plugin gets: its part of the list, with name and version of the list, the capabilities
    /// that it asked for, and the result before.
    fn configuration(&self, plugin: &Value, previous: Option<&Value>) -> Value {
        let mut conf = plugin.clone();
        conf["name"] = self.list["name"].clone();
        conf["cniVersion"] = self.list["cniVersion"].clone();
        let wanted = plugin["capabilities"].as_object().cloned().unwrap_or_default();
        let given: Map<String, Value> = self
            .capabilities
            .iter()
            .filter(|(name, _)| wanted.get(*name) == Some(&json!(true)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !given.is_empty() {
            conf["runtimeConfig"] = Value::Object(given);
        }
        if let Some(previous) = previous {
            conf["prevResult"] = previous.clone();
        }
        conf
    }
}

/// A result of 0.3.0 or later in another version of 0.3.0 or later.
fn convert(mut result: Value, version: &str) -> Value {
    for ip in result["ips"].as_array_mut().into_iter().flatten() {
        let family = if ip["address"].as_str().unwrap().contains(':') { "6" } else { "4" };
        let members = ip.as_object_mut().unwrap();
        members.remove("version");
        if version < "1.0.0" {
            members.insert("version".to_owned(), json!(family));
        }
    }
    if version < "1.1.0" {
        for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
            let members = interface.as_object_mut().unwrap();
            members.retain(|key, _| ["name", "mac", "sandbox"].contains(&key.as_str()));
        }
    }
    result["cniVersion"] = json!(version);
    result
}
