//! The kernel's own wait queues, for the product.

use core::time::Duration;

use super::Futex;
use crate::primitive::atomic::AtomicU32;
use crate::sys::{cpu, futex};

/// Waits and wakes across processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelFutex;

impl Futex for KernelFutex {
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        // Whatever ended the wait, the caller looks again.
        let _ = futex::wait(word, expected, timeout);
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        futex::wake(word, count);
    }

    fn here(&self) -> Option<u32> {
        cpu::current()
    }
}
