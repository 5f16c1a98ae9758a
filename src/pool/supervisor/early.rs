//! The supervisor's thread before there is a pool to watch over.
//!
//! A thread takes half as long to begin as what it is to work with takes to be made, and another
//! core can see to it meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::run;
use crate::error::Error;
use crate::pool::engine::Engine;
use crate::pool::life::Instructions;
use crate::sys::cpu;
use crate::sys::oom::OomKills;

/// How long the thread looks for its charter before it sleeps: a few times what it should take.
const LOOKS: Duration = Duration::from_micros(500);

/// What the thread is to do.
pub(super) struct Charter {
    pub(super) engine: Arc<Engine>,
    pub(super) instructions: Instructions,
    pub(super) oom_kills: Receiver<OomKills>,
    pub(super) report: SyncSender<Result<(), Error>>,
}

/// A thread that waits for its charter; without one it ends.
#[derive(Debug)]
pub(crate) struct Upcoming {
    charter: Option<SyncSender<Charter>>,
    thread: Option<JoinHandle<()>>,
}

impl Upcoming {
    /// Starts the thread.
    pub(crate) fn new() -> Result<Self, Error> {
        let (charter, given) = mpsc::sync_channel(1);
        let live = move || {
            if let Some(charter) = receive(&given) {
                run(charter);
            }
        };
        let thread = thread::Builder::new().name("gristmill".into());
        let thread = thread.spawn(live).map_err(Error::Thread)?;
        Ok(Self {
            charter: Some(charter),
            thread: Some(thread),
        })
    }

    /// Has the thread begin.
    pub(super) fn begin(mut self, charter: Charter) -> Option<JoinHandle<()>> {
        if let Some(place) = self.charter.take() {
            // The thread ends only once this is gone.
            let _ = place.send(charter);
        }
        self.thread.take()
    }
}

impl Drop for Upcoming {
    fn drop(&mut self) {
        self.charter = None;
        if let Some(thread) = self.thread.take() {
            // It has done nothing, so it does not panic.
            let _ = thread.join();
        }
    }
}

/// The charter; `None` if there will be none.
fn receive(given: &Receiver<Charter>) -> Option<Charter> {
    let began = Instant::now();
    while began.elapsed() < LOOKS {
        match given.try_recv() {
            Ok(charter) => return Some(charter),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => cpu::yield_now(),
        }
    }
    given.recv().ok()
}
