//! Results in spite of failures.

use bytemuck::Pod;

use super::job::{Job, Step};
use crate::error::Failure;
use crate::shared::SharedVec;

/// What a job that was [isolated](Job::isolate) gives: all results that there are, and the
/// failures.
#[derive(Debug)]
#[non_exhaustive]
pub struct Isolated<O> {
    /// The results; zeros where there is none.
    pub values: O,
    /// What failed and why, by position.
    pub failures: Vec<Failure>,
}

impl<R: Pod + Send> Job<'static, SharedVec<R>> {
    /// Goes on where elements fail: those that panic, kill their worker or run longer than
    /// [`Job::element_timeout`] are found and left out, all others have their results.
    ///
    /// A part whose workers died is cut into pieces until the element is known, which costs a
    /// worker for each cut and [`Job::attempts`] for the element; other parts go on meanwhile. More
    /// than 1000 failures fail the job with the first of them. `par_chunks`, whose parts are not
    /// cut, loses a part as a whole.
    ///
    /// Set it before the job begins, as the last: it changes the type of the output. On a job that
    /// has begun it changes nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(10_000, |i| i as u64)?.freeze();
    /// let job = pool.par_map(&xs, |&x| match x {
    ///     4_321 => std::process::abort(),
    ///     x => x + 1,
    /// });
    /// let isolated = job.isolate().wait()?;
    /// assert_eq!(isolated.values[9_999], 10_000);
    /// assert_eq!(isolated.failures.len(), 1);
    /// assert_eq!(isolated.failures[0].elements, 4_321..4_322);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn isolate(self) -> Job<'static, Isolated<SharedVec<R>>> {
        self.isolated(|step| keep_failures(step, blank))
    }
}

impl<'a> Job<'a, ()> {
    /// The same for jobs that work on a vector of the caller's, which has the results afterwards.
    ///
    /// After `par_map_into` the elements that failed are zeros. `par_for_each_mut` loses parts as
    /// they are: nothing in them is run again, so that of the elements of a failure some are new,
    /// some old, and the one at which it ended may be neither. After a panic those before the
    /// element that the error names are new, and those behind it old.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(10_000, |i| i as i32)?.freeze();
    /// let mut ys = pool.alloc_zeroed::<i32>(10_000)?;
    /// let isolated = pool.par_map_into(&xs, &mut ys, |x| 1000 / (x - 500)).isolate().wait()?;
    /// assert_eq!(isolated.failures.len(), 1);
    /// assert_eq!(isolated.failures[0].elements, 500..501);
    /// assert_eq!(ys[1500], 1);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn isolate(self) -> Job<'a, Isolated<()>> {
        self.isolated(|step| keep_failures(step, |(), _| {}))
    }
}

/// Leaves out of an output what failed.
type Blank<O> = fn(&mut O, &Failure);

/// Writes zeros where there is no result.
pub(super) fn blank<R: Pod + Send>(values: &mut SharedVec<R>, failure: &Failure) {
    let elements = failure.elements.start as usize..failure.elements.end as usize;
    if let Some(unwritten) = values.get_mut(elements) {
        unwritten.fill(R::zeroed());
    }
}

/// Makes the last step of a verb keep what failed.
fn keep_failures<'a, O: 'a>(step: Step<'a, O>, blank: Blank<O>) -> Step<'a, Isolated<O>> {
    match step {
        Step::Ready(values) => Step::Ready(Isolated {
            values,
            failures: Vec::new(),
        }),
        Step::Run(launch, finish) => Step::Run(
            launch,
            Box::new(move |engine, outcome| {
                let failures = outcome.failures.clone();
                let step = keep_failures(finish(engine, outcome)?, blank);
                Ok(with_failures(step, failures, blank))
            }),
        ),
    }
}

fn with_failures<O>(
    step: Step<'_, Isolated<O>>,
    found: Vec<Failure>,
    blank: Blank<O>,
) -> Step<'_, Isolated<O>> {
    match step {
        Step::Ready(mut isolated) => {
            found
                .iter()
                .for_each(|failure| blank(&mut isolated.values, failure));
            isolated.failures.extend(found);
            Step::Ready(isolated)
        }
        // The verbs that can be isolated have one step.
        more => more,
    }
}
