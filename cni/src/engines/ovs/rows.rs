//! How the database writes values.
//!
//! A set of one is written as its member, maps are lists of pairs, references are pairs.
//!
//! Spec: RFC 7047 §5.1

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Members of a set.
#[must_use]
pub fn set(value: &Value) -> Vec<&Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::Array(members)]) if kind == "set" => members.iter().collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

/// Texts of a set of texts.
#[must_use]
pub fn texts(value: &Value) -> Vec<&str> {
    set(value).into_iter().filter_map(Value::as_str).collect()
}

/// The number of a set of at most one.
#[must_use]
pub fn number(value: &Value) -> Option<i64> {
    set(value).first().and_then(|member| member.as_i64())
}

/// Entries of a map of texts.
#[must_use]
pub fn map(value: &Value) -> BTreeMap<&str, &str> {
    let pairs = match value.as_array().map(Vec::as_slice) {
        Some([kind, Value::Array(pairs)]) if kind == "map" => pairs.as_slice(),
        _ => &[],
    };
    pairs.iter().filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?))).collect()
}

/// Writes a map of texts.
#[must_use]
pub fn to_map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let pairs: Vec<Value> = entries.into_iter().map(|(key, value)| json!([key, value])).collect();
    json!(["map", pairs])
}

/// Writes a set.
#[must_use]
pub fn to_set<T: Into<Value> + Copy>(members: &[T]) -> Value {
    let members: Vec<Value> = members.iter().map(|member| (*member).into()).collect();
    json!(["set", members])
}

/// A condition that a column equals a value.
#[must_use]
pub fn equals(column: &str, value: &Value) -> Value {
    json!([[column, "==", value]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_of_one_is_its_member() {
        assert_eq!(texts(&json!("a")), ["a"]);
        assert_eq!(texts(&json!(["set", ["a", "b"]])), ["a", "b"]);
        assert_eq!(texts(&json!(["set", []])), Vec::<&str>::new());
        assert_eq!(number(&json!(["set", []])), None);
        assert_eq!(number(&json!(-1)), Some(-1));
    }

    #[test]
    fn reference_is_one_member_and_not_a_set() {
        let reference = json!(["uuid", "x"]);
        assert_eq!(set(&reference), [&reference]);
    }

    #[test]
    fn map_is_read_as_it_is_written() {
        let written = to_map([("b", "2"), ("a", "1")]);
        assert_eq!(map(&written).into_iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert!(map(&json!("no map")).is_empty());
        assert!(map(&json!(["map", [["a"], 7]])).is_empty());
    }
}
