//! The different addresses among a document's peers, so that what many are told is encoded once for each of them: as a
//! rule one or two, since all y-websocket clients share one and all Hocuspocus clients without session ids another.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::wire::dialect::Address;
use crate::wire::message::ServerMessage;

/// Which addresses there are. Each has a number while it has peers.
#[derive(Default)]
pub(super) struct Addresses {
    numbers: BTreeMap<Address, usize>,
    by_number: Vec<(Address, usize)>,
    free: Vec<usize>,
}

impl Addresses {
    /// The number of a peer's address, to be given back by [`Addresses::leave`].
    pub(super) fn join(&mut self, address: Address) -> usize {
        let number = match self.numbers.get(&address) {
            Some(number) => *number,
            None => {
                let number = self.free.pop().unwrap_or(self.by_number.len());
                self.numbers.insert(address.clone(), number);
                match self.by_number.get_mut(number) {
                    Some(place) => *place = (address, 0),
                    None => self.by_number.push((address, 0)),
                }
                number
            }
        };
        if let Some((_, peers)) = self.by_number.get_mut(number) {
            *peers += 1;
        }
        number
    }

    /// A peer at this number has left.
    pub(super) fn leave(&mut self, number: usize) {
        let Some((address, peers)) = self.by_number.get_mut(number) else { return };
        *peers = peers.saturating_sub(1);
        if *peers == 0 && self.numbers.remove(address).is_some() {
            *address = Address::default();
            self.free.push(number);
        }
        if self.numbers.is_empty() {
            *self = Self::default();
        }
    }

    /// `message` to one peer.
    pub(super) fn frames(&self, number: usize, message: &ServerMessage) -> Option<Bytes> {
        self.by_number.get(number)?.0.frames(message)
    }

    /// `message` to many.
    pub(super) fn announce(&self, message: ServerMessage) -> Announcement<'_> {
        Announcement { addresses: self, message, frames: vec![None; self.by_number.len()] }
    }
}

/// One message to peers at several addresses, encoded when the first of each asks for it.
pub(super) struct Announcement<'a> {
    addresses: &'a Addresses,
    message: ServerMessage,
    frames: Vec<Option<Option<Bytes>>>,
}

impl Announcement<'_> {
    /// The frames for peers at this number; `None` when their dialect has no words for it.
    pub(super) fn frames(&mut self, number: usize) -> Option<&Bytes> {
        let (addresses, message) = (self.addresses, &self.message);
        self.frames.get_mut(number)?.get_or_insert_with(|| addresses.frames(number, message)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hocuspocus(address: &str) -> Address {
        Address::Hocuspocus(address.into())
    }

    #[test]
    fn equal_addresses_share_a_number_and_its_frame() {
        let mut addresses = Addresses::default();
        let [a, b, c] = ["doc", "doc\0one", "doc"].map(|address| addresses.join(hocuspocus(address)));
        let plain = addresses.join(Address::YWebsocket);
        assert_eq!(a, c);
        assert!(a != b && b != plain && a != plain);
        let mut news = addresses.announce(ServerMessage::Update(Bytes::from_static(&[0, 0])));
        assert_eq!(news.frames(plain).unwrap()[2..], [0, 2, 2, 0, 0]);
        assert_eq!(news.frames(a).unwrap()[2..6], *b"\x03doc");
        let frame = news.frames(a).unwrap().as_ptr();
        assert_eq!(news.frames(c).unwrap().as_ptr(), frame, "encoded once");
        let mut text = addresses.announce(ServerMessage::Stateless(Bytes::from_static(b"hi")));
        assert_eq!(text.frames(plain), None);
        assert!(text.frames(b).is_some());
    }

    #[test]
    fn numbers_are_used_again_once_nobody_has_them() {
        let mut addresses = Addresses::default();
        let a = addresses.join(hocuspocus("a"));
        let b = addresses.join(hocuspocus("b"));
        addresses.join(hocuspocus("b"));
        addresses.leave(b);
        assert_ne!(addresses.join(hocuspocus("c")), b, "somebody has it still");
        addresses.leave(a);
        assert_eq!(addresses.join(hocuspocus("d")), a);
        assert_eq!(addresses.by_number.len(), 3);
    }
}
