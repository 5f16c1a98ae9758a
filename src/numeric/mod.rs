//! Pure slice kernels: tiles, streaming stores, lanes.
//!
//! Every kernel is generic over the user's closure, which is called from exactly one place, so that
//! the compiler inlines and vectorises it there, in the widest registers of the machine. None of
//! them allocates or knows what a worker is.
//!
//! | kernel | reads | writes |
//! |---|---|---|
//! | [`map`], [`zip_map`] | one, two slices | a separate output, written once |
//! | [`generate`] | indices | the same |
//! | [`for_each_mut`] | a slice | the slice itself |
//! | [`fold`], [`sum`], [`min`], [`max`] | a slice | nothing |
//!
//! **A panic** of the closure unwinds through the kernel and leaves the index of its element in
//! [`At`], and which elements before it were passed over: large outputs are not written in order.
//! An output is then partly written; it is `MaybeUninit` of a `Pod`, so nobody reads it and nothing
//! is to be dropped.

mod at;
mod fill;
mod isa;
mod lanes;
mod reduce;
mod source;
mod store;
mod stream;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use bytemuck::Pod;

pub(crate) use at::At;
use at::Step;
use fill::fill;
use isa::Kernel;
pub(crate) use reduce::{fold, greater, lesser, max, min, sum};
use source::Indices;
pub(crate) use store::Store;

/// Writes `f(&input[i])` to `output[i]` for every element.
///
/// # Panics
/// If the lengths differ, or when `f` does.
#[inline]
pub(crate) fn map<T, R: Pod>(
    input: &[T],
    output: &mut [MaybeUninit<R>],
    store: Store,
    at: &At,
    f: impl Fn(&T) -> R,
) {
    assert_eq!(input.len(), output.len(), "one output an input");
    fill(input, output, store, at, f);
}

/// Writes `f(&a[i], &b[i])` to `output[i]` for every element.
///
/// # Panics
/// If the lengths differ, or when `f` does.
#[inline]
pub(crate) fn zip_map<A, B, R: Pod>(
    a: &[A],
    b: &[B],
    output: &mut [MaybeUninit<R>],
    store: Store,
    at: &At,
    f: impl Fn(&A, &B) -> R,
) {
    assert_eq!(a.len(), output.len(), "one output an element of the first");
    assert_eq!(b.len(), output.len(), "one output an element of the second");
    fill((a, b), output, store, at, |(a, b)| f(a, b));
}

/// Writes `f(first + i)` to `output[i]` for every element: `first` is the index of `output[0]` in
/// the whole of which this output is a part.
///
/// # Panics
/// When `f` does.
#[inline]
pub(crate) fn generate<R: Pod>(
    first: usize,
    output: &mut [MaybeUninit<R>],
    store: Store,
    at: &At,
    f: impl Fn(usize) -> R,
) {
    fill(Indices { first }, output, store, at, f);
}

/// Calls `f` on every element, in order. After a panic, the elements before [`At`] are done, the
/// one there is whatever `f` made of it, and those behind are untouched.
///
/// # Panics
/// When `f` does.
#[inline]
pub(crate) fn for_each_mut<T>(data: &mut [T], at: &At, f: impl Fn(&mut T)) {
    struct ForEach<'a, T, F>(&'a mut [T], &'a At, F);
    impl<T, F: Fn(&mut T)> Kernel for ForEach<'_, T, F> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let Self(data, at, f) = self;
            let mut step = Step::new(at);
            for element in data {
                f(element);
                step.advance();
            }
            step.finish();
        }
    }
    isa::widest(ForEach(data, at, f));
}
