//! What the bytes mean.

pub(crate) mod archive;
pub(crate) mod context;
pub(crate) mod function;
pub(crate) mod image;
pub(crate) mod token;
