//! `par_reduce`: many values into one, in an order that does not depend on the machine.
//!
//! Two jobs: each chunk is folded to a partial, then one chunk combines the partials from left to
//! right. User code runs in the workers in both, so a crash in it stays there.

use std::sync::Arc;

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{Cut, Shape, Verb, input_span, into_fresh_then, output_span};
use crate::error::Error;
use crate::memory::heap::Contents;
use crate::numeric;
use crate::pool::Pool;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::terms::Grain;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::range::{RangeCall, Span};
use crate::shared::{SharedSlice, SharedVec};

/// Fewer elements than this are not worth a partial of their own.
const SMALLEST_PART: u64 = 1024;

/// How a reduction of `len` elements is cut, on every machine.
pub(super) fn parts(len: usize) -> Chunking {
    Chunking::even(len as u64, SMALLEST_PART)
}

fn fold_kernel<C, M, T, A, I, F>(call: &RangeCall<'_>)
where
    C: Context<M>,
    T: Pod,
    A: Pod,
    I: Fn() -> A + Copy + Sync,
    F: Fn(C::View<'_>, A, &T) -> A + Copy + Sync,
{
    // SAFETY: the parent holds the closures whose types this kernel was made for.
    let identity = unsafe { summon::<I>() };
    // SAFETY: as above.
    let fold = unsafe { summon::<F>() };
    let view = call.context::<C, M>();
    let folded = numeric::fold(call.input::<T>(0), call.at, identity(), |a, x| {
        fold(view, a, x)
    });
    // SAFETY: called once in this call.
    let partial = unsafe { call.partial::<A>() };
    partial.write(folded);
}

fn combine_kernel<A, I, G>(call: &RangeCall<'_>)
where
    A: Pod,
    I: Fn() -> A + Copy + Sync,
    G: Fn(A, A) -> A + Copy + Sync,
{
    // SAFETY: the parent holds the closures whose types this kernel was made for.
    let identity = unsafe { summon::<I>() };
    // SAFETY: as above.
    let combine = unsafe { summon::<G>() };
    let mut partials = call.whole_input::<A>(0).iter().copied();
    let combined = match partials.next() {
        Some(first) => partials.fold(first, combine),
        None => identity(),
    };
    // SAFETY: called once in this call.
    let total = unsafe { call.partial::<A>() };
    total.write(combined);
}

impl Pool {
    /// Folds the elements into one value.
    ///
    /// The input is cut into at most 256 parts of at least 1024 elements, depending on its length
    /// only. Each part is folded from `identity()` on, from left to right; then the results are
    /// combined from left to right. So a float sum has the same bits in each run, with any number
    /// of workers, though not those of a plain loop: additions are grouped otherwise.
    ///
    /// All three functions run in workers. `combine` has to be associative for a meaningful result
    /// and `identity()` its neutral element; it need not commute.
    ///
    /// # Errors
    /// As [`Pool::par_map`]; a panic of `combine` names no element.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(100_000, |i| i as f64)?.freeze();
    /// let sum = pool.par_reduce(&xs, || 0.0, |a, x| a + x, |a, b| a + b).wait()?;
    /// assert_eq!(sum, 4_999_950_000.0);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_reduce<T, A, I, F, G>(
        &self,
        input: &SharedSlice<T>,
        identity: I,
        fold: F,
        combine: G,
    ) -> Job<'static, A>
    where
        T: Pod + Send + Sync,
        A: Pod + Send + Sync,
        I: Fn() -> A + Copy + Send + Sync + 'static,
        F: Fn(A, &T) -> A + Copy + Send + Sync + 'static,
        G: Fn(A, A) -> A + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let fold = move |(): &(), a: A, x: &T| fold(a, x);
        self.par_reduce_with((), input, identity, fold, combine)
    }

    /// As [`Pool::par_reduce`], with a context for `fold`; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_reduce_with<C, M, T, A, I, F, G>(
        &self,
        context: C,
        input: &SharedSlice<T>,
        identity: I,
        fold: F,
        combine: G,
    ) -> Job<'static, A>
    where
        C: Context<M> + Send + 'static,
        T: Pod + Send + Sync,
        A: Pod + Send + Sync,
        I: Fn() -> A + Copy + Send + Sync + 'static,
        F: Fn(C::View<'_>, A, &T) -> A + Copy + Send + Sync + 'static,
        G: Fn(A, A) -> A + Copy + Send + Sync + 'static,
    {
        const {
            require_no_captures::<I>();
            require_no_captures::<F>();
            require_no_captures::<G>();
        };
        let _ = (identity, fold, combine);
        let input = input.clone();
        Job::new(self.engine(), move |engine| {
            if input.is_empty() {
                let none = engine.allocate::<A>(0, Contents::Any)?.freeze();
                return combine_partials(engine, none, combine_kernel::<A, I, G>, |it| it);
            }
            let kernel = fold_kernel::<C, M, T, A, I, F>;
            let then: Then<A, A> = Box::new(|engine, partials| match *partials {
                [only] => Ok(Step::Ready(only)),
                _ => {
                    let kernel = combine_kernel::<A, I, G>;
                    combine_partials(engine, partials.freeze(), kernel, |it| it)
                }
            });
            fold_parts(engine, context, input, kernel, then)
        })
    }
}

/// What goes on with the partials of a reduction.
pub(super) type Then<A, O> =
    Box<dyn FnOnce(&Arc<Engine>, SharedVec<A>) -> Result<Step<'static, O>, Error> + Send>;

/// The step that has a kernel leave one partial a part, and goes on with the partials.
pub(super) fn fold_parts<C, M, T, A, O>(
    engine: &Arc<Engine>,
    context: C,
    input: SharedSlice<T>,
    kernel: fn(&RangeCall<'_>),
    then: Then<A, O>,
) -> Result<Step<'static, O>, Error>
where
    C: Context<M> + Send + 'static,
    T: Pod + Send + Sync,
    A: Pod + Send + Sync,
    O: 'static,
{
    let chunking = parts(input.len());
    let partials = engine.allocate::<A>(chunking.chunks().count(), Contents::Any)?;
    let shape = Shape {
        inputs: [input_span(engine, &input)?, Span::default()],
        output: output_span(engine, &partials)?,
        cut: Cut::Even(chunking),
        len: input.len() as u64,
        pure_function: true,
        grain: Grain::Partials,
    };
    let verb = Verb {
        kernel,
        context,
        inputs: input,
        output: partials,
        shape,
    };
    into_fresh_then(engine, verb, then)
}

/// The step that has a worker make one value of all partials: combining runs user code, too.
pub(super) fn combine_partials<A, O>(
    engine: &Arc<Engine>,
    partials: SharedSlice<A>,
    kernel: fn(&RangeCall<'_>),
    answer: fn(A) -> O,
) -> Result<Step<'static, O>, Error>
where
    A: Pod + Send + Sync,
    O: 'static,
{
    let total = engine.allocate::<A>(1, Contents::Any)?;
    let shape = Shape {
        inputs: [input_span(engine, &partials)?, Span::default()],
        output: output_span(engine, &total)?,
        cut: Cut::Whole,
        len: 1,
        pure_function: true,
        grain: Grain::Parts,
    };
    let verb = Verb {
        kernel,
        context: (),
        inputs: partials,
        output: total,
        shape,
    };
    into_fresh_then(engine, verb, move |_, total: SharedVec<A>| {
        Ok(Step::Ready(answer(total[0])))
    })
}
