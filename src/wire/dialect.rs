//! Which protocol a client speaks; the document behind it is the same.

/// The protocols of stock clients (contract 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// y-websocket's: the document is the URL's path (WIRE §1).
    YWebsocket,
    /// y-sweet's: y-websocket's with acks, at paths of its own, and with clients of other manners (WIRE §2).
    YSweet,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 2] = [Dialect::YWebsocket, Dialect::YSweet];

    /// A short name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::YWebsocket => "ywebsocket",
            Dialect::YSweet => "ysweet",
        }
    }
}
