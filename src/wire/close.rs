//! Why a connection ends, and the close code that tells each dialect's client the right thing (WIRE §6).

use super::dialect::Dialect;

/// Why weft closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The server is restarting or draining; come back at once.
    Restart,
    /// The document's task ended and will be loaded anew; come back at once.
    Reload,
    /// An admin has ended this connection; come back.
    Admin,
    /// The client reads too slowly even for diffs, or the server is overloaded.
    Overloaded,
    /// It goes on to send, or to want done, far more than its share (WIRE §6: slowed first): come back later.
    OverBudget,
    /// No token came, or one that is not good, or not any more.
    Unauthorized,
    /// The token does not open this document, or not any more.
    Forbidden,
    /// Whether it may come in cannot be found out now: come back later.
    Unchecked,
    /// The token has expired while it was used; come back at once with a fresh one.
    TokenExpired,
    /// Too many malformed messages.
    Garbage,
    /// An update over the size limit, or one that was quarantined: sending it again cannot help (WIRE g7).
    UpdateRefused,
    /// It never said anything, so not even its dialect is known.
    Silent,
    /// The document's name breaks the rules of contract 2.2.
    BadName,
    /// An admin deleted the document; a copy that a client still has cannot bring it back.
    Deleted,
    /// What is stored of the document cannot be read.
    Unreadable,
    /// Writes are refused because storage failed (S7).
    StorageFailed,
    /// Writes are refused until the disk has room again (S9): come back later.
    DiskFull,
    /// The WebSocket protocol itself was violated; carries its RFC 6455 code.
    Protocol(u16),
    /// The client closed first; its code is echoed.
    Client,
}

impl CloseReason {
    /// The close code for clients of `dialect`.
    pub fn code(self, dialect: Dialect) -> u16 {
        match dialect {
            // y-sweet's pays no heed to them (WIRE g-s3).
            Dialect::YWebsocket | Dialect::YSweet => self.ywebsocket_code(),
            Dialect::Hocuspocus => self.hocuspocus_code(),
        }
    }

    /// The reason concerns one document. Where a connection has many, that one is ended by a denial and the connection
    /// goes on (WIRE h5, §6).
    pub fn is_of_document(self) -> bool {
        match self {
            CloseReason::Unauthorized
            | CloseReason::Forbidden
            | CloseReason::UpdateRefused
            | CloseReason::BadName
            | CloseReason::Deleted
            | CloseReason::Unreadable => true,
            // A document cannot be sent away alone so that its client comes back (WIRE h6); the connection can.
            CloseReason::Restart
            | CloseReason::Reload
            | CloseReason::Admin
            | CloseReason::Overloaded
            | CloseReason::OverBudget
            | CloseReason::Unchecked
            | CloseReason::TokenExpired
            | CloseReason::Garbage
            | CloseReason::Silent
            | CloseReason::StorageFailed
            | CloseReason::DiskFull
            | CloseReason::Protocol(_)
            | CloseReason::Client => false,
        }
    }

    /// Providers from 3 on come back after every code, with growing pauses; 2.15.3 stays away after 4401, 4403 and 1009
    /// (WIRE h5). 4205 is their own "reset connection".
    fn hocuspocus_code(self) -> u16 {
        match self {
            CloseReason::Garbage | CloseReason::TokenExpired => 4205,
            CloseReason::UpdateRefused => 1009,
            other => other.ywebsocket_code(),
        }
    }

    /// 4400–4499 stop clients ≥ 3.1.0 for good (WIRE g6), so only conditions that a reconnect cannot mend use them.
    fn ywebsocket_code(self) -> u16 {
        match self {
            CloseReason::Restart | CloseReason::Reload | CloseReason::Admin => 1012,
            CloseReason::Overloaded
            | CloseReason::OverBudget
            | CloseReason::Unchecked
            | CloseReason::StorageFailed
            | CloseReason::DiskFull
            | CloseReason::Unreadable => 1013,
            CloseReason::Garbage | CloseReason::BadName => 4400,
            CloseReason::Unauthorized => 4401,
            CloseReason::Forbidden => 4403,
            CloseReason::Deleted => 4404,
            // A client asks its application for parameters whenever it connects, so it may well have a fresh token; one
            // that has not is told 4401 then, and stops.
            CloseReason::TokenExpired => 4501,
            CloseReason::UpdateRefused => 4413,
            CloseReason::Silent => 1008,
            CloseReason::Protocol(code) => code,
            CloseReason::Client => 1000,
        }
    }

