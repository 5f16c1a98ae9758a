//! Files by which workers tell a test what they did, and a test tells them what to do.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A file that counts how often something was begun, one byte each.
pub(crate) struct Tally(PathBuf);

impl Tally {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gristmill-policy-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "").unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    pub(crate) fn count(&self) -> u64 {
        fs::metadata(&self.0).unwrap().len()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Adds one, and says how many that makes.
pub(crate) fn mark(path: &str) -> u64 {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
    file.metadata().unwrap().len()
}

pub(crate) fn die() -> ! {
    nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
    unreachable!("SIGKILL returned");
}

/// Returns once the file has so many marks.
pub(crate) fn wait_for(path: &str, count: u64) {
    while fs::metadata(path).unwrap().len() < count {
        thread::sleep(Duration::from_millis(1));
    }
}
