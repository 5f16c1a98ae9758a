//! Variables that a process is started with, besides those of the program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Names and values, each name once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(Vec<(OsString, OsString)>);

impl Variables {
    pub(crate) fn set(&mut self, name: &OsStr, value: &OsStr) {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.0.iter()
    }

    /// One that no environment can hold.
    pub(crate) fn impossible(&self) -> Option<&(OsString, OsString)> {
        let has = |text: &OsStr, bad| text.as_bytes().contains(&bad);
        self.0.iter().find(|(name, value)| {
            name.is_empty() || has(name, b'=') || has(name, 0) || has(value, 0)
        })
    }
}
