//! One byte a task, in memory that workers share without the pool's help: how often it ran.

#![expect(unsafe_code, reason = "maps memory in two kinds of process")]

use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU8, Ordering};
use std::sync::OnceLock;

/// The counts, as this process sees them.
#[derive(Clone, Copy)]
pub(super) struct Ledger(&'static [AtomicU8]);

impl Ledger {
    /// A new ledger, and the number of the descriptor by which workers find it: that is not closed
    /// when they are started, nor before this process ends.
    pub(super) fn create(tasks: u64) -> (Self, i32) {
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"soak-ledger".as_ptr(), 0) };
        assert!(fd >= 0, "a descriptor is to be had");
        // SAFETY: takes two integers.
        let sized = unsafe { libc::ftruncate(fd, tasks as libc::off_t) };
        assert_eq!(sized, 0, "an empty file can be made longer");
        (Self::map(fd, tasks), fd)
    }

    /// The one of the process that started this worker, mapped once.
    pub(super) fn of_parent(fd: i32, tasks: u64) -> Self {
        static MAPPED: OnceLock<Ledger> = OnceLock::new();
        *MAPPED.get_or_init(|| Self::map(fd, tasks))
    }

    fn map(fd: i32, tasks: u64) -> Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let size = tasks as usize;
        // SAFETY: without MAP_FIXED the kernel picks an unused range, so no memory is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
        assert_ne!(start, libc::MAP_FAILED, "the ledger can be mapped");
        let start = NonNull::new(start)
            .expect("not at address 0")
            .cast::<AtomicU8>();
        // SAFETY: mapped for good, with as many bytes, which are only ever used as atomics.
        Self(unsafe { slice::from_raw_parts(start.as_ptr(), size) })
    }

    /// Notes that a task runs.
    pub(super) fn count(&self, task: u64) {
        // Relaxed: the parent reads it after the task was delivered, or after the worker's death.
        self.0[task as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it ran.
    pub(super) fn counted(&self, task: u64) -> u8 {
        self.0[task as usize].load(Ordering::Relaxed)
    }
}
