//! `par_map` and `par_map_into`: one result an element.

use bytemuck::Pod;

use super::job::{Job, Step};
use super::launch::{
    Cut, Shape, Verb, input_span, into_existing, into_fresh, output_span, same_len,
};
use crate::memory::heap::Contents;
use crate::numeric;
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
    F: Fn(C::View<'_>, &T) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this kernel was made for.
    let f = unsafe { summon::<F>() };
    let view = call.context::<C, M>();
    // SAFETY: called once in this call; chunks do not overlap.
    let output = unsafe { call.output::<R>() };
    numeric::map(call.input::<T>(0), output, call.store(), call.at, |x| {
        f(view, x)
    });
}

impl Pool {
    /// Applies `f` to each element; the results come in a fresh buffer, in order.
    ///
    /// `f` must capture nothing (checked at compile time): see [`Pool::par_map_with`] for context.
    /// It runs in the workers, on parts of the input, and may be run again on a part whose worker
    /// died.
    ///
    /// # Errors
    /// When the job begins: [`OutOfMemory`](crate::Error::OutOfMemory) without room for the output,
    /// [`ForeignBuffer`](crate::Error::ForeignBuffer) for an input of another pool,
    /// [`NotInImage`](crate::Error::NotInImage) for a function outside the executable. When it
    /// ends: [`Error::Task`](crate::Error::Task) when `f` panics (with the element's index), when
    /// workers died over the same part as often as [`Builder::attempts`](crate::Builder::attempts)
    /// allows, or when the pool was closed. After the first failure no further part is begun; of
    /// several failures the one with the least index is told, for which `f` may be called again for
    /// some elements before the one that failed, up to 16 KiB of them.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.copy_from_slice(&[1.0, 4.0, 9.0])?.freeze();
    /// let roots = pool.par_map(&xs, |x: &f64| x.sqrt()).wait()?;
    /// assert_eq!(*roots, [1.0, 2.0, 3.0]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_map<T, R, F>(&self, input: &SharedSlice<T>, f: F) -> Job<'static, SharedVec<R>>
    where
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(&T) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_map_with((), input, move |(), x: &T| f(x))
    }

    /// As [`Pool::par_map`], with a context that every call sees in place.
    ///
    /// The context is any plain value (`f64`, an array, a struct that derives `bytemuck::Pod`), a
    /// [`SharedSlice`], an archive ([`Rkyv`](crate::Rkyv)), or a tuple of them. It is written to
    /// shared memory once.
    ///
    /// # Errors
    /// As [`Pool::par_map`], and [`Error::Context`](crate::Error::Context) for a slice of another
    /// pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let table = pool.copy_from_slice(&[10.0, 20.0, 30.0])?.freeze();
    /// let picks = pool.copy_from_slice(&[2_u32, 0])?.freeze();
    /// let found = pool
    ///     .par_map_with((0.5, table), &picks, |(scale, table), &i| scale * table[i as usize])
    ///     .wait()?;
    /// assert_eq!(*found, [15.0, 5.0]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_map_with<C, M, T, R, F>(
        &self,
        context: C,
        input: &SharedSlice<T>,
        f: F,
    ) -> Job<'static, SharedVec<R>>
    where
        C: Context<M> + Send + 'static,
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(C::View<'_>, &T) -> R + Copy + Send + Sync + 'static,
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
                grain: Grain::Elements,
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

    /// As [`Pool::par_map`], into an output that exists.
    ///
    /// The buffer is taken out of `output` when the job begins and put back when it ends, also
    /// with an error; what it then holds is undefined where the work was not done. A job that is
    /// dropped half-way leaves `output` empty.
    ///
    /// # Errors
    /// As [`Pool::par_map`], and [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an
    /// output of another length.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(1000, |i| i as u32)?.freeze();
    /// let mut ys = pool.alloc_zeroed::<u64>(1000)?;
    /// pool.par_map_into(&xs, &mut ys, |&x| u64::from(x) * 2).wait()?;
    /// assert_eq!(ys[999], 1998);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_map_into<'a, T, R, F>(
        &self,
        input: &SharedSlice<T>,
        output: &'a mut SharedVec<R>,
        f: F,
    ) -> Job<'a, ()>
    where
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(&T) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.par_map_into_with((), input, output, move |(), x: &T| f(x))
    }

    /// As [`Pool::par_map_into`], with a context; see [`Pool::par_map_with`].
    ///
    /// # Errors
    /// As both.
    pub fn par_map_into_with<'a, C, M, T, R, F>(
        &self,
        context: C,
        input: &SharedSlice<T>,
        output: &'a mut SharedVec<R>,
        f: F,
    ) -> Job<'a, ()>
    where
        C: Context<M> + Send + 'static,
        T: Pod + Send + Sync,
        R: Pod + Send,
        F: Fn(C::View<'_>, &T) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let input = input.clone();
        Job::new(self.engine(), move |engine| {
            same_len("output", output.len(), input.len())?;
            if input.is_empty() {
                return Ok(Step::Ready(()));
            }
            let shape = Shape {
                inputs: [input_span(engine, &input)?, Span::default()],
                output: output_span(engine, output)?,
                cut: Cut::Guided,
                len: input.len() as u64,
                pure_function: true,
                grain: Grain::Elements,
            };
            let kernel = kernel::<C, M, T, R, F>;
            into_existing(
                engine,
                Verb {
                    kernel,
                    context,
                    inputs: input,
                    output: (),
                    shape,
                },
                output,
            )
        })
    }
}
