//! Closures cross as types: one that captures nothing has no bytes to send.

#![expect(unsafe_code, reason = "makes a zero-sized value in another process")]

use core::mem::MaybeUninit;

/// Refuses, at compile time and at the caller's line, a closure that captures something.
pub(crate) const fn require_no_captures<F>() {
    const {
        assert!(
            size_of::<F>() == 0,
            "this closure captures variables, which do not exist in a worker process: pass what \
             it needs as context (`par_map_with`, `spawn_with`) and use its argument instead"
        );
    }
}

/// Makes a function of type `F` in a worker.
///
/// # Safety
/// A value of `F` exists in the parent for as long as the job does, and it was given away for
/// use by any number of threads (`Copy + Sync`): only then is the type inhabited and may its
/// value be had again.
pub(crate) unsafe fn summon<F: Copy + Sync>() -> F {
    require_no_captures::<F>();
    let nothing = MaybeUninit::<F>::uninit();
    // SAFETY: `F` has no bytes (asserted above), so none is uninitialised; it is inhabited and
    // may be copied, as the caller vouches.
    unsafe { nothing.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<F: Fn(u64) -> u64 + Copy + Sync>(_: F) -> u64 {
        // SAFETY: the argument is the value that vouches for the type.
        let again = unsafe { summon::<F>() };
        again(41)
    }

    #[test]
    fn a_summoned_closure_does_the_same() {
        assert_eq!(call(|x| x + 1), 42);
        assert_eq!(call(u64::count_ones_plus), 44);
    }

    trait Plus {
        fn count_ones_plus(self) -> u64;
    }
    impl Plus for u64 {
        fn count_ones_plus(self) -> u64 {
            self + u64::from(self.count_ones())
        }
    }
}
