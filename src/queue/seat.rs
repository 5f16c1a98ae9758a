//! STAND-IN: what a queue needs of its region.

#![allow(unsafe_code, missing_docs)]

use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::error::SendError;
use crate::error::{Error, Result};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::sys::futex;

pub(super) const MEMBERS: usize = 256;

#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct WaitSet {
    seq: AtomicU32,
    blocked: AtomicU32,
    listening: AtomicU64,
    rest: [u64; 14],
}
impl WaitSet {
    pub(super) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            listening: AtomicU64::new(0),
            rest: [0; 14],
        }
    }
}

#[derive(Debug, Clone)]
pub struct Region(Arc<Inner>);
#[derive(Debug)]
struct Inner {
    memory: crate::memory::region::Region,
    next: Mutex<(u64, Vec<(u64, usize)>)>,
    wakers: Mutex<VecDeque<(usize, u64, Waker)>>,
    tickets: AtomicU64,
}
impl Region {
    pub fn new(size: usize) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            memory: crate::memory::region::Region::create(size as u64)?,
            next: Mutex::new((0, vec![])),
            wakers: Mutex::default(),
            tickets: AtomicU64::new(1),
        })))
    }
    fn alloc(&self, size: usize) -> Option<u64> {
        let size = size.next_multiple_of(64);
        let mut next = self.0.next.lock().unwrap();
        if let Some(at) = next.1.iter().position(|&(_, s)| s == size) {
            return Some(next.1.swap_remove(at).0);
        }
        let at = next.0;
        if at + size as u64 > self.0.memory.size() {
            return None;
        }
        next.0 += size as u64;
        Some(at)
    }
}
#[derive(Debug)]
pub struct NoRoom {
    wanted: u64,
    available: u64,
}
impl NoRoom {
    pub(super) fn into_error<G>(self, item: G) -> SendError<G> {
        SendError::TooLarge {
            item,
            wanted: self.wanted,
            available: self.available,
        }
    }
}
#[derive(Debug)]
pub struct Block {
    region: Region,
    offset: u64,
    size: usize,
    armed: bool,
}
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct BlockName {
    offset: u64,
    size: u64,
}
impl Block {
    pub(super) fn start(&self) -> NonNull<u8> {
        self.region
            .0
            .memory
            .pointer(self.offset, self.size)
            .unwrap()
    }
    pub(super) fn name(&self) -> BlockName {
        BlockName {
            offset: self.offset,
            size: self.size as u64,
        }
    }
    pub(super) fn hand_over(mut self) {
        self.armed = false;
    }
}
impl Drop for Block {
    fn drop(&mut self) {
        if self.armed {
            self.region
                .0
                .next
                .lock()
                .unwrap()
                .1
                .push((self.offset, self.size.next_multiple_of(64)));
        }
    }
}
#[derive(Debug)]
pub struct Seat {
    region: Region,
    offset: u64,
}
impl Seat {
    pub(super) fn create(
        region: &Region,
        size: u64,
        write: impl FnOnce(NonNull<u8>),
    ) -> Result<Self> {
        let offset = usize::try_from(size)
            .ok()
            .and_then(|size| region.alloc(size))
            .ok_or(Error::PoolClosed)?;
        let seat = Self {
            region: region.clone(),
            offset,
        };
        write(seat.at(0));
        Ok(seat)
    }
    #[inline]
    pub(super) fn at(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: inside the region; a stand-in.
        unsafe {
            self.region
                .0
                .memory
                .base()
                .add((self.offset + offset) as usize)
        }
    }
    #[inline]
    pub(super) fn me(&self) -> Result<Owner> {
        Ok(Owner::new(0, 0))
    }
    pub(super) fn allocate(&self, size: usize) -> Result<Block, NoRoom> {
        let offset = self.region.alloc(size).ok_or(NoRoom {
            wanted: size as u64,
            available: self.region.0.memory.size(),
        })?;
        Ok(Block {
            region: self.region.clone(),
            offset,
            size,
            armed: true,
        })
    }
    pub(super) fn bytes_of(&self, name: BlockName, size: usize) -> Option<NonNull<u8>> {
        self.region.0.memory.pointer(name.offset, size)
    }
    pub(super) fn free(&self, name: BlockName) {
        self.region
            .0
            .next
            .lock()
            .unwrap()
            .1
            .push((name.offset, (name.size as usize).next_multiple_of(64)));
    }
    #[inline]
    pub(super) fn anybody(&self, set: &WaitSet) -> bool {
        set.blocked.load(Ordering::Relaxed) != 0 || set.listening.load(Ordering::Relaxed) != 0
    }
    #[inline]
    pub(super) fn wake_one(&self, set: &WaitSet) {
        fence_after_rmw();
        if self.anybody(set) {
            self.wake(set, 1)
        }
    }
    pub(super) fn wake_all(&self, set: &WaitSet) {
        fence_after_rmw();
        if self.anybody(set) {
            self.wake(set, u32::MAX >> 1)
        }
    }
    #[cold]
    fn wake(&self, set: &WaitSet, n: u32) {
        set.seq.fetch_add(1, Ordering::SeqCst);
        let woken = if set.blocked.load(Ordering::SeqCst) != 0 {
            futex::wake(&set.seq, n)
        } else {
            0
        };
        if n > 1 || woken == 0 {
            let key = std::ptr::from_ref(set).addr();
            let mut wakers = self.region.0.wakers.lock().unwrap();
            let mut left = n;
            let mut i = 0;
            while i < wakers.len() && left > 0 {
                if wakers[i].0 == key {
                    let (_, _, w) = wakers.remove(i).unwrap();
                    set.listening.fetch_sub(1, Ordering::SeqCst);
                    w.wake();
                    left -= 1;
                } else {
                    i += 1
                }
            }
        }
    }
    pub(super) fn block<R>(
        &self,
        set: &WaitSet,
        until: Option<Instant>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        for round in 0..200 {
            if let Some(r) = attempt() {
                return Some(r);
            }
            if round % 16 == 15 {
                std::thread::yield_now()
            } else {
                for _ in 0..8 {
                    std::hint::spin_loop()
                }
            }
        }
        loop {
            set.blocked.fetch_add(1, Ordering::SeqCst);
            let seq = set.seq.load(Ordering::SeqCst);
            fence_after_rmw();
            let got = attempt();
            if got.is_some() {
                set.blocked.fetch_sub(1, Ordering::SeqCst);
                return got;
            }
            let left = until.map(|u| u.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                set.blocked.fetch_sub(1, Ordering::SeqCst);
                return None;
            }
            let _ = futex::wait(&set.seq, seq, left);
            set.blocked.fetch_sub(1, Ordering::SeqCst);
            if let Some(r) = attempt() {
                return Some(r);
            }
        }
    }
    pub(super) fn listen<R>(
        &self,
        set: &WaitSet,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        self.forget(set, ticket);
        let key = std::ptr::from_ref(set).addr();
        ticket.0 = self.region.0.tickets.fetch_add(1, Ordering::Relaxed);
        self.region
            .0
            .wakers
            .lock()
            .unwrap()
            .push_back((key, ticket.0, cx.waker().clone()));
        set.listening.fetch_add(1, Ordering::SeqCst);
        match attempt() {
            Some(r) => {
                if self.forget(set, ticket) {
                    self.wake_one(set)
                }
                Poll::Ready(r)
            }
            None => Poll::Pending,
        }
    }
    /// True: it had been notified.
    fn forget(&self, set: &WaitSet, ticket: &mut Ticket) -> bool {
        if ticket.0 == 0 {
            return false;
        }
        let mut wakers = self.region.0.wakers.lock().unwrap();
        let at = wakers.iter().position(|w| w.1 == ticket.0);
        ticket.0 = 0;
        match at {
            Some(at) => {
                wakers.remove(at);
                set.listening.fetch_sub(1, Ordering::SeqCst);
                false
            }
            None => true,
        }
    }
}
#[derive(Debug, Default)]
pub(super) struct Ticket(u64);
impl Ticket {
    pub(super) fn new() -> Self {
        Self(0)
    }
    pub(super) fn done(&mut self, seat: &Seat, set: &WaitSet) {
        seat.forget(set, self);
    }
    pub(super) fn leave(&mut self, seat: &Seat, set: &WaitSet) {
        if seat.forget(set, self) {
            seat.wake_one(set)
        }
    }
}
pub(super) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
