//! A map's outcomes: as streams, as blocking iterators, collected.

use core::fmt;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::error::{Error, ItemError, TaskError};
use crate::protocol::archive::Payload;
use crate::task::map::flow::Flow;
use crate::task::map::input::{Items, Source};
use crate::task::output::TaskOutput;

/// What the two kinds of stream have in common.
macro_rules! stream {
    ($name:ident, $item:ty, $convert:expr, $tiny:expr) => {
        impl<S: Source<Item: Payload>, R: Payload> $name<S, R> {
            pub(super) fn new(flow: Flow<S::Item>, input: S) -> Self {
                Self {
                    flow,
                    input,
                    result: PhantomData,
                }
            }

            /// How many items' outcomes this has given.
            pub fn completed(&self) -> u64 {
                self.flow.yielded()
            }

            /// How many items were taken from the input without having been given back as outcomes:
            /// never more than the read-ahead.
            pub fn in_flight(&self) -> usize {
                self.flow.in_flight()
            }

            /// The next outcome if it is there and tiny, made where the caller takes it: each move
            /// of a result takes as long as all the rest.
            #[inline(always)]
            fn next_tiny(&mut self) -> Option<$item> {
                let (index, result) = self.flow.next_tiny()?;
                Some($tiny(index, result.into()))
            }

            fn advance(
                &mut self,
                context: Option<&mut Context<'_>>,
                deadline: Option<Instant>,
            ) -> Poll<Option<$item>> {
                match self.next_tiny() {
                    Some(item) => Poll::Ready(Some(item)),
                    None => self.advance_slowly(context, deadline),
                }
            }

            #[cold]
            #[inline(never)]
            fn advance_slowly(
                &mut self,
                context: Option<&mut Context<'_>>,
                deadline: Option<Instant>,
            ) -> Poll<Option<$item>> {
                let outcome = self.flow.advance(&mut self.input, context, deadline);
                outcome.map(|outcome| outcome.map($convert))
            }

            /// As [`advance`](Self::advance), blocking.
            #[cold]
            #[inline(never)]
            fn wait_for_next(&mut self) -> Option<$item> {
                match self.advance_slowly(None, None) {
                    Poll::Ready(item) => item,
                    Poll::Pending => None,
                }
            }

            /// What is on its way comes for certain; of the input there is no more than it says,
            /// and less if the pool is closed.
            fn size_hint(&self) -> (usize, Option<usize>) {
                let own = self.flow.in_flight();
                let most = match self.flow.is_drained() {
                    true => Some(0),
                    false => self.input.size_hint().1,
                };
                (own, most.and_then(|most| most.checked_add(own)))
            }
        }

        impl<S: Source<Item: Payload>, R: Payload> Unpin for $name<S, R> {}

        impl<S: Source<Item: Payload>, R: Payload> Stream for $name<S, R> {
            type Item = $item;

            fn poll_next(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.get_mut().advance(Some(context), None)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.size_hint()
            }
        }

        impl<I: Iterator<Item: Payload>, R: Payload> IntoIterator for $name<Items<I>, R> {
            type Item = $item;
            type IntoIter = Blocking<Self>;

            fn into_iter(self) -> Blocking<Self> {
                Blocking(self)
            }
        }

        impl<I: Iterator<Item: Payload>, R: Payload> Blocking<$name<Items<I>, R>> {
            /// As `next`, for so long at most: the outer `None` says that the time is up. Nothing
            /// is lost then, and the map goes on. The time that the input's own `next` takes is
            /// not bounded by it.
            pub fn next_timeout(&mut self, timeout: Duration) -> Option<Option<$item>> {
                // A timeout beyond what the clock can express is none.
                match self.0.advance(None, Instant::now().checked_add(timeout)) {
                    Poll::Ready(item) => Some(item),
                    Poll::Pending => None,
                }
            }
        }

        impl<I: Iterator<Item: Payload>, R: Payload> Iterator for Blocking<$name<Items<I>, R>> {
            type Item = $item;

            // In the caller's loop a result need not be moved to get there.
            #[inline(always)]
            fn next(&mut self) -> Option<Self::Item> {
                match self.0.next_tiny() {
                    Some(item) => Some(item),
                    None => self.0.wait_for_next(),
                }
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<S: Source<Item: Payload>, R: Payload> fmt::Debug for $name<S, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("completed", &self.completed())
                    .field("in_flight", &self.in_flight())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// The results of a map in the order of its input; made by [`Map::ordered`](super::Map::ordered).
///
/// A [`Stream`] in async code, and a blocking iterator elsewhere (`for result in ordered`). An item
/// that failed is an error with its index, and the stream goes on.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping this cancels the batches that no worker has
/// begun; one that has been begun is run to its end, or for about a millisecond, ten at most where
/// quick items turn slow, and the item that is running then, and its results are freed.
#[must_use = "nothing is run before results are asked for"]
pub struct Ordered<S: Source, R> {
    flow: Flow<S::Item>,
    input: S,
    result: PhantomData<fn() -> R>,
}

stream!(
    Ordered,
    Result<TaskOutput<R>, ItemError>,
    named,
    |_, it| Ok(it)
);

/// The results of a map as they come, each with the index of its item; made by
/// [`Map::as_completed`](super::Map::as_completed).
///
/// Otherwise as [`Ordered`].
#[must_use = "nothing is run before results are asked for"]
pub struct AsCompleted<S: Source, R> {
    flow: Flow<S::Item>,
    input: S,
    result: PhantomData<fn() -> R>,
}

stream!(
    AsCompleted,
    (u64, Result<TaskOutput<R>, TaskError>),
    |it| it,
    |index, it| (index, Ok(it))
);

#[inline]
fn named<R: Payload>(
    (index, outcome): (u64, Result<TaskOutput<R>, TaskError>),
) -> Result<TaskOutput<R>, ItemError> {
    outcome.map_err(|error| ItemError { index, error })
}

/// The results of a map, or of a [`TaskSet`](crate::TaskSet), as a blocking iterator. The thread
/// that asks spins for some microseconds, then sleeps in the kernel.
#[derive(Debug)]
pub struct Blocking<T>(T);

impl<T> Blocking<T> {
    pub(in crate::task) fn new(stream: T) -> Self {
        Self(stream)
    }

    pub(in crate::task) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// The stream, which tells how far it is.
    pub fn get_ref(&self) -> &T {
        &self.0
    }
}

/// All results of a map, in the order of its input, or its first error; made by awaiting a
/// [`Map`](super::Map).
///
/// Dropped half-way, it is as when [`Ordered`] is dropped.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Collect<S: Source, R: Payload> {
    begun: Result<Ordered<S, R>, Option<Error>>,
    results: Vec<TaskOutput<R>>,
}

impl<S: Source<Item: Payload>, R: Payload> Collect<S, R> {
    pub(super) fn new(begun: Result<Ordered<S, R>, Error>) -> Self {
        Self {
            begun: begun.map_err(Some),
            results: Vec::new(),
        }
    }

    pub(super) fn advance(
        &mut self,
        mut context: Option<&mut Context<'_>>,
    ) -> Poll<Result<Vec<TaskOutput<R>>, Error>> {
        let ordered = match &mut self.begun {
            Ok(ordered) => ordered,
            Err(error) => {
                let error = error.take();
                return Poll::Ready(Err(error.unwrap_or(TaskError::Cancelled.into())));
            }
        };
        let error = loop {
            match ready!(ordered.advance(context.as_deref_mut(), None)) {
                Some(Ok(result)) => self.results.push(result),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        // What else is on its way is cancelled.
        self.begun = Err(None);
        let results = core::mem::take(&mut self.results);
        Poll::Ready(error.map_or(Ok(results), |error| Err(error.into())))
    }
}

impl<S: Source, R: Payload> Unpin for Collect<S, R> {}

impl<S: Source<Item: Payload>, R: Payload> Future for Collect<S, R> {
    type Output = Result<Vec<TaskOutput<R>>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().advance(Some(context))
    }
}

impl<S: Source, R: Payload> fmt::Debug for Collect<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collect")
            .field("results", &self.results.len())
            .finish_non_exhaustive()
    }
}
