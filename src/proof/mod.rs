//! Proofs by death: real processes killed between any two instructions, what they leave audited.
//!
//! `cargo test proof::` runs the short form: a process is killed at every instruction of every
//! path, what is left is audited wherever it differs from what was left an instruction earlier, and
//! others act while the process stands still at every change and every eighth instruction. With
//! `GRISTMILL_SWEEP=full` in the environment all of it is done at every instruction.

mod tests;
