//! What workers say through pipes: lines that they print, and what they tell `tracing`.
//!
//! The pipes are in the supervisor's epoll, so there is no thread a worker. What a worker wrote
//! before it died is still in the kernel, and is read before its death is told.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::pool::echo::Echo;
use crate::pool::engine::Engine;
use crate::pool::output::{Cutter, Lines, OutputStream};
#[cfg(feature = "tracing")]
use crate::protocol::echo::Message;
use crate::sys::failure::SysError;
use crate::sys::pidfd::Poller;
use crate::sys::pipe::{Received, Receiver, pipe};

/// Names of pipes in the epoll begin here, above those of workers.
const FIRST: u64 = 1 << 32;
const END: u64 = 1 << 62;

/// How much is read of one pipe before others have their turn.
const BITE: usize = 64 << 10;
/// Twice what a pipe holds.
const MOST: usize = 2 << 20;

/// The pipes that are open.
#[derive(Debug)]
pub(super) struct Ears {
    lines: Option<Arc<Lines>>,
    #[cfg(feature = "tracing")]
    echo: Option<(Echo, RawFd)>,
    next: u64,
    pipes: HashMap<u64, Ear>,
    /// Empty until there is something to be read.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Ear {
    worker: usize,
    pid: u32,
    receiver: Receiver,
    tongue: Tongue,
}

/// What is said through a pipe.
#[derive(Debug)]
enum Tongue {
    Lines(Cutter),
    /// Messages, the last of which may be there in part.
    #[cfg(feature = "tracing")]
    Events(Vec<u8>),
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
    pub(super) fn new(engine: &Engine) -> Result<Self, Error> {
        #[cfg(feature = "tracing")]
        let echo = match engine.audience() {
            Some((audience, fd)) => Some((Echo::start(audience).map_err(Error::Thread)?, fd)),
            None => None,
        };
        Ok(Self {
            lines: engine.output().cloned(),
            #[cfg(feature = "tracing")]
            echo,
            next: FIRST,
            pipes: HashMap::new(),
            buffer: Vec::new(),
        })
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
                let tongue = Tongue::Lines(Cutter::new(worker, stream));
                let mouth = self.add(worker, tongue, false, poller)?;
                mouths.0.push((mouth, number));
            }
        }
        #[cfg(feature = "tracing")]
        if let Some((_, number)) = self.echo {
            let mouth = self.add(worker, Tongue::Events(Vec::new()), true, poller)?;
            mouths.0.push((mouth, number));
        }
        Ok(mouths)
    }

    fn add(
        &mut self,
        worker: usize,
        tongue: Tongue,
        keeps_going: bool,
        poller: &Poller,
    ) -> Result<OwnedFd, SysError> {
        let (receiver, mouth) = pipe(keeps_going)?;
        poller.add(&receiver, self.next)?;
        let ear = Ear {
            worker,
            pid: 0,
            receiver,
            tongue,
        };
        self.pipes.insert(self.next, ear);
        self.next += 1;
        Ok(mouth)
    }

    /// The worker was started.
    pub(super) fn introduce(&mut self, worker: usize, pid: u32) {
        let fresh = |ear: &&mut Ear| ear.worker == worker && ear.pid == 0;
        for ear in self.pipes.values_mut().filter(fresh) {
            ear.pid = pid;
        }
    }

    /// Something was written, or nobody is left to write.
    pub(super) fn hear(&mut self, token: u64, poller: &Poller) {
        if self.take(token) == Received::Closed {
            self.close(token, poller);
        }
    }

    /// Takes a bite of what is in a pipe.
    fn take(&mut self, token: u64) -> Received {
        let Some(ear) = self.pipes.get_mut(&token) else {
            return Received::Nothing;
        };
        self.buffer.resize(BITE, 0);
        let received = ear.receiver.receive(&mut self.buffer);
        let Received::Bytes(size) = received else {
            return received;
        };
        let bytes = &self.buffer[..size];
        match &mut ear.tongue {
            Tongue::Lines(cutter) => {
                if let Some(lines) = &self.lines {
                    cutter.feed(ear.pid, bytes, lines);
                }
            }
            #[cfg(feature = "tracing")]
            Tongue::Events(begun) => {
                begun.extend_from_slice(bytes);
                let mut used = 0;
                let sound = loop {
                    match Message::decode(&begun[used..]) {
                        Ok(Some((message, size))) => {
                            used += size;
                            if let Some((echo, _)) = &mut self.echo {
                                echo.tell(ear.pid, message);
                            }
                        }
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                };
                begun.drain(..used);
                if !sound {
                    // A worker that runs wild is not listened to any more.
                    return Received::Closed;
                }
            }
        }
        received
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
            // A process that the worker started may write for ever: there is an end to reading.
            let mut left = MOST;
            while let Received::Bytes(size) = self.take(token) {
                left = left.saturating_sub(size);
                if left == 0 {
                    break;
                }
            }
            self.close(token, poller);
        }
    }

    /// Lets go of the spans in which work was submitted that has ended, behind what its workers
    /// have said of it.
    #[cfg(feature = "tracing")]
    pub(super) fn let_go(&mut self, poller: &Poller) {
        let left = match &self.echo {
            Some((echo, _)) => echo.left(),
            None => return,
        };
        if left.is_empty() {
            return;
        }
        // It was said before the work ended. What else is said meanwhile has time.
        let pipes = self.pipes.iter();
        let events = pipes.filter(|(_, ear)| matches!(ear.tongue, Tongue::Events(_)));
        for token in events.map(|(&token, _)| token).collect::<Vec<_>>() {
            let mut left = MOST;
            loop {
                match self.take(token) {
                    Received::Bytes(size) if size < left => left -= size,
                    Received::Closed => break self.close(token, poller),
                    _ => break,
                }
            }
        }
        if let Some((echo, _)) = &mut self.echo {
            echo.let_go(left);
        }
    }

    /// The pool has ended: nobody will say anything any more.
    pub(super) fn end(&mut self) {
        if let Some(lines) = &self.lines {
            lines.end();
        }
        #[cfg(feature = "tracing")]
        {
            self.echo = None;
        }
    }

    fn close(&mut self, token: u64, poller: &Poller) {
        let Some(mut ear) = self.pipes.remove(&token) else {
            return;
        };
        let _ = poller.remove(&ear.receiver);
        match &mut ear.tongue {
            Tongue::Lines(cutter) => {
                if let Some(lines) = &self.lines {
                    cutter.finish(ear.pid, lines);
                }
            }
            #[cfg(feature = "tracing")]
            Tongue::Events(_) => {
                if let Some((echo, _)) = &mut self.echo {
                    echo.end_of(ear.pid);
                }
            }
        }
    }
}
