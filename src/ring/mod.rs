//! The task ring: lock-free, many producers and consumers, and no loss when one dies.
