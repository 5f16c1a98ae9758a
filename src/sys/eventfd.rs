//! eventfd.
