//! JSON objects without a second meaning: no member twice, no type but the one that was meant.
//!
//! Two parsers that disagree about a token are how forgeries pass: one checks the first `exp`, the other uses the second.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

/// The members of an object, each of which may be taken once.
#[derive(Debug)]
pub(super) struct Object(BTreeMap<String, Value>);

/// A member that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mistyped {
    pub(super) name: &'static str,
    pub(super) wanted: &'static str,
}

impl Object {
    /// Reads one object and nothing behind it; `None` for anything else, and for a member that comes twice.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Whether there is such a member, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A whole number that is not negative: `7`, not `7.0`, `7e0`, `"7"` or `null`.
    pub(super) fn take_number(&mut self, name: &'static str) -> Result<Option<u64>, Mistyped> {
        self.take(name, "a whole number", |value| value.as_u64())
    }

    pub(super) fn take_text(&mut self, name: &'static str) -> Result<Option<String>, Mistyped> {
        self.take(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn take_flag(&mut self, name: &'static str) -> Result<Option<bool>, Mistyped> {
        self.take(name, "true or false", |value| value.as_bool())
    }

    pub(super) fn take_list(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Mistyped> {
        self.take(name, "a list of strings", texts)
    }

    /// One string or a list of them, as RFC 7519 has it for `aud`.
    pub(super) fn take_one_or_list(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Mistyped> {
        self.take(name, "a string or a list of strings", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            other => texts(other),
        })
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Mistyped> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => convert(&value).map(Some).ok_or(Mistyped { name, wanted }),
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member comes twice"));
                    }
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
