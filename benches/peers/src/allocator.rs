//! The process's allocator: the system's, or mimalloc in a child that is asked for it.
//!
//! There is one global allocator a program, and a rival's allocator decides most of what a fresh
//! output costs. So a child process of the same program works with another one; which, the first
//! allocation decides. It costs one load and one branch an allocation, for everybody.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, Ordering};

use mimalloc::MiMalloc;

/// The variable that asks for mimalloc.
pub(crate) const VARIABLE: &str = "GRISTMILL_PEERS_MIMALLOC";

const UNDECIDED: u8 = 0;
const SYSTEM: u8 = 1;
const MIMALLOC: u8 = 2;

static DECIDED: AtomicU8 = AtomicU8::new(UNDECIDED);

struct Switch;

#[global_allocator]
static ALLOCATOR: Switch = Switch;

#[inline]
fn is_mimalloc() -> bool {
    match DECIDED.load(Ordering::Relaxed) {
        UNDECIDED => decide(),
        decided => decided == MIMALLOC,
    }
}

/// Relaxed suffices: whoever decides at the same time comes to the same result.
#[cold]
fn decide() -> bool {
    // SAFETY: a terminated string; nobody changes the environment before the first allocation.
    let wanted = !unsafe { libc::getenv(c"GRISTMILL_PEERS_MIMALLOC".as_ptr()) }.is_null();
    DECIDED.store(if wanted { MIMALLOC } else { SYSTEM }, Ordering::Relaxed);
    wanted
}

/// The allocator's name.
pub(crate) fn name() -> &'static str {
    match is_mimalloc() {
        true => "mimalloc",
        false => "system",
    }
}

// SAFETY: the choice is made once, before the first block is given out; from then on each call goes
// to the same allocator, which keeps the contract.
unsafe impl GlobalAlloc for Switch {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_mimalloc() {
            // SAFETY: as the caller promises.
            true => unsafe { MiMalloc.alloc(layout) },
            // SAFETY: as the caller promises.
            false => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_mimalloc() {
            // SAFETY: as the caller promises.
            true => unsafe { MiMalloc.alloc_zeroed(layout) },
            // SAFETY: as the caller promises.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match is_mimalloc() {
            // SAFETY: as the caller promises; the block came from the same allocator.
            true => unsafe { MiMalloc.dealloc(block, layout) },
            // SAFETY: as the caller promises; the block came from the same allocator.
            false => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match is_mimalloc() {
            // SAFETY: as the caller promises; the block came from the same allocator.
            true => unsafe { MiMalloc.realloc(block, layout, size) },
            // SAFETY: as the caller promises; the block came from the same allocator.
            false => unsafe { System.realloc(block, layout, size) },
        }
    }
}
