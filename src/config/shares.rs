//! How much of the server's work anybody may have (HARDENING §2): what an operator says about it.

use std::time::Duration;

use super::ServeOptions;
use crate::budget::{Rates, RatesGiven};
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_STRUCTS_MAX, DOCUMENTS_OPEN_MAX, RATE_PATIENCE};

/// How much of the server's work anybody may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSettings {
    /// One connection.
    pub connection: Rates,
    /// All of one address.
    pub address: Rates,
    /// All of one user.
    pub user: Rates,
    /// One document.
    pub document: Rates,
    /// How long who wants far more is only slowed.
    pub patience: Duration,
    /// Connections of one address; `None` for any number.
    pub address_connections_max: Option<usize>,
    /// Connections of one user.
    pub user_connections_max: Option<usize>,
    /// Documents awake at once.
    pub documents_max: usize,
    /// Memory of the server, bytes; `None` for any.
    pub memory_max: Option<u64>,
    /// Bytes of one document, beyond which clients may only make it smaller.
    pub document_bytes_max: u64,
    /// The same of structs.
    pub document_structs_max: u64,
}

impl ServeOptions {
    /// What they say about shares.
    pub(super) fn shares(&self) -> ShareSettings {
        let limited = |given: Option<RatesGiven>| given.unwrap_or_default().or(Rates::default());
        let or_any = |given: Option<u64>, default: u64| match given {
            Some(0) => u64::MAX,
            given => given.unwrap_or(default),
        };
        ShareSettings {
            connection: self.rate_per_connection.unwrap_or_default().or(Rates::of_connection()),
            address: limited(self.rate_per_address),
            user: limited(self.rate_per_user),
            document: limited(self.rate_per_document),
            patience: self.rate_patience.map_or(RATE_PATIENCE, |period| period.0),
            address_connections_max: self.max_connections_per_address,
            user_connections_max: self.max_connections_per_user,
            documents_max: self.max_open_documents.unwrap_or(DOCUMENTS_OPEN_MAX),
            memory_max: self.max_memory.filter(|bytes| *bytes > 0),
            document_bytes_max: or_any(self.max_document_bytes, DOCUMENT_BYTES_MAX),
            document_structs_max: or_any(self.max_document_structs, DOCUMENT_STRUCTS_MAX),
        }
    }
}
