//! Scratch space for one serialisation: a little on the stack, the rest from the heap.
//!
//! rkyv asks for scratch when a list holds lists (one resolver an element) and for hash tables, and
//! gives it back in reverse order. Flat data of any size asks for none. Nothing is kept afterwards,
//! so that one large value does not pin memory in every thread that ever sent one.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::alloc::{alloc, dealloc, handle_alloc_error};

use rkyv::ser::Allocator;

/// What most small values need at most; more would cost a probe of the stack.
pub(super) const INLINE_BYTES: usize = 512;

/// The stack part, owned by the function that serialises.
pub(super) type Inline = [MaybeUninit<u8>; INLINE_BYTES];

/// A stack allocator over [`Inline`] that spills to the heap.
#[derive(Debug)]
pub struct Scratch {
    /// # Invariants
    ///
    /// Valid for [`INLINE_BYTES`] for as long as `self` is used.
    inline: NonNull<u8>,
    used: usize,
    /// # Invariants
    ///
    /// Each entry came from [`alloc`] with that layout and is not yet freed; oldest first.
    spilled: Vec<(NonNull<u8>, Layout)>,
}

impl Scratch {
    /// # Safety
    ///
    /// `inline` must outlive the result and must not be touched while it is used.
    #[inline]
    pub(super) unsafe fn new(inline: &mut Inline) -> Self {
        Self {
            inline: NonNull::from(inline).cast(),
            used: 0,
            spilled: Vec::new(),
        }
    }

    fn free_spilled_from(&mut self, index: usize) {
        for (pointer, layout) in self.spilled.drain(index..) {
            // SAFETY: by the invariant, `pointer` came from `alloc` with `layout`; draining removes
            // it, so that it is freed once.
            unsafe { dealloc(pointer.as_ptr(), layout) };
        }
    }
}

impl Drop for Scratch {
    /// A panic or an error in somebody's `Serialize` may leave allocations behind.
    #[inline]
    fn drop(&mut self) {
        if !self.spilled.is_empty() {
            self.free_spilled_from(0);
        }
    }
}

// SAFETY: `push_alloc` returns either a part of `inline` above everything in use, aligned as asked
// and inside its bounds, or a fresh heap allocation of the layout; both unaliased until popped.
unsafe impl<E> Allocator<E> for Scratch {
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, E> {
        let address = self.inline.as_ptr().addr() + self.used;
        let start = self.used + (address.next_multiple_of(layout.align()) - address);
        let pointer = if layout.size() <= INLINE_BYTES.saturating_sub(start) {
            self.used = start + layout.size();
            // SAFETY: `start + layout.size() <= INLINE_BYTES`, for which `inline` is valid.
            unsafe { self.inline.add(start) }
        } else {
            // SAFETY: the caller promises a layout of non-zero size.
            let fresh = unsafe { alloc(layout) };
            let Some(fresh) = NonNull::new(fresh) else {
                handle_alloc_error(layout)
            };
            self.spilled.push((fresh, layout));
            fresh
        };
        Ok(NonNull::slice_from_raw_parts(pointer, layout.size()))
    }

    unsafe fn pop_alloc(&mut self, pointer: NonNull<u8>, _: Layout) -> Result<(), E> {
        let offset = pointer
            .as_ptr()
            .addr()
            .wrapping_sub(self.inline.as_ptr().addr());
        if offset < INLINE_BYTES {
            self.used = offset;
        } else if let Some(index) = self
            .spilled
            .iter()
            .rposition(|&(spilled, _)| ptr::eq(spilled.as_ptr(), pointer.as_ptr()))
        {
            // Whatever was pushed on top of it is gone with it; the caller may not pop it any more.
            self.free_spilled_from(index);
        }
        Ok(())
    }
}
