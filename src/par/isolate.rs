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
        self.isolated(keep_failures)
    }
}

/// Makes the last step of a verb keep what failed.
fn keep_failures<R: Pod + Send>(
    step: Step<'static, SharedVec<R>>,
) -> Step<'static, Isolated<SharedVec<R>>> {
    match step {
        Step::Ready(values) => Step::Ready(Isolated {
            values,
            failures: Vec::new(),
        }),
        Step::Run(launch, finish) => Step::Run(
            launch,
            Box::new(|engine, mut outcome| {
                let failures = core::mem::take(&mut outcome.failures);
                let step = keep_failures(finish(engine, outcome)?);
                Ok(with_failures(step, failures))
            }),
        ),
    }
}

fn with_failures<R: Pod + Send>(
    step: Step<'static, Isolated<SharedVec<R>>>,
    found: Vec<Failure>,
) -> Step<'static, Isolated<SharedVec<R>>> {
    match step {
        Step::Ready(mut isolated) => {
            for failure in &found {
                let elements = failure.elements.start as usize..failure.elements.end as usize;
                if let Some(unwritten) = isolated.values.get_mut(elements) {
                    unwritten.fill(R::zeroed());
                }
            }
            isolated.failures.extend(found);
            Step::Ready(isolated)
        }
        // The verbs that can be isolated have one step.
        more => more,
    }
}
