//! The life of a worker process.

pub(crate) mod entry;
pub(crate) mod life;
pub(crate) mod panic;
