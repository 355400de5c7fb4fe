//! An update that somebody brings who is no peer: whole as long as a message could hold it, else in pieces.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::mailbox::{Closed, Import};
use super::{Hub, HubError, ImportReport};
use crate::ids::DocName;
use crate::limits::{IMPORT_PIECE_BYTES, IMPORT_PIECES_IN_FLIGHT, MESSAGE_BYTES_MAX};
use crate::replica::pieces::Pieces;
use crate::wire::update;

/// The fate of one piece.
type Answer = oneshot::Receiver<Result<ImportReport, HubError>>;

impl Hub {
    /// Merges an update, creating the document if need be, also one that was deleted; returns when durable. Live peers
    /// see it.
    ///
    /// What is larger than [`MESSAGE_BYTES_MAX`] is validated whole, then merged in an order of causes by pieces of
    /// [`IMPORT_PIECE_BYTES`], so that it neither needs a record that large nor holds up the document's editors. Should
    /// it fail in between, what was merged stays, and importing again goes on from there.
    ///
    /// # Errors
    /// [`HubError::BadUpdate`], and whatever keeps the document from being opened or written. [`HubError::Deleted`] when it
    /// was deleted between two pieces.
    pub async fn import(&self, doc: &DocName, bytes: Bytes) -> Result<ImportReport, HubError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return self.import_in_pieces(doc, bytes).await;
        }
        update::validate(&bytes).map_err(|e| HubError::BadUpdate(e.to_string()))?;
        answered(doc, self.offer(doc, &bytes, Import::Anyway).await?).await
    }

    /// Merges an update that somebody brings who may write the document, but not bring it back; at most
    /// [`MESSAGE_BYTES_MAX`], as if it had come by a socket. Returns when durable; live peers see it.
    ///
    /// # Errors
    /// As [`Hub::import`], and [`HubError::Deleted`].
    pub async fn merge(&self, doc: &DocName, bytes: Bytes) -> Result<ImportReport, HubError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            let (size, max) = (bytes.len(), MESSAGE_BYTES_MAX);
            return Err(HubError::BadUpdate(format!("it has {size} bytes, at most {max} are allowed")));
        }
        update::validate(&bytes).map_err(|e| HubError::BadUpdate(e.to_string()))?;
        answered(doc, self.offer(doc, &bytes, Import::Bounded).await?).await
    }

    /// Has a document exist, empty if it did not before; returns when that is durable.
    ///
    /// # Errors
    /// [`HubError::Deleted`], and whatever keeps the document from being opened or written.
    pub async fn create(&self, doc: &DocName) -> Result<(), HubError> {
        answered(doc, self.offer(doc, &[], Import::Create).await?).await.map(drop)
    }

    async fn import_in_pieces(&self, doc: &DocName, bytes: Bytes) -> Result<ImportReport, HubError> {
        let offered_bytes = bytes.len() as u64;
        // One is cut while another is merged.
        let (to_merge, mut pieces) = mpsc::channel(1);
        let cutting = tokio::task::spawn_blocking(move || cut(&bytes, &to_merge));
        let mut in_flight: VecDeque<Answer> = VecDeque::new();
        // The first piece may bring back what was deleted before; a deletion that comes between two pieces is meant.
        let mut how = Import::Anyway;
        let mut merged: Option<ImportReport> = None;
        loop {
            let piece: Option<Vec<u8>> = pieces.recv().await;
            while in_flight.len() >= IMPORT_PIECES_IN_FLIGHT || (piece.is_none() && !in_flight.is_empty()) {
                let Some(answer) = in_flight.pop_front() else { break };
                let report = answered(doc, answer).await.map_err(|error| partly(error, merged.as_ref()))?;
                match &mut merged {
                    None => merged = Some(report),
                    Some(merged) => {
                        merged.offered_bytes += report.offered_bytes;
                        merged.accepted_bytes += report.accepted_bytes;
                        merged.parked_bytes += report.parked_bytes;
                        merged.recreated |= report.recreated;
                    }
                }
            }
            match piece {
                Some(piece) => {
                    let how = std::mem::replace(&mut how, Import::UnlessDeleted);
                    in_flight.push_back(self.offer(doc, &piece, how).await?);
                }
                None => break,
            }
        }
        cutting.await.unwrap_or_else(|panic| Err(HubError::BadUpdate(panic.to_string())))?;
        let mut merged = merged.ok_or_else(|| HubError::BadUpdate("there is nothing in it".to_owned()))?;
        // Each piece has a head of its own, so together they are a little larger than what was offered.
        merged.offered_bytes = offered_bytes;
        merged.accepted_bytes = merged.accepted_bytes.min(offered_bytes - merged.parked_bytes.min(offered_bytes));
        Ok(merged)
    }

    /// Hands a validated update to the document's task, waking the document if it sleeps.
    async fn offer(&self, doc: &DocName, update: &[u8], how: Import) -> Result<Answer, HubError> {
        let mut last_try = false;
        loop {
            let (reply, answer) = oneshot::channel();
            match self.inner.mailbox(doc)?.send_import(update, how, reply).await {
                Ok(()) => return Ok(answer),
                // It fell asleep between the two calls. A closed mailbox is off the map, so there is a new one now.
                Err(Closed) if !last_try => last_try = true,
                Err(Closed) => return Err(HubError::Reloading(doc.clone())),
            }
        }
    }
}

/// Cuts on a thread that may work for long; ends early when nobody takes the pieces any more.
fn cut(bytes: &[u8], pieces: &mpsc::Sender<Vec<u8>>) -> Result<(), HubError> {
    let bad = |error: &dyn std::fmt::Display| HubError::BadUpdate(error.to_string());
    update::validate(bytes).map_err(|e| bad(&e))?;
    let mut cut = Pieces::new(bytes, IMPORT_PIECE_BYTES).map_err(|e| bad(&e))?;
    while let Some(piece) = cut.next_piece().map_err(|e| bad(&e))? {
        if pieces.blocking_send(piece).is_err() {
            break;
        }
    }
    Ok(())
}

async fn answered(doc: &DocName, answer: Answer) -> Result<ImportReport, HubError> {
    answer.await.unwrap_or_else(|_| Err(HubError::Reloading(doc.clone())))
}

/// Says how much of a refused update is there all the same.
fn partly(error: HubError, merged: Option<&ImportReport>) -> HubError {
    match (error, merged) {
        (HubError::BadUpdate(why), Some(merged)) => {
            HubError::BadUpdate(format!("{why}; {} bytes before that were merged", merged.accepted_bytes))
        }
        (error, _) => error,
    }
}
