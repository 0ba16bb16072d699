//! Who is asked for what.

pub(super) mod content;
pub(super) mod rank;
