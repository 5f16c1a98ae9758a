//! `par_generate`: from index to value.

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{Cut, Shape, Verb, into_fresh, output_span};
use crate::memory::heap::Contents;
use crate::numeric;
use crate::pool::Pool;
use crate::pool::terms::Grain;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::range::RangeCall;
use crate::shared::SharedVec;

fn kernel<C, M, R, F>(call: &RangeCall<'_>)
where
    C: Context<M>,
    R: Pod,
    F: Fn(C::View<'_>, usize) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this kernel was made for.
    let f = unsafe { summon::<F>() };
    let view = call.context::<C, M>();
    // SAFETY: called once in this call; chunks do not overlap.
    let output = unsafe { call.output::<R>() };
    numeric::generate(call.start, output, call.store(), call.at, |index| {
        f(view, index)
    });
}

impl Pool {
    /// A fresh buffer of `len` elements whose element `i` is `f(i)`, computed by the workers.
    ///
    /// # Errors
    /// As [`Pool::par_map`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let squares = pool.par_generate(1000, |i| (i * i) as u64).wait()?;
    /// assert_eq!(squares[31], 961);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_generate<R, F>(&self, len: usize, f: F) -> Job<'static, SharedVec<R>>
    where
        R: Pod + Send,
        F: Fn(usize) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_generate_with((), len, move |(), index| f(index))
    }

    /// As [`Pool::par_generate`], with a context; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_generate_with<C, M, R, F>(
        &self,
        context: C,
        len: usize,
        f: F,
    ) -> Job<'static, SharedVec<R>>
    where
        C: Context<M> + Send + 'static,
        R: Pod + Send,
        F: Fn(C::View<'_>, usize) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        Job::new(self.engine(), move |engine| {
            let output = engine.allocate::<R>(len, Contents::Any)?;
            if len == 0 {
                return Ok(Step::Ready(output));
            }
            let shape = Shape {
                inputs: Default::default(),
                output: output_span(engine, &output)?,
                cut: Cut::Guided,
                len: len as u64,
                pure_function: true,
                grain: Grain::Elements,
            };
            let kernel = kernel::<C, M, R, F>;
            into_fresh(
                engine,
                Verb {
                    kernel,
                    context,
                    inputs: (),
                    output,
                    shape,
                },
            )
        })
    }
}
