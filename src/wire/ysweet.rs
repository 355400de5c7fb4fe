//! The y-sweet dialect (WIRE §2): y-websocket's messages and message 102, at paths of its own.

use crate::ids::DocName;
use crate::limits::DOC_NAME_BYTES_MAX;

/// Why a path of y-sweet's names no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocIdError {
    /// Other characters than y-sweet allows, none, or too many.
    #[error(
        "a y-sweet document id consists of 1 to {DOC_NAME_BYTES_MAX} of the characters A to Z, a to z, 0 to 9, `_` and `-`"
    )]
    Malformed,
    /// Its socket's path names it twice, and not the same.
    #[error("the document id must be the same in both places of the path")]
    Differ,
}

/// The document with this y-sweet id; other dialects call it the same.
///
/// # Errors
/// [`DocIdError::Malformed`].
pub fn doc_id(id: &str) -> Result<DocName, DocIdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match DocName::parse(id) {
        Ok(name) if id.bytes().all(allowed) => Ok(name),
        Ok(_) | Err(_) => Err(DocIdError::Malformed),
    }
}

/// The document of a socket's path, `/d/<id>/ws/<id>`; `None` for a path that is not of this form, which is y-websocket's.
pub fn socket_path(path: &str) -> Option<Result<DocName, DocIdError>> {
    let mut segments = path.strip_prefix("/d/")?.split('/');
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some(first), Some("ws"), Some(second), None) => {
            let same = if first == second { Ok(()) } else { Err(DocIdError::Differ) };
            Some(same.and_then(|()| doc_id(first)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_path_names_one_document_twice() {
        let named = |path: &str| socket_path(path).map(|doc| doc.map(|doc| doc.to_string()));
        assert_eq!(named("/d/a-B_9/ws/a-B_9"), Some(Ok("a-B_9".to_owned())));
        assert_eq!(named("/d/a/ws/b"), Some(Err(DocIdError::Differ)));
        for path in ["/d//ws/", "/d/a%20b/ws/a%20b", "/d/a.b/ws/a.b", "/d/ä/ws/ä"] {
            assert_eq!(named(path), Some(Err(DocIdError::Malformed)), "{path}");
        }
        let long = "x".repeat(DOC_NAME_BYTES_MAX);
        assert_eq!(named(&format!("/d/{long}/ws/{long}")), Some(Ok(long.clone())));
        assert_eq!(named(&format!("/d/{long}x/ws/{long}x")), Some(Err(DocIdError::Malformed)));
        for path in ["/", "/d", "/d/a", "/d/a/ws", "/d/a/ws/a/", "/d/a/ws/a/b", "/e/a/ws/a", "/d/a/WS/a", "d/a/ws/a"] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
