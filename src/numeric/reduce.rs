//! Kernels that end in one value.
//!
//! [`sum`], [`min`] and [`max`] go through a fixed tree: element `i` belongs to lane `i % LANES`,
//! the elements of a lane are combined in order, and then lane `l` with lane `l + LANES/2`, and so
//! on down to one. The result depends on the slice alone, not on the machine's registers, and the
//! lanes are independent, so that the loop vectorises although float addition is not associative.

use std::ops::Add;

use bytemuck::Pod;

use super::isa::{self, Kernel};
use super::{At, Step};

/// Part of the definition of a float sum: another number rounds differently.
pub(crate) const LANES: usize = 16;

const _: () = assert!(LANES.is_power_of_two());

/// `f` of `init` and the first element, of that and the second, and so on.
///
/// # Panics
/// When `f` does.
#[inline]
pub(crate) fn fold<T, A>(input: &[T], at: &At, init: A, f: impl Fn(A, &T) -> A) -> A {
    struct Fold<'a, T, A, F>(&'a [T], &'a At, A, F);
    impl<T, A, F: Fn(A, &T) -> A> Kernel for Fold<'_, T, A, F> {
        type Output = A;

        #[inline(always)]
        fn run(self) -> A {
            let Self(input, at, mut accumulated, f) = self;
            let mut step = Step::new(at);
            for element in input {
                accumulated = f(accumulated, element);
                step.advance();
            }
            step.finish();
            accumulated
        }
    }
    isa::widest(Fold(input, at, init, f))
}

/// The sum through the tree of lanes, which begins at all-zero bytes.
///
/// Integers overflow as `+` does: a panic where overflow checks are on, else wrapping. A float sum
/// of nothing, or of negative zeros only, is `+0.0`.
///
/// # Panics
/// When `+` does.
#[inline]
pub(crate) fn sum<T: Pod + Add<Output = T>>(input: &[T], at: &At) -> T {
    isa::widest(Lanes {
        input,
        lanes: [T::zeroed(); LANES],
        at,
        combine: |a, b| a + b,
    })
}

/// The least element, `None` of none. What is not equal to itself is passed over, as `f64::min`
/// passes over NaN, unless there is nothing else. Of equals, such as zeros of either sign, it is
/// always the same one for the same slice.
#[inline]
pub(crate) fn min<T: Pod + PartialOrd>(input: &[T], at: &At) -> Option<T> {
    let first = *input.first()?;
    Some(isa::widest(Lanes {
        input,
        lanes: [first; LANES],
        at,
        combine: lesser,
    }))
}

/// The greatest element, as [`min`].
#[inline]
pub(crate) fn max<T: Pod + PartialOrd>(input: &[T], at: &At) -> Option<T> {
    let first = *input.first()?;
    Some(isa::widest(Lanes {
        input,
        lanes: [first; LANES],
        at,
        combine: greater,
    }))
}

/// The lesser of two, by the rule of [`min`].
#[inline(always)]
#[expect(clippy::eq_op, reason = "true of everything but NaN and its kin")]
pub(crate) fn lesser<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if (b < a) | (a != a) { b } else { a }
}

/// The greater of two, by the rule of [`max`].
#[inline(always)]
#[expect(clippy::eq_op, reason = "true of everything but NaN and its kin")]
pub(crate) fn greater<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if (b > a) | (a != a) { b } else { a }
}

struct Lanes<'a, T, F> {
    input: &'a [T],
    lanes: [T; LANES],
    at: &'a At,
    combine: F,
}

impl<T: Copy, F: Fn(T, T) -> T> Kernel for Lanes<'_, T, F> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        let Self {
            input,
            mut lanes,
            at,
            combine,
        } = self;
        let mut step = Step::new(at);
        let (rows, rest) = input.as_chunks::<LANES>();
        for row in rows {
            for (lane, element) in lanes.iter_mut().zip(row) {
                *lane = combine(*lane, *element);
                step.advance();
            }
        }
        for (lane, element) in lanes.iter_mut().zip(rest) {
            *lane = combine(*lane, *element);
            step.advance();
        }
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            let (low, high) = lanes.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                *low = combine(*low, *high);
            }
        }
        step.finish();
        lanes[0]
    }
}
