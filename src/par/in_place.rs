//! `par_for_each_mut`: change a buffer where it lies.

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{Cut, Shape, Verb, into_existing, output_span};
use crate::numeric;
use crate::pool::Pool;
use crate::pool::terms::Grain;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::range::RangeCall;
use crate::shared::SharedVec;

fn kernel<C, M, T, F>(call: &RangeCall<'_>)
where
    C: Context<M>,
    T: Pod,
    F: Fn(C::View<'_>, &mut T) + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this kernel was made for.
    let f = unsafe { summon::<F>() };
    let view = call.context::<C, M>();
    // SAFETY: called once in this call; chunks do not overlap.
    let data = unsafe { call.data::<T>() };
    numeric::for_each_mut(data, call.at, |x| f(view, x));
}

impl Pool {
    /// Calls `f` on each element, which it may change.
    ///
    /// The buffer is taken out of `data` when the job begins and put back when it ends, also with
    /// an error. A job that is dropped half-way leaves `data` empty.
    ///
    /// A part whose worker died is *not* run again, because it may be half done: the job fails,
    /// and [`WorkerDeath::undefined`](crate::WorkerDeath::undefined) says which elements are
    /// neither old nor new.
    ///
    /// After a panic, too, the elements of parts that were done are new, others are old, and
    /// those of the part in question are new before the element that is named.
    ///
    /// # Errors
    /// As [`Pool::par_map`], but that the first death of a worker fails the job.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let mut xs = pool.alloc_from_fn(100, |i| i as i32)?;
    /// pool.par_for_each_mut(&mut xs, |x| *x = -*x).wait()?;
    /// assert_eq!(xs[99], -99);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_for_each_mut<'a, T, F>(&self, data: &'a mut SharedVec<T>, f: F) -> Job<'a, ()>
    where
        T: Pod + Send + Sync,
        F: Fn(&mut T) + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_for_each_mut_with((), data, move |(), x: &mut T| f(x))
    }

    /// As [`Pool::par_for_each_mut`], with a context; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_for_each_mut_with<'a, C, M, T, F>(
        &self,
        context: C,
        data: &'a mut SharedVec<T>,
        f: F,
    ) -> Job<'a, ()>
    where
        C: Context<M> + Send + 'static,
        T: Pod + Send + Sync,
        F: Fn(C::View<'_>, &mut T) + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        Job::new(self.engine(), move |engine| {
            if data.is_empty() {
                return Ok(Step::Ready(()));
            }
            let shape = Shape {
                inputs: Default::default(),
                output: output_span(engine, data)?,
                cut: Cut::Guided,
                len: data.len() as u64,
                pure_function: false,
                grain: Grain::Elements,
            };
            let kernel = kernel::<C, M, T, F>;
            into_existing(
                engine,
                Verb {
                    kernel,
                    context,
                    inputs: (),
                    output: (),
                    shape,
                },
                data,
            )
        })
    }
}
