//! What the bytes mean.

pub(crate) mod archive;
pub(crate) mod batch;
pub(crate) mod closure;
pub(crate) mod context;
pub(crate) mod control;
#[cfg(feature = "tracing")]
pub(crate) mod echo;
pub(crate) mod envelope;
pub(crate) mod freed;
pub(crate) mod function;
pub(crate) mod gauge;
pub(crate) mod greeting;
pub(crate) mod image;
pub(crate) mod lanes;
pub(crate) mod panic;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod remote;
pub(crate) mod reply;
pub(crate) mod settings;
pub(crate) mod solo;
pub(crate) mod start;
pub(crate) mod task;
pub(crate) mod token;
