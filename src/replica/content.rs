//! What a document says: its shared types as text and JSON, for people and other programs.
//!
//! Updates name their root types but not what kind they are; that is told by what hangs in them. Everything that yrs keeps
//! in hash maps comes out sorted here, so that equal documents read equally.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::types::text::YChange;
use yrs::{Any, Array, GetString, Map, Out, ReadTxn, Text, Transact, Xml, XmlFragment, XmlOut, XmlTextRef};

use super::delete_set::DeleteSet;
use super::gate::gate;
use super::live::{IntegrateError, Live};
use super::nesting::Nesting;
pub use super::nesting::RootKind;
use crate::wire::state_vector::StateVector;

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// By name: kind and value. A text is a JSON string, XML a string of markup.
    pub roots: BTreeMap<String, (RootKind, Value)>,
}

impl Content {
    /// Reads the root types of a whole state, an update without a gap that the replica has made.
    ///
    /// # Errors
    /// When yrs cannot take it.
    pub fn of(state: &[u8]) -> Result<Self, IntegrateError> {
        let mut live = Live::new(false);
        live.integrate([Bytes::copy_from_slice(state)])?;
        Self::read(&mut live)
    }

    /// Reads the root types of `live`. Its own state tells what they are, or an emptied one would be what it was as long as
    /// somebody kept what was in it.
    pub(super) fn read(live: &mut Live) -> Result<Self, IntegrateError> {
        let state = live.state()?;
        let kinds = root_kinds(&state);
        let roots = live.read(|doc| {
            kinds
                .into_iter()
                .map(|(name, kind)| {
                    let value = read_root(doc, &name, kind);
                    (name, (kind, value))
                })
                .collect()
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

/// The kinds of the root types that `state` names, an update without a gap. What is deleted does not tell, whether or not its
/// content is still there.
pub fn root_kinds(state: &[u8]) -> BTreeMap<String, RootKind> {
    let mut nesting = Nesting::default();
    // Bytes that don't pass here name nothing that could be read.
    if let Ok(mut gated) = gate(state, &StateVector::new(), &DeleteSet::default()) {
        let mut deleted = DeleteSet::default();
        gated.deletes.iter().for_each(|&(client, from, to)| deleted.insert(client, from, to));
        for (client, item) in &mut gated.traits {
            item.lives = false;
            deleted.for_each_missing(*client, item.from, item.to, |_, _| item.lives = true);
        }
        if nesting.add_all(&gated).is_err() {
            return BTreeMap::new();
        }
    }
    nesting.roots().map(|(name, kind)| (name.to_owned(), kind)).collect()
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
            markup_of(xml.children(&doc.transact()), &doc.transact()).into()
        }
        RootKind::Map => {
            let map = doc.get_or_insert_map(name);
            map_value(&map, &doc.transact())
        }
        RootKind::Array => {
            let array = doc.get_or_insert_array(name);
            array_value(&array, &doc.transact())
        }
    }
}

fn value(out: Out, txn: &impl ReadTxn) -> Value {
    match out {
        Out::Any(any) => serde_json::to_value(any).unwrap_or(Value::Null),
        Out::YText(text) => text.get_string(txn).into(),
        Out::YArray(array) => array_value(&array, txn),
        Out::YMap(map) => map_value(&map, txn),
        Out::YXmlElement(element) => markup_of([XmlOut::Element(element)], txn).into(),
        Out::YXmlFragment(fragment) => markup_of(fragment.children(txn), txn).into(),
        Out::YXmlText(text) => markup_of([XmlOut::Text(text)], txn).into(),
        Out::YDoc(doc) => serde_json::json!({ "guid": &*doc.guid() }),
        Out::UndefinedRef(_) => Value::Null,
    }
}

fn array_value(array: &yrs::ArrayRef, txn: &impl ReadTxn) -> Value {
    array.iter(txn).map(|out| value(out, txn)).collect()
}

fn map_value(map: &yrs::MapRef, txn: &impl ReadTxn) -> Value {
    map.iter(txn).map(|(key, out)| (key.to_owned(), value(out, txn))).collect::<serde_json::Map<_, _>>().into()
}

/// XML as Yjs's `toString` writes it: nothing is escaped.
fn markup_of(nodes: impl IntoIterator<Item = XmlOut>, txn: &impl ReadTxn) -> String {
    let mut markup = String::new();
    nodes.into_iter().for_each(|node| write_node(&mut markup, node, txn));
    markup
}

fn write_node(markup: &mut String, node: XmlOut, txn: &impl ReadTxn) {
    match node {
        XmlOut::Element(element) => {
            let attributes: BTreeMap<_, _> = element.attributes(txn).map(|(k, v)| (k, v.to_string(txn))).collect();
            write_tag(markup, element.tag(), attributes);
            element.children(txn).for_each(|child| write_node(markup, child, txn));
            close_tag(markup, element.tag());
        }
        XmlOut::Fragment(fragment) => fragment.children(txn).for_each(|child| write_node(markup, child, txn)),
        XmlOut::Text(text) => write_text(markup, &text, txn),
    }
}

/// A run of text within the tags of its formats.
fn write_text(markup: &mut String, text: &XmlTextRef, txn: &impl ReadTxn) {
    for chunk in text.diff(txn, YChange::identity) {
        let formats: BTreeMap<_, _> = chunk.attributes.into_iter().flat_map(|formats| *formats).collect();
        for (name, format) in &formats {
            let attributes = match format {
                Any::Map(entries) => entries.iter().map(|(k, v)| (&**k, v.to_string())).collect(),
                _ => BTreeMap::new(),
            };
            write_tag(markup, name, attributes);
        }
        if let Out::Any(any) = chunk.insert {
            let _ = write!(markup, "{any}");
        }
        formats.keys().rev().for_each(|name| close_tag(markup, name));
    }
}

fn write_tag(markup: &mut String, tag: &str, attributes: BTreeMap<&str, String>) {
    let _ = write!(markup, "<{tag}");
    for (name, value) in attributes {
        let _ = write!(markup, " {name}=\"{value}\"");
    }
    markup.push('>');
}

fn close_tag(markup: &mut String, tag: &str) {
    let _ = write!(markup, "</{tag}>");
}
