//! The only door to the atomics: `core` in the product, `loom` in the models.

pub(crate) mod atomic;
#[cfg(not(gristmill_loom))]
pub(crate) mod flag;
pub(crate) mod line;
#[cfg(all(test, gristmill_loom))]
pub(crate) mod model;
#[cfg(any(not(gristmill_loom), test))]
pub(crate) mod pair;
pub(crate) mod prefetch;
