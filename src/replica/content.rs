//! What a document says: its shared types as text and JSON, for people and other programs.
//!
//! Updates name their root types but not what kind they are; that is told by what hangs in them.

use std::collections::BTreeMap;

use serde_json::Value;
use yrs::types::ToJson;
use yrs::{GetString, Transact};

use super::live::{IntegrateError, Live};
use crate::wire::update::{Kind, Parent, Walker};

/// A root type by what hangs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootKind {
    /// Nothing that tells: all of it was deleted.
    Unknown,
    /// Values in a row.
    Array,
    /// XML elements and texts.
    Xml,
    /// Characters, formats and embedded objects.
    Text,
    /// Values under keys.
    Map,
}

impl RootKind {
    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            RootKind::Unknown => "unknown",
            RootKind::Array => "array",
            RootKind::Xml => "xml",
            RootKind::Text => "text",
            RootKind::Map => "map",
        }
    }
}

/// A document's root types with what they hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// By name: kind and value. A text is a JSON string, XML a string of markup.
    pub roots: BTreeMap<String, (RootKind, Value)>,
}

impl Content {
    /// Reads the root types of `live`, whose whole state is `state`.
    pub fn read(live: &mut Live, state: &[u8]) -> Result<Self, IntegrateError> {
        let kinds = root_kinds(state);
        let roots = live.read(|doc| {
            kinds.into_iter().map(|(name, kind)| (name.to_owned(), (kind, read_root(doc, name, kind)))).collect()
        })?;
        Ok(Self { roots })
    }

    /// One JSON object: root name → value.
    pub fn to_json(&self) -> Value {
        self.roots
            .iter()
            .map(|(name, (_, value))| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// The texts (and XML) of the document, in the order of their names, separated by a line break.
    pub fn to_text(&self) -> String {
        let texts = self.roots.values().filter(|(kind, _)| matches!(kind, RootKind::Text | RootKind::Xml));
        texts.filter_map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// The kinds of the root types that `state` names.
pub fn root_kinds(state: &[u8]) -> BTreeMap<&str, RootKind> {
    let mut kinds = BTreeMap::new();
    // The state is our own encoding; were it not walkable, yrs could not have made it.
    let _ = walk(state, |name, kind| {
        let known = kinds.entry(name).or_insert(RootKind::Unknown);
        *known = kind.max(*known);
    });
    kinds
}

fn walk<'a>(state: &'a [u8], mut root: impl FnMut(&'a str, RootKind)) -> Result<(), crate::wire::WireError> {
    let (mut walker, sections) = Walker::new(state)?;
    for _ in 0..sections {
        let section = walker.section()?;
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock)?;
            clock = item.end();
            if let Parent::Root(name) = item.parent {
                root(name, kind_of(item.kind, item.parent_sub.is_some()));
            }
        }
    }
    Ok(())
}

fn kind_of(kind: Kind<'_>, keyed: bool) -> RootKind {
    match kind {
        _ if keyed => RootKind::Map,
        Kind::String(_) | Kind::Embed | Kind::Format => RootKind::Text,
        // XmlElement, XmlHook, XmlText (WIRE; lib0 type numbers).
        Kind::Type(3 | 5 | 6) => RootKind::Xml,
        Kind::Type(_) | Kind::Any | Kind::Binary | Kind::Doc => RootKind::Array,
        Kind::Gc | Kind::Skip | Kind::Deleted => RootKind::Unknown,
    }
}

fn read_root(doc: &yrs::Doc, name: &str, kind: RootKind) -> Value {
    match kind {
        RootKind::Unknown => Value::Null,
        RootKind::Text => {
            let text = doc.get_or_insert_text(name);
            text.get_string(&doc.transact()).into()
        }
        RootKind::Xml => {
            let xml = doc.get_or_insert_xml_fragment(name);
            xml.get_string(&doc.transact()).into()
        }
        RootKind::Map => {
            let map = doc.get_or_insert_map(name);
            json(map.to_json(&doc.transact()))
        }
        RootKind::Array => {
            let array = doc.get_or_insert_array(name);
            json(array.to_json(&doc.transact()))
        }
    }
}

fn json(any: yrs::Any) -> Value {
    serde_json::to_value(any).unwrap_or(Value::Null)
}
