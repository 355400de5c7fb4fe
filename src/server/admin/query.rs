//! What stands in a request's target beside the route: the parameters after the `?`, and the parts of the path that a
//! route leaves open.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::ids::{ConnId, DocName};
use crate::server::error::Problem;
use crate::wire::state_vector;

/// The segments of a path that matched a `{…}`, in order, as they came.
#[derive(Debug, Default)]
pub(super) struct Captured<'a>(pub(super) Vec<&'a str>);

impl Captured<'_> {
    /// The first one, as a document's name: percent-decoded once (contract 2.3).
    pub(super) fn doc(&self) -> Result<DocName, Problem> {
        let raw = self.0.first().copied().unwrap_or_default();
        Ok(DocName::parse_bytes(&percent_decode_str(raw).collect::<Vec<u8>>())?)
    }

    /// The first one, as the id of a connection.
    pub(super) fn connection(&self) -> Result<ConnId, Problem> {
        let id = self.0.first().and_then(|id| id.parse().ok());
        id.map(ConnId).ok_or_else(|| Problem::bad_request("the id of a connection is a number"))
    }
}

/// Parameters after the `?`, each of which may be asked for once.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, String)>);

impl<'a> Query<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self, Problem> {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            match percent_decode_str(&spaced).decode_utf8() {
                Ok(text) => Ok(text.into_owned()),
                Err(_) => Err(Problem::bad_request("the query is not valid UTF-8")),
            }
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((Cow::Borrowed(key), decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Problem>>()?))
    }

    /// The text given for `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.swap_remove(at).1)
    }

    /// `key`, `key=true` and `key=1` say yes; `key=false`, `key=0` and silence say no.
    pub(super) fn take_flag(&mut self, key: &str) -> Result<bool, Problem> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("`{key}` is neither true nor false"))),
        }
    }

    /// The number given for `key`.
    pub(super) fn take_number(&mut self, key: &str) -> Result<Option<u64>, Problem> {
        let number = |text: String| text.parse().map_err(|_| Problem::bad_request(format!("`{key}` is not a number")));
        self.take(key).map(number).transpose()
    }

    /// The number of things wanted, within `1..=max`.
    pub(super) fn take_limit(&mut self, default: usize, max: usize) -> Result<usize, Problem> {
        let limit = self.take_number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(max));
        Ok(limit.unwrap_or(default).clamp(1, max))
    }

    /// The document named by `key`.
    pub(super) fn take_doc(&mut self, key: &str) -> Result<Option<DocName>, Problem> {
        Ok(self.take(key).map(|name| DocName::parse(&name)).transpose()?)
    }

    /// The state vector in base64url given for `key`.
    pub(super) fn take_state_vector(&mut self, key: &str) -> Result<Option<Bytes>, Problem> {
        let Some(encoded) = self.take(key) else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map_err(|error| Problem::bad_request(format!("`{key}` is not base64url: {error}")))?;
        state_vector::validate(&bytes)
            .map_err(|error| Problem::bad_request(format!("`{key}` is not a state vector: {error}")))?;
        Ok(Some(bytes.into()))
    }

    /// Refuses what nobody asked for: a misspelt `dry_run` must not compact.
    pub(super) fn end(&self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(Problem::bad_request(format!("the parameter {key:?} is not known here"))),
        }
    }
}
