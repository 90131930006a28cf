//! The text of `userspace/configuration-data`: a JSON list with one entry for each interface.
//!
//! An entry is indented by four spaces a level, as Go's `json.MarshalIndent` does it, `<`, `>` and `&`
//! escaped; entries are put between `[` and `]` with a comma and nothing else between them. Entries
//! of others are handed on byte by byte.

use crate::error::{CniError, code};
use crate::state::Owner;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Serializer, Value};

/// Key of the annotation with the list.
pub const CONFIGURATION_DATA: &str = "userspace/configuration-data";
/// Key of the annotation with the directory of the sockets, as containers see it.
pub const MAPPED_DIR: &str = "userspace/mapped-dir";
/// Most bytes of all annotations of an object. Spec: Kubernetes, "Annotations".
pub const TOTAL_MAX: usize = 256 << 10;

/// Most characters that are said of what is wrong with a list: it may quote the list.
const WHY_MAX: usize = 200;

/// The entries of a list.
#[derive(Debug)]
pub struct Entries<'a>(Vec<&'a RawValue>);

/// What an entry says about whose it is. One that says nothing, or nonsense, is somebody else's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Whose {
    container_id: String,
    if_name: String,
    name: String,
}

impl<'a> Entries<'a> {
    /// Reads the annotation, which may be absent.
    ///
    /// # Errors
    /// Code 104 when it is no list, or too long to be one.
    pub fn read(text: &'a str) -> Result<Self, CniError> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        if text.len() > TOTAL_MAX {
            return Err(unusable(&format!(
                "it has {} bytes, {TOTAL_MAX} are possible",
                text.len()
            )));
        }
        serde_json::from_str(text).map(Self).map_err(|e| unusable(&e.to_string()))
    }

    /// Without what is there of an interface of a pod, be it of an earlier container: a pod has one
    /// at a time.
    #[must_use]
    pub fn without_interface(self, if_name: &str) -> Self {
        self.retained(|whose| whose.if_name != if_name)
    }

    /// Without the entry of one attachment.
    #[must_use]
    pub fn without(self, owner: &Owner) -> Self {
        let of_owner = |whose: &Whose| {
            (&whose.container_id, &whose.if_name, &whose.name)
                == (&owner.container_id, &owner.if_name, &owner.network)
        };
        self.retained(|whose| !of_owner(whose))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The annotation, with one more entry if there is one.
    #[must_use]
    pub fn text(&self, more: Option<&str>) -> String {
        let entries: Vec<&str> = self.0.iter().map(|entry| entry.get()).chain(more).collect();
        format!("[{}]", entries.join(","))
    }

    fn retained(mut self, keep: impl Fn(&Whose) -> bool) -> Self {
        self.0.retain(|entry| {
            let whose: Whose = serde_json::from_str(entry.get()).unwrap_or_default();
            keep(&whose)
        });
        self
    }
}

/// The entry of one interface, from the [data](crate::container::data) of its container.
#[must_use]
pub fn entry(data: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    // Neither a value nor memory refuses to be written.
    let _ = data.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    let mut text = String::from_utf8(bytes).unwrap_or_default();
    // Outside strings JSON has none of these.
    for (plain, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        text = text.replace(plain, escaped);
    }
    text
}

