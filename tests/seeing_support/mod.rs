//! A gate that holds workers up, so that a test can look at them meanwhile.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

/// Workers that go through wait until it is opened.
pub(crate) struct Gate {
    closed: PipeReader,
    open: PipeWriter,
    entered: PipeReader,
    says: PipeWriter,
}

/// What a worker needs to know of a gate: the paths of its two pipes.
pub(crate) type Paths = (String, String);

impl Gate {
    pub(crate) fn new() -> Self {
        let (closed, open) = std::io::pipe().unwrap();
        let (entered, says) = std::io::pipe().unwrap();
        Self {
            closed,
            open,
            entered,
            says,
        }
    }

    pub(crate) fn paths(&self) -> Paths {
        (path(self.closed.as_raw_fd()), path(self.says.as_raw_fd()))
    }

    /// Returns when so many more workers wait at the gate.
    pub(crate) fn await_workers(&mut self, count: usize) {
        self.entered.read_exact(&mut vec![0; count]).unwrap();
    }

    /// Lets so many workers through.
    pub(crate) fn open(&mut self, count: usize) {
        self.open.write_all(&vec![0; count]).unwrap();
    }
}

/// In a worker: waits until it is let through.
pub(crate) fn pass(closed: &str, says: &str) {
    let mut gate = File::open(closed).unwrap();
    arrive(says);
    gate.read_exact(&mut [0]).unwrap();
}

/// In a worker: says that it is there, and goes on.
pub(crate) fn arrive(says: &str) {
    let mut says = OpenOptions::new().write(true).open(says).unwrap();
    says.write_all(&[0]).unwrap();
}

fn path(fd: RawFd) -> String {
    format!("/proc/{}/fd/{fd}", std::process::id())
}
