//! A simulated editor: a yrs document that makes random edits of every kind that Yjs clients make.
//!
//! Everything it does follows from the seed of the random numbers it is given.

use std::sync::Arc;

use rand::Rng;
use rand::seq::IndexedRandom;
use yrs::types::{Attrs, ToJson};
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ClientID, Doc, GetString, Map, MapPrelim, OffsetKind, Options, ReadTxn, StateVector, Text,
    TextPrelim, TextRef, Transact, TransactionMut, Update, Xml, XmlElementPrelim, XmlFragment, XmlTextPrelim,
};

/// What kinds of edits an author makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Text only, as people type it.
    Typist,
    /// Text, formats, maps, arrays, XML, nested types, deletions.
    Everything,
    /// All of that and sub-documents, without garbage collection (yrs must not collect sub-documents).
    Subdocuments,
}

/// One editor with its own copy of the document.
pub struct Author {
    /// Its copy.
    pub doc: Doc,
    habit: Habit,
    made: u32,
}

impl Author {
    /// An author whose edits carry `client`; `gc` is ignored where sub-documents forbid it.
    pub fn new(client: u64, habit: Habit, gc: bool) -> Self {
        Self { doc: blank(client, gc && habit != Habit::Subdocuments), habit, made: 0 }
    }

    /// Makes a random edit and returns its update.
    pub fn edit(&mut self, rng: &mut impl Rng) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        for _ in 0..rng.random_range(1..=3) {
            self.made += 1;
            match self.habit {
                Habit::Typist => edit_text(&mut txn, rng),
                Habit::Everything => edit_anything(&mut txn, rng),
                Habit::Subdocuments if rng.random_ratio(1, 6) => edit_subdocuments(&mut txn, rng, self.made),
                Habit::Subdocuments => edit_anything(&mut txn, rng),
            }
        }
        txn.encode_update_v1()
    }

    /// Applies an update from elsewhere.
    pub fn hear(&self, update: &[u8]) {
        apply(&self.doc, update);
    }

    /// What it knows.
    pub fn state_vector(&self) -> StateVector {
        self.doc.transact().state_vector()
    }

    /// What somebody at `known` misses.
    pub fn diff(&self, known: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_diff_v1(known)
    }
}

