//! What workers say through pipes: lines that they print.
//!
//! The pipes are in the supervisor's epoll, so there is no thread a worker. What a worker wrote
//! before it died is still in the kernel, and is read before its death is told.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::pool::output::{Cutter, Lines, OutputStream};
use crate::sys::failure::SysError;
use crate::sys::pidfd::Poller;
use crate::sys::pipe::{Received, Receiver, pipe};

/// Names of pipes in the epoll begin here, above those of workers.
const FIRST: u64 = 1 << 32;
const END: u64 = 1 << 62;

/// How much is read of one pipe before others have their turn.
const BITE: usize = 64 << 10;

/// The pipes that are open.
#[derive(Debug)]
pub(super) struct Ears {
    lines: Option<Arc<Lines>>,
    next: u64,
    pipes: HashMap<u64, Ear>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Ear {
    worker: usize,
    receiver: Receiver,
    cutter: Cutter,
}

/// The worker's ends of its pipes, until it has been started.
#[derive(Debug, Default)]
pub(super) struct Mouths(Vec<(OwnedFd, RawFd)>);

impl Mouths {
    /// What the worker is to find under which numbers.
    pub(super) fn placed(&self) -> Vec<(BorrowedFd<'_>, RawFd)> {
        let mouths = self.0.iter();
        mouths.map(|(fd, number)| (fd.as_fd(), *number)).collect()
    }
}

impl Ears {
    pub(super) fn new(lines: Option<Arc<Lines>>) -> Self {
        Self {
            lines,
            next: FIRST,
            pipes: HashMap::new(),
            buffer: vec![0; BITE],
        }
    }

    /// Whether a name in the epoll is that of a pipe.
    pub(super) fn are_meant(token: u64) -> bool {
        (FIRST..END).contains(&token)
    }

    /// Opens the pipes for a worker that is to be started.
    pub(super) fn open(&mut self, worker: usize, poller: &Poller) -> Result<Mouths, SysError> {
        let mut mouths = Mouths::default();
        if self.lines.is_some() {
            for (number, stream) in [(1, OutputStream::Stdout), (2, OutputStream::Stderr)] {
                let (receiver, mouth) = pipe()?;
                poller.add(&receiver, self.next)?;
                let cutter = Cutter::new(worker, stream);
                let ear = Ear {
                    worker,
                    receiver,
                    cutter,
                };
                self.pipes.insert(self.next, ear);
                self.next += 1;
                mouths.0.push((mouth, number));
            }
        }
        Ok(mouths)
    }

    /// The worker was started.
    pub(super) fn introduce(&mut self, worker: usize, pid: u32) {
        for ear in self.pipes.values_mut().filter(|ear| ear.worker == worker) {
            ear.cutter.introduce(pid);
        }
    }

    /// Something was written, or nobody is left to write.
    pub(super) fn hear(&mut self, token: u64, poller: &Poller) {
        let Self { pipes, buffer, .. } = self;
        let Some(ear) = pipes.get_mut(&token) else {
            return;
        };
        match (ear.receiver.receive(buffer), &self.lines) {
            (Received::Bytes(size), Some(lines)) => ear.cutter.feed(&buffer[..size], lines),
            (Received::Nothing, _) => {}
            (Received::Closed, _) | (_, None) => self.close(token, poller),
        }
    }

    /// The worker is dead: what it has said is read, and then its pipes are closed, whoever else
    /// may hold them.
    pub(super) fn close_all(&mut self, worker: usize, poller: &Poller) {
        let pipes = self.pipes.iter();
        let its: Vec<u64> = pipes
            .filter(|(_, ear)| ear.worker == worker)
            .map(|(&token, _)| token)
            .collect();
        for token in its {
            self.close(token, poller);
        }
    }

    fn close(&mut self, token: u64, poller: &Poller) {
        let Some(mut ear) = self.pipes.remove(&token) else {
            return;
        };
        let _ = poller.remove(&ear.receiver);
        let Some(lines) = &self.lines else { return };
        // A process that the worker started may write for ever: no more is read than a pipe holds.
        let mut left = 1 << 20;
        while let Received::Bytes(size) = ear.receiver.receive(&mut self.buffer) {
            ear.cutter.feed(&self.buffer[..size], lines);
            left -= size.min(left);
            if left == 0 {
                break;
            }
        }
        ear.cutter.finish(lines);
    }
}
