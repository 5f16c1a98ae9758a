//! `par_sum`, `par_min`, `par_max`: reductions whose kernels are ours, and therefore fast.

use core::ops::Add;

use bytemuck::Pod;

use super::job::{Job, Step};
use super::reduce::{Then, combine_partials, fold_parts};
use crate::numeric;
use crate::pool::Pool;
use crate::protocol::range::RangeCall;
use crate::shared::SharedSlice;

fn sum_kernel<T: Pod + Add<Output = T>>(call: &RangeCall<'_>) {
    let sum = numeric::sum(call.input::<T>(0), call.at);
    // SAFETY: called once in this call.
    let partial = unsafe { call.partial::<T>() };
    partial.write(sum);
}

fn extreme_kernel<T: Pod + PartialOrd, const LEAST: bool>(call: &RangeCall<'_>) {
    let input = call.input::<T>(0);
    let found = if LEAST {
        numeric::min(input, call.at)
    } else {
        numeric::max(input, call.at)
    };
    // SAFETY: called once in this call.
    let partial = unsafe { call.partial::<T>() };
    // A part has at least one element.
    partial.write(found.unwrap_or_else(T::zeroed));
}

fn add_kernel<T: Pod + Add<Output = T>>(call: &RangeCall<'_>) {
    let partials = call.whole_input::<T>(0);
    let total = partials.iter().fold(T::zeroed(), |sum, &part| sum + part);
    // SAFETY: called once in this call.
    let place = unsafe { call.partial::<T>() };
    place.write(total);
}

fn extreme_of_extremes_kernel<T: Pod + PartialOrd, const LEAST: bool>(call: &RangeCall<'_>) {
    let better = if LEAST {
        numeric::lesser
    } else {
        numeric::greater
    };
    let partials = call.whole_input::<T>(0).iter().copied();
    // SAFETY: called once in this call.
    let place = unsafe { call.partial::<T>() };
    place.write(partials.reduce(better).unwrap_or_else(T::zeroed));
}

impl Pool {
    /// The sum of the elements, zero for none.
    ///
    /// Sixteen lanes a part, combined in a fixed tree: the same bits in each run and with any
    /// number of workers. Integers wrap or panic as `+` does in your build.
    ///
    /// # Errors
    /// As [`Pool::par_map`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(1000, |i| i as u64)?.freeze();
    /// assert_eq!(pool.par_sum(&xs).wait()?, 499_500);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_sum<T>(&self, input: &SharedSlice<T>) -> Job<'static, T>
    where
        T: Pod + Add<Output = T> + Send + Sync,
    {
        let input = input.clone();
        Job::new(self.engine(), move |engine| {
            if input.is_empty() {
                return Ok(Step::Ready(T::zeroed()));
            }
            let then: Then<T, T> = Box::new(|engine, partials| match *partials {
                [only] => Ok(Step::Ready(only)),
                _ => combine_partials(engine, partials.freeze(), add_kernel::<T>, |it| it),
            });
            fold_parts(engine, (), input, sum_kernel::<T>, then)
        })
    }

    /// The least element, `None` of none; elements unequal to themselves (NaN) are passed over
    /// unless there are only such.
    ///
    /// # Errors
    /// As [`Pool::par_map`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.copy_from_slice(&[2.5, f64::NAN, -1.0])?.freeze();
    /// assert_eq!(pool.par_min(&xs).wait()?, Some(-1.0));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_min<T>(&self, input: &SharedSlice<T>) -> Job<'static, Option<T>>
    where
        T: Pod + PartialOrd + Send + Sync,
    {
        self.extreme::<T, true>(input)
    }

    /// The greatest element, as [`Pool::par_min`].
    ///
    /// # Errors
    /// As [`Pool::par_map`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(1000, |i| i as u32)?.freeze();
    /// assert_eq!(pool.par_max(&xs).wait()?, Some(999));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn par_max<T>(&self, input: &SharedSlice<T>) -> Job<'static, Option<T>>
    where
        T: Pod + PartialOrd + Send + Sync,
    {
        self.extreme::<T, false>(input)
    }

    fn extreme<T, const LEAST: bool>(&self, input: &SharedSlice<T>) -> Job<'static, Option<T>>
    where
        T: Pod + PartialOrd + Send + Sync,
    {
        let input = input.clone();
        Job::new(self.engine(), move |engine| {
            if input.is_empty() {
                return Ok(Step::Ready(None));
            }
            let then: Then<T, Option<T>> = Box::new(|engine, partials| match *partials {
                [only] => Ok(Step::Ready(Some(only))),
                _ => {
                    let kernel = extreme_of_extremes_kernel::<T, LEAST>;
                    combine_partials(engine, partials.freeze(), kernel, Some)
                }
            });
            fold_parts(engine, (), input, extreme_kernel::<T, LEAST>, then)
        })
    }
}
