//! A value that two share, one of whom may have let go: counted by one exchange for both.
//!
//! An `Arc` of two costs an exchange to clone it, one for each that lets go, and one for whoever
//! would change the value because it is alone. Here the word only says whether either has let go:
//! the first says so, the other sees it.
//!
//! ```text
//! alone: 1 (one half) -> 0 (share) -> 1 (one of the two lets go) -> 0 | freed
//! ```

#![expect(unsafe_code, reason = "frees what the last of two lets go of")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::primitive::atomic::{AtomicU32, Ordering};

/// One of at most two who have a value.
pub(crate) struct Half<T> {
    /// # Invariants
    /// Lives as long as any half of it; there is one more than this at most, and none if `alone`
    /// is 1.
    node: NonNull<Node<T>>,
    owns: PhantomData<Node<T>>,
}

struct Node<T> {
    alone: AtomicU32,
    value: T,
}

// SAFETY: it gives out shared references to the value, which both threads may have, and whoever is
// alone changes or drops it, in any thread.
unsafe impl<T: Send + Sync> Send for Half<T> {}
// SAFETY: as above; a shared half gives out shared references only.
unsafe impl<T: Send + Sync> Sync for Half<T> {}

impl<T> Half<T> {
    /// A value that nobody shares yet.
    pub(crate) fn new(value: T) -> Self {
        let node = Box::new(Node {
            alone: AtomicU32::new(1),
            value,
        });
        Self {
            node: NonNull::from(Box::leak(node)),
            owns: PhantomData,
        }
    }

    /// The other half, if nobody has it.
    pub(crate) fn share(&mut self) -> Option<Self> {
        if !self.is_alone() {
            return None;
        }
        // Relaxed: nobody else can look, and whatever hands the other half over orders it.
        self.node().alone.store(0, Ordering::Relaxed);
        Some(Self {
            node: self.node,
            owns: PhantomData,
        })
    }

    /// The value to be changed, if nobody has the other half.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        if !self.is_alone() {
            return None;
        }
        // SAFETY: the node lives, by the invariant, and nobody else refers to it: there is no other
        // half, its last access came before ours (`is_alone`), and this one is borrowed for as
        // long.
        Some(unsafe { &mut (*self.node.as_ptr()).value })
    }

    /// Whether nobody has the other half. If so it stays so while this one is borrowed for changes.
    fn is_alone(&self) -> bool {
        // ORDERING: H1, Acquire; all that the other half did came before (`drop`).
        // Model: who_is_alone_sees_what_the_other_did.
        self.node().alone.load(Ordering::Acquire) == 1
    }

    fn node(&self) -> &Node<T> {
        // SAFETY: lives as long as `self`, by the invariant; changed by nobody while it is shared,
        // as that takes a half that is alone and borrowed.
        unsafe { self.node.as_ref() }
    }
}

impl<T> Deref for Half<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.node().value
    }
}

impl<T> Drop for Half<T> {
    fn drop(&mut self) {
        // ORDERING: H1, AcqRel; to the other half's Acquire, here or in `is_alone`: whoever frees
        // or changes the value does so after all that the other one did. Of two exchanges one sees
        // the other. Model: who_is_alone_sees_what_the_other_did, who_is_alone_frees.
        if self.is_alone() || self.node().alone.swap(1, Ordering::AcqRel) == 1 {
            // SAFETY: made by `Box::leak`; nobody else has a half, and no other was or will be the
            // last one.
            drop(unsafe { Box::from_raw(self.node.as_ptr()) });
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Half<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(all(test, gristmill_loom))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::primitive::model::explore;

    /// What each half writes, and the last one frees, in the eyes of loom.
    struct Value {
        words: [UnsafeCell<u32>; 2],
        sum: u32,
    }

    impl Value {
        fn write(&self, index: usize) {
            self.words[index].with_mut(|word| {
                // SAFETY: loom has checked that no other access is concurrent.
                unsafe { *word = 1 }
            });
        }

        fn look(&mut self) {
            self.sum = 0;
            for word in &self.words {
                // SAFETY: loom has checked that no write is concurrent.
                self.sum += word.with(|word| unsafe { *word });
            }
        }
    }

    // SAFETY: loom checks each access to the cells.
    unsafe impl Sync for Value {}

    impl Drop for Value {
        fn drop(&mut self) {
            self.look();
            assert_eq!(self.sum, 2, "it was freed before both had let go");
        }
    }

    #[test]
    fn who_is_alone_sees_what_the_other_did() {
        explore(|| {
            let mut mine = Half::new(Value {
                words: [UnsafeCell::new(0), UnsafeCell::new(0)],
                sum: 0,
            });
            let other = mine.share().expect("nobody has the other half");
            assert!(mine.share().is_none() && mine.get_mut().is_none());
            let thread = thread::spawn(move || {
                other.write(1);
                drop(other);
            });
            mine.write(0);
            if let Some(value) = mine.get_mut() {
                value.look();
                assert_eq!(value.sum, 2);
            }
            drop(mine);
            thread.join().expect("no panic");
        });
    }

    #[test]
    fn who_is_alone_frees() {
        explore(|| {
            // Loom counts who has it, and fails when somebody has it in the end.
            let value = Arc::new(());
            let mut mine = Half::new(Arc::clone(&value));
            let other = mine.share().expect("nobody has the other half");
            let thread = thread::spawn(move || drop(other));
            drop(mine);
            thread.join().expect("no panic");
            assert_eq!(Arc::strong_count(&value), 1);
        });
    }
}