/// An empty document that counts as JavaScript does. It doesn't tidy formats when it hears of others' edits: that deletes,
/// and nobody would be told until the next diff.
pub fn blank(client: u64, gc: bool) -> Doc {
    let mut options = Options::with_client_id(ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    options.skip_gc = !gc;
    options.cleanup_formatting = false;
    Doc::with_options(options)
}

/// An empty document that only listens, and forgets nothing.
pub fn listener() -> Doc {
    blank(1, false)
}

/// Applies one v1 update.
///
/// # Panics
/// When yrs refuses it.
pub fn apply(doc: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("a decodable update");
    doc.transact_mut().apply_update(update).expect("an applicable update");
}

/// What a document says, in a form that is equal for equal documents.
pub fn view(doc: &Doc) -> serde_json::Value {
    let (text, map) = (doc.get_or_insert_text("text"), doc.get_or_insert_map("map"));
    let (array, xml) = (doc.get_or_insert_array("array"), doc.get_or_insert_xml_fragment("xml"));
    let txn = doc.transact();
    let chunks: Vec<_> = text
        .diff(&txn, yrs::types::text::YChange::identity)
        .into_iter()
        .map(|chunk| {
            let attributes = chunk.attributes.map(|map| map.into_iter().collect::<std::collections::BTreeMap<_, _>>());
            serde_json::json!([json(&chunk.insert.to_json(&txn)), format!("{attributes:?}")])
        })
        .collect();
    serde_json::json!({
        "text": text.get_string(&txn),
        "chunks": chunks,
        "map": json(&map.to_json(&txn)),
        "array": json(&array.to_json(&txn)),
        "xml": xml.children(&txn).map(|node| view_xml(&node, &txn)).collect::<Vec<_>>(),
    })
}

fn view_xml(node: &yrs::XmlOut, txn: &impl ReadTxn) -> serde_json::Value {
    match node {
        yrs::XmlOut::Text(text) => text.get_string(txn).into(),
        yrs::XmlOut::Fragment(_) => serde_json::Value::Null,
        yrs::XmlOut::Element(element) => {
            let attributes: std::collections::BTreeMap<_, _> =
                element.attributes(txn).map(|(name, value)| (name.to_owned(), value.to_string(txn))).collect();
            let children: Vec<_> = element.children(txn).map(|child| view_xml(&child, txn)).collect();
            serde_json::json!([&**element.tag(), attributes, children])
        }
    }
}

fn json(any: &Any) -> serde_json::Value {
    serde_json::to_value(any).expect("JSON")
}

const WORDS: &[&str] = &["a", "be", "weft ", "héllo", "日本", "😀", "👩‍👩‍👧 ", "line\n", "xyz"];

/// Two positions in `text`, in rising order, that don't cut a surrogate pair: what becomes of one that is cut depends on
/// the order of delivery in Yjs, too.
fn two_boundaries(text: &TextRef, txn: &TransactionMut<'_>, rng: &mut impl Rng) -> (u32, u32) {
    let (mut at, mut ends) = (0, vec![0]);
    for chunk in text.diff(txn, yrs::types::text::YChange::identity) {
        let lens = match chunk.insert {
            yrs::Out::Any(Any::String(words)) => words.chars().map(char::len_utf16).collect(),
            _ => vec![1],
        };
        for len in lens {
            at += len as u32;
            ends.push(at);
        }
    }
    let (a, b) = (*ends.choose(rng).expect("zero"), *ends.choose(rng).expect("zero"));
    (a.min(b), a.max(b))
}

fn edit_text(txn: &mut TransactionMut<'_>, rng: &mut impl Rng) {
    use yrs::WriteTxn;
    let text = txn.get_or_insert_text("text");
    let (from, to) = two_boundaries(&text, txn, rng);
    if from != to && rng.random_ratio(1, 3) {
        text.remove_range(txn, from, to - from);
    } else {
        text.insert(txn, from, WORDS.choose(rng).expect("words"));
    }
}

fn edit_anything(txn: &mut TransactionMut<'_>, rng: &mut impl Rng) {
    use yrs::WriteTxn;
    let key = format!("k{}", rng.random_range(0..4));
    let array = txn.get_or_insert_array("array");
    let map = txn.get_or_insert_map("map");
    match rng.random_range(0..14) {
        0..3 => edit_text(txn, rng),
        3 => {
            let text = txn.get_or_insert_text("text");
            let (from, to) = two_boundaries(&text, txn, rng);
            if from != to {
                let value = if rng.random() { Any::from(true) } else { Any::Null };
                text.format(txn, from, to - from, Attrs::from([(Arc::from(&*key), value)]));
            }
        }
        4 => {
            let text = txn.get_or_insert_text("text");
            let (at, _) = two_boundaries(&text, txn, rng);
            text.insert_embed(txn, at, Any::from_json(r#"{"image":"weft.png","size":[1,2.5]}"#).expect("JSON"));
        }
        5 | 6 => {
            map.insert(txn, &*key, any(rng));
        }
        7 => {
            map.remove(txn, &key);
        }
        8 => match rng.random_range(0..3) {
            0 => drop(map.insert(txn, &*key, TextPrelim::new("nested"))),
            1 => drop(map.insert(txn, &*key, ArrayPrelim::from([Any::from(1), Any::from("two")]))),
            _ => drop(map.insert(txn, &*key, MapPrelim::from([("in", Any::from(3))]))),
        },
        9 => {
            let at = rng.random_range(0..=array.len(txn));
            let values: Vec<Any> = (0..rng.random_range(1..5)).map(|_| any(rng)).collect();
            array.insert_range(txn, at, values);
        }
        10 => {
            let len = array.len(txn);
            if len > 0 {
                let at = rng.random_range(0..len);
                array.remove_range(txn, at, rng.random_range(1..=(len - at).min(3)));
            }
        }
        11 => edit_nested(txn, rng),
        _ => edit_xml(txn, rng),
    }
}

/// Edits inside whatever type hangs in the map or the array.
fn edit_nested(txn: &mut TransactionMut<'_>, rng: &mut impl Rng) {
    use yrs::{Out, WriteTxn};
    let map = txn.get_or_insert_map("map");
    let array = txn.get_or_insert_array("array");
    let mut types: Vec<Out> = array.iter(txn).filter(|out| !matches!(out, Out::Any(_) | Out::YDoc(_))).collect();
    for key in 0..4 {
        types.extend(map.get(txn, &format!("k{key}")).filter(|out| !matches!(out, Out::Any(_) | Out::YDoc(_))));
    }
    match types.choose(rng) {
        Some(Out::YText(text)) => {
            let at = rng.random_range(0..=text.len(txn).min(3));
            text.insert(txn, at, "in");
        }
        Some(Out::YArray(inner)) => {
            if rng.random() {
                inner.push_back(txn, MapPrelim::from([("deep", any(rng))]));
            } else if inner.len(txn) > 0 {
                inner.remove(txn, 0);
            }
        }
        Some(Out::YMap(inner)) => {
            if rng.random() {
                inner.insert(txn, "deeper", ArrayPrelim::from([any(rng)]));
            } else {
                inner.remove(txn, "deeper");
            }
        }
        _ => drop(array.push_back(txn, ArrayPrelim::from([Any::from(true)]))),
    }
}

fn edit_xml(txn: &mut TransactionMut<'_>, rng: &mut impl Rng) {
    use yrs::WriteTxn;
    let xml = txn.get_or_insert_xml_fragment("xml");
    let len = xml.len(txn);
    match rng.random_range(0..4) {
        0 if len > 0 => xml.remove_range(txn, rng.random_range(0..len), 1),
        1 if len > 0 => {
            if let Some(yrs::XmlOut::Element(element)) = xml.get(txn, rng.random_range(0..len)) {
                let name = format!("a{}", rng.random_range(0..5));
                element.insert_attribute(txn, name, "value");
                element.push_back(txn, XmlTextPrelim::new("words"));
            }
        }
        _ => {
            let element = xml.insert(txn, rng.random_range(0..=len), XmlElementPrelim::empty("p"));
            element.insert_attribute(txn, "class", "wide");
            element.insert_attribute(txn, "id", "x");
        }
    }
}

fn edit_subdocuments(txn: &mut TransactionMut<'_>, rng: &mut impl Rng, made: u32) {
    use yrs::WriteTxn;
    let array = txn.get_or_insert_array("array");
    let len = array.len(txn);
    if len > 0 && rng.random_ratio(1, 3) {
        array.remove_range(txn, 0, len.min(3));
    } else {
        let mut options = Options::with_guid_and_client_id(format!("sub-{made}").into(), ClientID::new(1));
        options.should_load = false;
        array.insert(txn, rng.random_range(0..=len), Doc::with_options(options));
    }
}

fn any(rng: &mut impl Rng) -> Any {
    match rng.random_range(0..7) {
        0 => Any::Null,
        1 => Any::from(rng.random::<bool>()),
        2 => Any::from(rng.random_range(-1_000_000_000_000i64..1_000_000_000_000)),
        3 => Any::from(1.5 * f64::from(rng.random_range(0..100))),
        4 => Any::from(*WORDS.choose(rng).expect("words")),
        5 => Any::Buffer(vec![1, 2, 3].into()),
        _ => Any::from_json(r#"{"a":[1,{"b":null}]}"#).expect("JSON"),
    }
}
