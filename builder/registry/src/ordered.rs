//! A JSON object of somebody else, as it was written: its members keep their order, and those that are not changed their
//! text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The object.
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// A member that is an object; an empty one where there is none.
    pub(crate) fn object(&self, key: &str) -> Result<Self, serde_json::Error> {
        match self.get(key) {
            Some(value) if value.get() != "null" => Self::parse(value.get()),
            _ => Ok(Self::default()),
        }
    }

    /// A member that is a string.
    pub(crate) fn string(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Sets a member in its place, or as the last.
    pub(crate) fn set(&mut self, key: &str, value: Box<RawValue>) {
        let place = self.0.iter().position(|(known, _)| known == key).unwrap_or(self.0.len());
        self.remove(key);
        self.0.insert(place.min(self.0.len()), (key.to_owned(), value));
    }

    /// Takes a member out, however often it is there; whether it was.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != key);
        self.0.len() < before
    }

    /// Its text at a depth of other objects, indented by tabs as docker writes.
    pub(crate) fn text(&self, depth: usize) -> String {
        if self.0.is_empty() {
            return "{}".to_owned();
        }
        let indent = "\t".repeat(depth + 1);
        let member = |(key, value): &(String, Box<RawValue>)| {
            format!("{indent}{}: {}", serde_json::Value::from(key.as_str()), value.get())
        };
        let members: Vec<String> = self.0.iter().map(member).collect();
        format!("{{\n{}\n{}}}", members.join(",\n"), "\t".repeat(depth))
    }

    /// The same as a value.
    pub(crate) fn raw(&self, depth: usize) -> Result<Box<RawValue>, serde_json::Error> {
        RawValue::from_string(self.text(depth))
    }

    /// Of a member that is there twice the last counts, as for every reader of JSON here.
    fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Members)
    }
}
