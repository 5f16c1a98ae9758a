//! The data-parallel verbs.
