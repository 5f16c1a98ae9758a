//! The parent's side: a pool of workers, their supervision, their results.
