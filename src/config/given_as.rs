//! Forms in which a file may give an option.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// One, or a list of them; a list of none would mean something else than leaving it out does, and hardly what was meant.
pub(super) fn one_or_more<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        More(Vec<String>),
    }
    let given = match Given::deserialize(from)? {
        Given::One(text) => text.split(',').map(str::to_owned).collect(),
        Given::More(list) => list,
    };
    if given.is_empty() {
        return Err(de::Error::custom("the list is empty"));
    }
    let parsed: Result<Vec<T>, String> = given.iter().map(|text| text.trim().parse()).collect();
    parsed.map(Some).map_err(de::Error::custom)
}