    /// Whether it is about a write that was refused, while all else would go on.
    pub fn refuses_a_write(self) -> bool {
        match self {
            CloseReason::UpdateRefused | CloseReason::StorageFailed | CloseReason::DiskFull => true,
            CloseReason::Restart
            | CloseReason::Reload
            | CloseReason::Admin
            | CloseReason::Overloaded
            | CloseReason::OverBudget
            | CloseReason::Unauthorized
            | CloseReason::Forbidden
            | CloseReason::Unchecked
            | CloseReason::TokenExpired
            | CloseReason::Garbage
            | CloseReason::Silent
            | CloseReason::BadName
            | CloseReason::Deleted
            | CloseReason::Unreadable
            | CloseReason::Protocol(_)
            | CloseReason::Client => false,
        }
    }

    /// Whether a client that comes back at once would most likely be let in and closed again for the same reason.
    pub fn comes_again(self) -> bool {
        match self {
            CloseReason::Overloaded
            | CloseReason::OverBudget
            | CloseReason::Garbage
            | CloseReason::UpdateRefused
            | CloseReason::StorageFailed
            | CloseReason::DiskFull
            | CloseReason::Silent
            | CloseReason::Unreadable
            | CloseReason::Protocol(_) => true,
            CloseReason::Restart
            | CloseReason::Reload
            | CloseReason::Admin
            | CloseReason::Unauthorized
            | CloseReason::Forbidden
            | CloseReason::Unchecked
            | CloseReason::TokenExpired
            | CloseReason::BadName
            | CloseReason::Deleted
            | CloseReason::Client => false,
        }
    }

    /// A short name for programs.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Restart => "restart",
            CloseReason::Reload => "reload",
            CloseReason::Admin => "admin",
            CloseReason::Unauthorized => "unauthorized",
            CloseReason::Forbidden => "forbidden",
            CloseReason::Unchecked => "unchecked",
            CloseReason::TokenExpired => "token-expired",
            CloseReason::Deleted => "deleted",
            CloseReason::Overloaded => "overloaded",
            CloseReason::OverBudget => "over-budget",
            CloseReason::Garbage => "garbage",
            CloseReason::UpdateRefused => "update-refused",
            CloseReason::Silent => "silent",
            CloseReason::BadName => "bad-name",
            CloseReason::Unreadable => "unreadable",
            CloseReason::StorageFailed => "storage-failed",
            CloseReason::DiskFull => "disk-full",
            CloseReason::Protocol(_) => "protocol",
            CloseReason::Client => "client",
        }
    }

    /// The reason text of the close frame, for people who look at it.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Restart => "server restarting",
            CloseReason::Reload => "document reloading",
            CloseReason::Admin => "closed by an admin",
            CloseReason::Overloaded => "client too slow or server overloaded",
            CloseReason::OverBudget => "more than this connection's share, come back later",
            CloseReason::Unauthorized => "access denied: no valid token",
            CloseReason::Forbidden => "access denied: the token does not open this document",
            CloseReason::Unchecked => "access cannot be checked now",
            CloseReason::TokenExpired => "the token has expired",
            CloseReason::Garbage => "too many malformed messages",
            CloseReason::UpdateRefused => "update refused",
            CloseReason::Silent => "no message came",
            CloseReason::BadName => "invalid document name",
            CloseReason::Deleted => "document deleted",
            CloseReason::Unreadable => "document cannot be opened",
            CloseReason::StorageFailed => "storage unavailable",
            CloseReason::DiskFull => "disk full",
            CloseReason::Protocol(_) => "websocket protocol error",
            CloseReason::Client => "",
        }
    }

    /// What a client is told whose document ends for this reason while its connection goes on (WIRE §6).
    pub fn denial(self) -> &'static str {
        match self {
            CloseReason::Deleted => "deleted",
            other => other.text(),
        }
    }
}
