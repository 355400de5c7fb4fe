//! The journal: the durable truth of the last moments (S1, S2, S13). (Skeleton; being written.)

/// Cheap to clone.
#[derive(Clone)]
pub struct Journal {}
