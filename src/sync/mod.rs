//! Waiting: parked workers and the parent's doorbell.
