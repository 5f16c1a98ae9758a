//! `par_zip_map`: two inputs of one length.

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{Cut, Shape, Verb, input_span, into_fresh, output_span, same_len};
use crate::memory::heap::Contents;
use crate::numeric;
use crate::pool::Pool;
use crate::pool::terms::Grain;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::range::RangeCall;
use crate::shared::{SharedSlice, SharedVec};

fn kernel<C, M, A, B, R, F>(call: &RangeCall<'_>)
where
    C: Context<M>,
    A: Pod,
    B: Pod,
    R: Pod,
    F: Fn(C::View<'_>, &A, &B) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this kernel was made for.
    let f = unsafe { summon::<F>() };
    let view = call.context::<C, M>();
    // SAFETY: called once in this call; chunks do not overlap.
    let output = unsafe { call.output::<R>() };
    let (left, right) = (call.input::<A>(0), call.input::<B>(1));
    numeric::zip_map(left, right, output, call.store(), call.at, |a, b| {
        f(view, a, b)
    });
}

impl Pool {
    /// Applies `f` to the elements of two inputs pairwise; the results come in a fresh buffer.
    ///
    /// # Errors
    /// As [`Pool::par_map`], and [`Error::InvalidArgument`](crate::Error::InvalidArgument) when
    /// the inputs differ in length.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let a = pool.copy_from_slice(&[1.0_f32, 2.0])?.freeze();
    /// let b = pool.copy_from_slice(&[10_u8, 20])?.freeze();
    /// let sums = pool.par_zip_map(&a, &b, |a: &f32, b: &u8| a + f32::from(*b)).wait()?;
    /// assert_eq!(*sums, [11.0, 22.0]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_zip_map<A, B, R, F>(
        &self,
        left: &SharedSlice<A>,
        right: &SharedSlice<B>,
        f: F,
    ) -> Job<'static, SharedVec<R>>
    where
        A: Pod + Send + Sync,
        B: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(&A, &B) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_zip_map_with((), left, right, move |(), a: &A, b: &B| f(a, b))
    }

    /// As [`Pool::par_zip_map`], with a context; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_zip_map_with<C, M, A, B, R, F>(
        &self,
        context: C,
        left: &SharedSlice<A>,
        right: &SharedSlice<B>,
        f: F,
    ) -> Job<'static, SharedVec<R>>
    where
        C: Context<M> + Send + 'static,
        A: Pod + Send + Sync,
        B: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(C::View<'_>, &A, &B) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let (left, right) = (left.clone(), right.clone());
        Job::new(self.engine(), move |engine| {
            same_len("second input", right.len(), left.len())?;
            let output = engine.allocate::<R>(left.len(), Contents::Any)?;
            if left.is_empty() {
                return Ok(Step::Ready(output));
            }
            let shape = Shape {
                inputs: [input_span(engine, &left)?, input_span(engine, &right)?],
                output: output_span(engine, &output)?,
                cut: Cut::Guided,
                len: left.len() as u64,
                pure_function: true,
                grain: Grain::Elements,
            };
            let kernel = kernel::<C, M, A, B, R, F>;
            into_fresh(
                engine,
                Verb {
                    kernel,
                    context,
                    inputs: (left, right),
                    output,
                    shape,
                },
            )
        })
    }
}
