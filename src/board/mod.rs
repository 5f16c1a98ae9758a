//! The job board: chunks of range jobs, claimed one word at a time.
