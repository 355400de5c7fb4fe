//! JSON inside updates, judged as yrs will judge it: what is refused here would break the document there.
//!
//! serde_json's own way of passing over a value is more lenient than its way of reading one: it knows no depth limit and
//! lets pass broken surrogate escapes and numbers beyond `f64`. So the value is read in earnest, only kept nowhere.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether yrs takes `text` as the value of a format or an embedded object: JSON at most 127 containers deep, whose
/// integers fit into `i64` when they fit into `u64`.
pub fn loads_in_yrs(text: &str) -> bool {
    matches!(text, "true" | "false" | "null" | "\"\"") || serde_json::from_str::<Value>(text).is_ok()
}

/// A value that was read and forgotten.
struct Value;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        i64::try_from(n).map(|_| Value).map_err(E::custom)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        while values.next_element::<Value>()?.is_some() {}
        Ok(Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        while entries.next_entry::<Value, Value>()?.is_some() {}
        Ok(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_yrs() {
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let texts = [
            "null",
            "true",
            "\"\"",
            "1",
            "-1",
            "1.5",
            "1e300",
            "1e400",
            "-1e400",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "\"a\\u0041\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud800\"",
            "{\"\\ud800\":1}",
            "{\"a\":[1,{\"b\":null}]}",
            "{\"a\":1,\"a\":2}",
            "{1:2}",
            "[1,]",
            "",
            " 1 ",
            "nul",
            "\"\u{1}\"",
            "\"\u{7f}\"",
            "'a'",
            "NaN",
            "1 2",
            "[]",
            "{}",
            "01",
            "1.",
            ".5",
        ];
        let texts = texts.into_iter().map(str::to_owned).chain([deep(126), deep(127), deep(128), deep(100_000)]);
        for text in texts {
            let expected = yrs::Any::from_json(&text).is_ok();
            assert_eq!(loads_in_yrs(&text), expected, "{}", &text[..text.len().min(40)]);
        }
    }
}
