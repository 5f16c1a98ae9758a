//! Everything that can go wrong, typed.
