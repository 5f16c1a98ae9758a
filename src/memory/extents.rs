//! extents.
