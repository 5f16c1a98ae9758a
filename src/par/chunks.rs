//! `par_chunks`: a kernel on slices, for code that brings its own loop.

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{Cut, Shape, Verb, input_span, into_fresh, output_span};
use crate::memory::heap::Contents;
use crate::pool::Pool;
use crate::pool::terms::Grain;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::range::{RangeCall, Span};
use crate::shared::{SharedSlice, SharedVec};

fn kernel<C, M, T, R, F>(call: &RangeCall<'_>)
where
    C: Context<M>,
    T: Pod,
    R: Pod,
    F: Fn(C::View<'_>, &[T], &mut [R]) + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this kernel was made for.
    let f = unsafe { summon::<F>() };
    // SAFETY: called once in this call; chunks do not overlap.
    let output = unsafe { call.data::<R>() };
    f(call.context::<C, M>(), call.input::<T>(0), output);
}

impl Pool {
    /// Calls `f` on parts of the input, each with the part of a fresh output that has the same
    /// indices: for kernels that bring their own loop (SIMD, FFI, a stencil within a part).
    ///
    /// The parts cover the input once, in sizes that the pool chooses; they depend on the length
    /// and the number of workers only. An output part holds unspecified values until `f` has
    /// written them.
    ///
    /// # Errors
    /// As [`Pool::par_map`]; a panic names no element, because the loop is not ours.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(10_000, |i| i as f32)?.freeze();
    /// let ys = pool
    ///     .par_chunks(&xs, |input: &[f32], output: &mut [f32]| {
    ///         for (y, x) in output.iter_mut().zip(input) {
    ///             *y = x * 0.5;
    ///         }
    ///     })
    ///     .wait()?;
    /// assert_eq!(ys[9_998], 4_999.0);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_chunks<T, R, F>(&self, input: &SharedSlice<T>, f: F) -> Job<'static, SharedVec<R>>
    where
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(&[T], &mut [R]) + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_chunks_with((), input, move |(), input: &[T], output: &mut [R]| {
            f(input, output)
        })
    }

    /// As [`Pool::par_chunks`], with a context; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_chunks_with<C, M, T, R, F>(
        &self,
        context: C,
        input: &SharedSlice<T>,
        f: F,
    ) -> Job<'static, SharedVec<R>>
    where
        C: Context<M> + Send + 'static,
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(C::View<'_>, &[T], &mut [R]) + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let input = input.clone();
        Job::new(self.engine(), move |engine| {
            let output = engine.allocate::<R>(input.len(), Contents::Any)?;
            if input.is_empty() {
                return Ok(Step::Ready(output));
            }
            let shape = Shape {
                inputs: [input_span(engine, &input)?, Span::default()],
                output: output_span(engine, &output)?,
                cut: Cut::Guided,
                len: input.len() as u64,
                pure_function: true,
                grain: Grain::Parts,
            };
            let kernel = kernel::<C, M, T, R, F>;
            into_fresh(
                engine,
                Verb {
                    kernel,
                    context,
                    inputs: input,
                    output,
                    shape,
                },
            )
        })
    }
}
