//! (being written)
use super::WireError;
/// being written
pub fn validate(_bytes: &[u8]) -> Result<(), WireError> {
    unimplemented!()
}
