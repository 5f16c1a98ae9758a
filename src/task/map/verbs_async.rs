//! `map_async` and its kin: items whose function returns a future.

use futures_core::Stream;

use crate::pool::Pool;
use crate::protocol::archive::{self, Payload};
use crate::protocol::batch::Items as Batch;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::future::{Answer, Course};
use crate::protocol::range::{bytes_of, view};
use crate::protocol::task::{TaskCall, TaskFault};
use crate::task::map::input::{Incoming, Items};
use crate::task::map::tuple::Tuple;
use crate::task::map::verbs::Map;

/// Leaves the future of one item, which its worker polls beside others.
fn run<C, M, A, R, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    C: Context<M>,
    A: Payload + 'static,
    R: Payload + Send + 'static,
    F: AsyncFn(C::View<'_>, &A::Archived) -> R + Copy + Send + Sync + 'static,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let (region, task) = (call.futures.region(), call.task);
    call.futures.defer(Box::new(move || -> Course {
        Box::pin(async move {
            let item = Batch::read(bytes_of(region, task.arguments));
            let archive = item.and_then(|item| item.archive(0));
            let archive = archive.ok_or(TaskFault::BadArguments)?;
            let arguments = archive::access::<A>(archive).map_err(|_| TaskFault::BadArguments)?;
            let context = view::<C, M>(region, task.context);
            let result = f(context, arguments).await;
            let answer: Answer = Box::new(move |call| call.reply(&result));
            Ok(answer)
        })
    }));
    Err(TaskFault::Deferred)
}

impl Pool {
    /// As [`Pool::map`], with a function that returns a future, which a tokio runtime in the worker
    /// polls: up to [`Builder::async_concurrency`](crate::Builder::async_concurrency) items at a
    /// time in each worker, next to other tasks. For items that wait, for a server or a disk; see
    /// [`Pool::spawn_async`] for how futures are run and ended.
    ///
    /// Each item crosses alone, whatever [`Map::batch`] says, and the default
    /// [`read_ahead`](Map::read_ahead) is twice what all workers hold. [`Map::timeout`] drops the
    /// item's future where it waits and leaves its neighbours be. A stream that is dropped, or
    /// ended by its first error, has all of its futures dropped, as by
    /// [`TaskHandle::cancel`](crate::TaskHandle::cancel).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = gristmill::Pool::builder().workers(2).build()?;
    /// let naps = pool.map_async(1..=20_u64, async |nap| {
    ///     tokio::time::sleep(Duration::from_millis(nap.to_native())).await;
    ///     nap.to_native() * 2
    /// });
    /// let doubled = naps.wait()?;
    /// assert_eq!(*doubled[19], 40);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn map_async<I, R, F>(&self, items: I, f: F) -> Map<Items<I::IntoIter>, R>
    where
        I: IntoIterator<Item: Payload + 'static>,
        R: Payload + Send + 'static,
        F: AsyncFn(&<I::Item as rkyv::Archive>::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map_async_with(
            (),
            items,
            async move |(), item: &<I::Item as rkyv::Archive>::Archived| f(item).await,
        )
    }

    /// As [`Pool::map_async`], with a context that `f` sees in place; see [`Pool::map_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let table = pool.alloc_from_fn(100, |i| i as f64 / 2.0)?.freeze();
    /// let found = pool.map_async_with(table, [7_u32, 99], async |table, i| {
    ///     tokio::task::yield_now().await;
    ///     table[i.to_native() as usize]
    /// });
    /// assert_eq!(found.wait()?[1].to_native(), 49.5);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn map_async_with<C, M, I, R, F>(
        &self,
        context: C,
        items: I,
        f: F,
    ) -> Map<Items<I::IntoIter>, R>
    where
        C: Context<M> + Send + 'static,
        I: IntoIterator<Item: Payload + 'static>,
        R: Payload + Send + 'static,
        F: AsyncFn(C::View<'_>, &<I::Item as rkyv::Archive>::Archived) -> R
            + Copy
            + Send
            + Sync
            + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let items = Items(items.into_iter());
        Map::new(self, context, items, run::<C, M, I::Item, R, F>).futures()
    }

    /// As [`Pool::map_async`] over tuples of two to six, whose parts `f` gets as a tuple; see
    /// [`Pool::starmap`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let powers = pool.starmap_async([(2_u64, 10_u32), (3, 4)], async |(base, power)| {
    ///     tokio::task::yield_now().await;
    ///     base.to_native().pow(power.to_native())
    /// });
    /// let powers = powers.wait()?;
    /// assert_eq!((*powers[0], *powers[1]), (1024.into(), 81.into()));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn starmap_async<I, R, F>(&self, tuples: I, f: F) -> Map<Items<I::IntoIter>, R>
    where
        I: IntoIterator<Item: Tuple>,
        R: Payload + Send + 'static,
        F: AsyncFn(<I::Item as Tuple>::Parts<'_>) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map_async(
            tuples,
            async move |tuple: &<I::Item as rkyv::Archive>::Archived| {
                f(<I::Item as Tuple>::parts(tuple)).await
            },
        )
    }

    /// As [`Pool::map_async`], over the items of an async stream as they come in; see
    /// [`Pool::map_stream`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// # runtime.block_on(async {
    /// let pool = gristmill::Pool::new()?;
    /// let items = futures_util::stream::iter(0..5_u32);
    /// let squares = pool.map_stream_async(items, async |n| n.to_native() * n.to_native());
    /// assert_eq!(*squares.await?[4], 16);
    /// # Ok::<(), gristmill::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_stream_async<S, R, F>(&self, items: S, f: F) -> Map<Incoming<S>, R>
    where
        S: Stream<Item: Payload + 'static>,
        R: Payload + Send + 'static,
        F: AsyncFn(&<S::Item as rkyv::Archive>::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map_stream_async_with(
            (),
            items,
            async move |(), item: &<S::Item as rkyv::Archive>::Archived| f(item).await,
        )
    }

    /// As [`Pool::map_stream_async`], with a context; see [`Pool::map_with`].
    pub fn map_stream_async_with<C, M, S, R, F>(
        &self,
        context: C,
        items: S,
        f: F,
    ) -> Map<Incoming<S>, R>
    where
        C: Context<M> + Send + 'static,
        S: Stream<Item: Payload + 'static>,
        R: Payload + Send + 'static,
        F: AsyncFn(C::View<'_>, &<S::Item as rkyv::Archive>::Archived) -> R
            + Copy
            + Send
            + Sync
            + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let items = Incoming(Box::pin(items));
        Map::new(self, context, items, run::<C, M, S::Item, R, F>).futures()
    }
}
