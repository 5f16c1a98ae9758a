//! `SharedVec` and `SharedSlice`: typed buffers in the region.
