//! Proofs by death: real processes killed between any two instructions, and what they leave audited.

mod tests;
