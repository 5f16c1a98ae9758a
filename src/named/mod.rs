//! Regions that unrelated programs find by name.

mod place;

#[cfg(test)]
mod tests;