fn unusable(why: &str) -> CniError {
    let msg = format!("the pod's annotation {CONFIGURATION_DATA} is no list of ours: remove it");
    let why: String = why.chars().take(WHY_MAX).collect();
    CniError::new(code::KUBERNETES, msg).with_details(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(container: &str, interface: &str) -> Owner {
        Owner::new("net", container, interface)
    }

    fn of(container: &str, interface: &str) -> Value {
        json!({"containerId": container, "ifName": interface, "name": "net"})
    }

    #[test]
    fn first_and_second_interface_stand_as_the_original_puts_them() {
        let first = entry(&of("c", "net1"));
        assert_eq!(
            first,
            "{\n    \"containerId\": \"c\",\n    \"ifName\": \"net1\",\n    \"name\": \"net\"\n}"
        );
        let one = Entries::read("").unwrap().text(Some(&first));
        assert_eq!(one, format!("[{first}]"));
        let second = entry(&of("c", "net2"));
        let both = Entries::read(&one).unwrap().without_interface("net2").text(Some(&second));
        assert_eq!(both, format!("[{first},{second}]"));
        let back = Entries::read(&both).unwrap().without(&owner("c", "net2"));
        assert_eq!(back.text(None), one);
        assert!(back.without(&owner("c", "net1")).is_empty());
    }

    /// As releases of the time of CNI 0.4.0 wrote it: an address says its family.
    const OF_THE_ORIGINAL: &str = r#"[{
    "containerId": "0958c8871b32c2a5e7b6",
    "ifName": "net1",
    "name": "ovs-net",
    "config": {
        "iftype": "vhostuser",
        "netType": "interface",
        "memif": {},
        "vhost": {
            "mode": "client",
            "socketfile": "0958c8871b32-net1"
        },
        "bridge": {}
    },
    "ipResult": {
        "interfaces": [
            {
                "name": "net1",
                "sandbox": "/proc/7/ns/net"
            }
        ],
        "ips": [
            {
                "version": "4",
                "address": "10.56.217.131/24"
            }
        ],
        "dns": {}
    }
}]"#;

    #[test]
    fn entry_that_the_original_wrote_is_kept_beside_ours_and_looks_as_ours_would() {
        let data: Value = serde_json::from_str(OF_THE_ORIGINAL).unwrap();
        assert_eq!(format!("[{}]", entry(&data[0])), OF_THE_ORIGINAL);
        let ours = entry(&of("c", "net2"));
        let both = Entries::read(OF_THE_ORIGINAL).unwrap().without_interface("net2");
        let expected = format!("{},{ours}]", OF_THE_ORIGINAL.trim_end_matches(']'));
        assert_eq!(both.text(Some(&ours)), expected);
        let mut owner = owner("0958c8871b32c2a5e7b6", "net1");
        owner.network = "ovs-net".to_owned();
        assert!(both.without(&owner).is_empty());
    }

    #[test]
    fn characters_that_go_escapes_are_escaped() {
        assert_eq!(entry(&json!("<&>\u{2028}")), r#""\u003c\u0026\u003e\u2028""#);
        assert_eq!(
            entry(&json!({"memif": {}, "ips": []})),
            "{\n    \"memif\": {},\n    \"ips\": []\n}"
        );
    }

    #[test]
    fn entries_of_others_keep_their_bytes_whatever_they_say() {
        let text = r#"[ {"containerId":5, "ifName" :"net1"} , 7,{"ifName":"net2","x":1e2},{"ifName":"a","ifName":"net1"}]"#;
        let kept =
            Entries::read(text).unwrap().without_interface("net1").without(&owner("c", "net1"));
        let expected = r#"[{"containerId":5, "ifName" :"net1"},7,{"ifName":"net2","x":1e2},{"ifName":"a","ifName":"net1"}]"#;
        assert_eq!(kept.text(None), expected);
    }

    #[test]
    fn entry_of_an_earlier_container_is_replaced_and_not_removed_for_a_later_one() {
        let old = format!("[{}]", entry(&of("old", "net1")));
        assert!(Entries::read(&old).unwrap().without_interface("net1").is_empty());
        assert!(!Entries::read(&old).unwrap().without(&owner("new", "net1")).is_empty());
    }

    #[test]
    fn malformed_deep_or_huge_list_is_code_104_that_names_the_annotation() {
        let deep = "[".repeat(100_000);
        let huge = format!("[{}]", " ".repeat(TOTAL_MAX));
        let quoted = format!("\"{}\"", "x".repeat(1000));
        for text in ["{", "{}", "7", "[1,", "null", &quoted, &deep, &huge] {
            let error = Entries::read(text).unwrap_err();
            assert_eq!(error.code, 104);
            assert!(error.msg.contains(CONFIGURATION_DATA));
            assert!(error.to_string().len() < 400);
        }
    }
}
