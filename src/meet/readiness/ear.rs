//! The thread that listens for tasks outside tokio. It sleeps in the kernel while nothing comes.

use core::task::{Context, Poll, Waker};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use super::For;
use crate::error::MeetError;
use crate::sys::failure::SysError;
use crate::sys::map::ForkMark;
use crate::sys::pidfd::Poller;
use crate::sys::process::refused;

/// The listener of this process, or why there is none.
static EAR: OnceLock<Result<Ear, SysError>> = OnceLock::new();

#[derive(Debug)]
struct Ear {
    poller: Poller,
    tasks: Mutex<Tasks>,
    mark: ForkMark,
}

#[derive(Debug, Default)]
struct Tasks {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl Ear {
    fn get() -> Result<&'static Self, MeetError> {
        let ear = EAR.get_or_init(|| {
            let poller = Poller::new()?;
            let mark = ForkMark::new()?;
            thread::Builder::new()
                .name("gristmill-ear".into())
                .spawn(Self::listen)
                .map_err(refused("start a thread that listens"))?;
            Ok(Self {
                poller,
                tasks: Mutex::default(),
                mark,
            })
        });
        match ear {
            Ok(ear) if ear.mark.is_here() => Ok(ear),
            Ok(_) => Err(MeetError::Forked),
            Err(error) => Err((*error).into()),
        }
    }

    /// Wakes whose descriptor is ready, for as long as the process lives.
    fn listen() {
        // It waits here until whoever started this thread has stored it.
        let Ok(ear) = EAR.wait() else {
            return;
        };
        let mut ready = Vec::new();
        while ear.poller.wait(None, &mut ready).is_ok() {
            let woken: Vec<Waker> = {
                let mut tasks = ear.tasks();
                let waker = |token| tasks.wakers.remove(token);
                ready.iter().filter_map(waker).collect()
            };
            // With no lock held: a waker may run the task at once.
            woken.into_iter().for_each(Waker::wake);
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor that the thread listens to, once it was polled.
#[derive(Debug)]
pub(super) struct Heard {
    fd: OwnedFd,
    what: For,
    token: Option<u64>,
}

impl Heard {
    pub(super) fn new(fd: OwnedFd, what: For) -> Result<Self, MeetError> {
        Ear::get()?;
        Ok(Self {
            fd,
            what,
            token: None,
        })
    }

    /// Ready once after each time that the thread has heard something.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, MeetError> {
        let ear = Ear::get()?;
        let mut tasks = ear.tasks();
        if let Some(token) = self.token {
            if let Some(waker) = tasks.wakers.get_mut(&token) {
                waker.clone_from(context.waker());
                return Ok(Poll::Pending);
            }
            self.forget(ear, &mut tasks);
            return Ok(Poll::Ready(()));
        }
        let token = tasks.next;
        tasks.next += 1;
        ear.poller
            .add_once(&self.fd, token, self.what == For::Room)?;
        tasks.wakers.insert(token, context.waker().clone());
        self.token = Some(token);
        Ok(Poll::Pending)
    }

    fn forget(&mut self, ear: &Ear, tasks: &mut Tasks) {
        if let Some(token) = self.token.take() {
            tasks.wakers.remove(&token);
            // It is watched, by its token; that it cannot be unwatched changes nothing then.
            let _ = ear.poller.remove(&self.fd);
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Ok(ear) = Ear::get() {
            let mut tasks = ear.tasks();
            self.forget(ear, &mut tasks);
        }
    }
}
