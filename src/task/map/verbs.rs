//! `map` and its kin: what may be asked before the first item is pulled.

use core::fmt;
use core::marker::PhantomData;
use core::task::Poll;
use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::Stream;

use crate::error::{Error, TaskError};
use crate::pool::Pool;
use crate::pool::engine::Engine;
use crate::pool::submit::span_of;
use crate::protocol::archive::Payload;
use crate::protocol::closure::require_no_captures;
use crate::protocol::context::Context;
use crate::protocol::range::Span;
use crate::protocol::task::{TaskFunction, function_id};
use crate::task::map::flow::{Flow, Order, Plan};
use crate::task::map::function::run;
use crate::task::map::input::{Incoming, Items, Source};
use crate::task::map::stream::{AsCompleted, Collect, Ordered};
use crate::task::map::tuple::Tuple;
use crate::task::output::TaskOutput;

/// The context, once it lies in shared memory.
type Placed = (Span, Option<Arc<dyn Any + Send + Sync>>);
/// Writes the context.
type Place = Box<dyn FnOnce(&Engine) -> Result<Placed, Error> + Send>;

/// A function over many items, not begun yet; made by [`Pool::map`] and its kin.
///
/// It begins when its results are asked for, in one of these ways:
///
/// | | |
/// |---|---|
/// | [`ordered`](Map::ordered) | a stream, or a blocking iterator, in the order of the input |
/// | [`as_completed`](Map::as_completed) | the same as they come, each with its index |
/// | `.await`, [`wait`](Map::wait) | all in a `Vec`, or the first error |
///
/// For all outcomes in a `Vec`, errors among them, collect the iterator or the stream.
///
/// # Back-pressure
/// Items are pulled from the input only while results are asked for, and only so many that at most
/// [`read_ahead`](Map::read_ahead) of them are on their way or wait to be taken. So an input may be
/// endless. An iterator that blocks in `next`, such as a channel's receiver, blocks whoever asks
/// for results; in async code feed a stream to [`Pool::map_stream`] instead.
///
/// # Batches
/// Items are small as a rule, and handing over a task costs a microsecond. So several of them cross
/// together: as many as take 0.2 ms by what was measured of those before, or in the last map of the
/// same function, and no more than come out of the input in a millisecond or so; at most 1,024 and
/// 64 KiB.
/// A batch that turns out to take longer is handed over after one millisecond as far as it is done
/// (where its items were quick until then and no [`timeout`](Map::timeout) is set, at the kernel's
/// next tick, within ten), and its rest is shared out anew, so that a slow item keeps no more than
/// that from its neighbours.
///
/// Failures are each item's own: one that panics does not touch the others, and when a worker dies,
/// the items it had finished keep their results, the one that it was working on fails (or is tried
/// again, see [`idempotent`](Map::idempotent)), and those that it had not begun are run elsewhere.
/// None is begun twice unless it may be.
///
/// # The end of the pool
/// Once the pool is closed, batches that are on their way are done as far as they go without being
/// cut again; all other items fail with [`TaskError::PoolClosed`], and the stream ends.
///
/// # Memory of results
/// Results of one batch lie in one block of memory, which is freed with the last of them;
/// [`TaskOutput::to_owned`] frees what is kept for long from its neighbours.
#[must_use = "a map does nothing until its results are asked for"]
pub struct Map<S, R> {
    engine: Arc<Engine>,
    input: S,
    function: TaskFunction,
    place: Place,
    read_ahead: Option<usize>,
    batch: Option<usize>,
    attempts: Attempts,
    timeout: Option<Duration>,
    /// Its items are futures.
    futures: bool,
    result: PhantomData<fn() -> R>,
}

/// How many workers may try an item.
#[derive(Clone, Copy, Debug)]
enum Attempts {
    One,
    AsThePool,
    Of(u32),
}

impl<S: Source<Item: Payload>, R: Payload> Map<S, R> {
    pub(super) fn new<C, M>(pool: &Pool, context: C, input: S, function: TaskFunction) -> Self
    where
        C: Context<M> + Send + 'static,
    {
        Self {
            engine: Arc::clone(pool.engine()),
            input,
            function,
            place: Box::new(move |engine| {
                let block = engine.place_context(&context)?;
                let span = block.as_ref().map_or(Span::default(), span_of);
                let keep = block.map(|block| -> Arc<dyn Any + Send + Sync> {
                    Arc::new((block, Mutex::new(context)))
                });
                Ok((span, keep))
            }),
            read_ahead: None,
            batch: None,
            attempts: Attempts::One,
            timeout: None,
            futures: false,
            result: PhantomData,
        }
    }

    /// Has each item travel alone, to be polled beside others.
    #[cfg(feature = "tokio")]
    pub(super) fn futures(mut self) -> Self {
        self.futures = true;
        self
    }

    /// The most items that are taken from the input and not yet given back as results, at least
    /// one. Default: four batches for each worker.
    ///
    /// It bounds memory: that of so many arguments and results. Above the default it lets an
    /// ordered stream go on for longer behind one slow item.
    pub fn read_ahead(mut self, items: usize) -> Self {
        self.read_ahead = Some(items.max(1));
        self
    }

    /// Exactly so many items to a batch, at least one, where the read-ahead, the input and 64 KiB
    /// allow it, whatever time they take. Default: chosen at run time.
    ///
    /// With one, no item ever waits for another, which is right for items that take a millisecond
    /// or more each, or differ much.
    pub fn batch(mut self, items: usize) -> Self {
        self.batch = Some(items.max(1));
        self
    }

    /// Running an item twice, or one and a half times, does the same as running it once: if its
    /// worker dies, another runs it again, up to [`Builder::attempts`](crate::Builder::attempts)
    /// times in all. Then it fails with the last death.
    pub fn idempotent(mut self) -> Self {
        self.attempts = Attempts::AsThePool;
        self
    }

    /// As [`Map::idempotent`], with a number of attempts of its own, at least one.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Attempts::Of(attempts.max(1));
        self
    }

    /// Ends an item that has run this long: its worker is killed and replaced, and the item is
    /// [`TaskError::TimedOut`]; it is not tried again. Its neighbours are as untouched as by any
    /// death. Waiting does not count. Default: no limit.
    ///
    /// An item has a millisecond more when others crossed with it. With a limit, batches of a
    /// [set size](Map::batch) that take longer than a millisecond are cut as others are.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gristmill::{Pool, TaskError};
    ///
    /// let pool = Pool::new()?;
    /// let hangs_at_two = |n: &rkyv::rend::u32_le| loop {
    ///     if n.to_native() != 2 {
    ///         break n.to_native() * 10;
    ///     }
    /// };
    /// let results = pool.map(0..4_u32, hangs_at_two).timeout(Duration::from_millis(50));
    /// for (n, result) in (0..).zip(results.ordered()?) {
    ///     match result {
    ///         Ok(tenfold) => assert_eq!(tenfold.to_native(), n * 10),
    ///         Err(error) => {
    ///             assert!(matches!(error.error, TaskError::TimedOut { .. }));
    ///             assert_eq!(error.index, 2);
    ///         }
    ///     }
    /// }
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The results in the order of the input.
    ///
    /// Returns at once; the context, if there is one, is written now.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Archive`] or [`Error::Context`] about the context,
    /// [`Error::NotInImage`] for a function outside the executable, [`Error::Forked`]. What goes
    /// wrong later is told at the item that it concerns.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// // Endless, but never far ahead of the reader.
    /// let squares = pool.map(0_u64.., |n| n.to_native() * n.to_native()).ordered()?;
    /// let first: Result<Vec<u64>, _> =
    ///     squares.into_iter().take(5).map(|square| square.map(|n| n.to_native())).collect();
    /// assert_eq!(first?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn ordered(self) -> Result<Ordered<S, R>, Error> {
        let (flow, input) = self.begin(Order::Input)?;
        Ok(Ordered::new(flow, input))
    }

    /// The results as they come, each with the index of its item.
    ///
    /// # Errors
    /// As [`Map::ordered`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(feature = "tokio")] {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// # runtime.block_on(async {
    /// use futures_util::StreamExt;
    ///
    /// let pool = gristmill::Pool::new()?;
    /// let words = ["what", "comes", "first"].map(String::from);
    /// let mut lengths = pool.map(words, |word| word.len() as u64).as_completed()?;
    /// while let Some((index, length)) = lengths.next().await {
    ///     assert_eq!(length?.to_native(), [4, 5, 5][index as usize]);
    /// }
    /// assert_eq!(lengths.completed(), 3);
    /// # Ok::<(), gristmill::Error>(())
    /// # })?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_completed(self) -> Result<AsCompleted<S, R>, Error> {
        let (flow, input) = self.begin(Order::Completion)?;
        Ok(AsCompleted::new(flow, input))
    }

    fn begin(self, order: Order) -> Result<(Flow<S::Item>, S), Error> {
        let engine = self.engine;
        engine.check_process()?;
        let (context, keep) = (self.place)(&engine)?;
        let plan = Plan {
            function: function_id(self.function)?,
            context,
            keep,
            read_ahead: self.read_ahead,
            batch: self.batch,
            attempts: match self.attempts {
                Attempts::One => 1,
                Attempts::AsThePool => engine.config().attempts,
                Attempts::Of(attempts) => attempts,
            },
            timeout: self.timeout,
            futures: self.futures,
        };
        let most = self.input.size_hint().1;
        Ok((Flow::new(engine, plan, order, most), self.input))
    }
}

impl<I: Iterator<Item: Payload>, R: Payload> Map<Items<I>, R> {
    /// Blocks until all items are done: their results in order, or the first error, at which the
    /// rest is cancelled.
    ///
    /// # Errors
    /// As [`Map::ordered`], and [`Error::Item`] with the index of the item that failed.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let lengths = pool.map(["to", "be", "or"].map(String::from), |s| s.len() as u64).wait()?;
    /// assert_eq!(lengths.len(), 3);
    /// assert!(lengths.iter().all(|length| **length == 2));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn wait(self) -> Result<Vec<TaskOutput<R>>, Error> {
        match self.into_future().advance(None) {
            Poll::Ready(results) => results,
            // An iterator has its next item at once.
            Poll::Pending => Err(TaskError::Cancelled.into()),
        }
    }
}

impl<S: Source<Item: Payload>, R: Payload> IntoFuture for Map<S, R> {
    type Output = Result<Vec<TaskOutput<R>>, Error>;
    type IntoFuture = Collect<S, R>;

    fn into_future(self) -> Collect<S, R> {
        Collect::new(self.ordered())
    }
}

impl<S, R> fmt::Debug for Map<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("read_ahead", &self.read_ahead)
            .field("batch", &self.batch)
            .field("attempts", &self.attempts)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Runs `f` on each item in the workers; see [`Map`] for how to get at the results.
    ///
    /// As with [`Pool::spawn`], an item is any [`Payload`] and is read in place, and so is each
    /// result; `f` must capture nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(rkyv::Archive, rkyv::Serialize)]
    /// struct Order {
    ///     item: String,
    ///     count: u32,
    /// }
    ///
    /// let pool = gristmill::Pool::new()?;
    /// let orders = (1..=1000).map(|count| Order { item: "bolt".into(), count });
    /// let lines = pool.map(orders, |order| format!("{} × {}", order.count, order.item));
    /// let lines = lines.wait()?;
    /// assert_eq!(*lines[999], *"1000 × bolt");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn map<I, R, F>(&self, items: I, f: F) -> Map<Items<I::IntoIter>, R>
    where
        I: IntoIterator<Item: Payload + 'static>,
        R: Payload + 'static,
        F: Fn(&<I::Item as rkyv::Archive>::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map_with(
            (),
            items,
            move |(), item: &<I::Item as rkyv::Archive>::Archived| f(item),
        )
    }

    /// As [`Pool::map`], with a context that `f` sees in place; see [`Pool::par_map_with`] for what
    /// it can be. It is written once for all items.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let table = pool.alloc_from_fn(100, |i| i as f64 / 2.0)?.freeze();
    /// let found = pool.map_with(table, [7_u32, 99], |table, i| table[i.to_native() as usize]);
    /// assert_eq!(found.wait()?[1].to_native(), 49.5);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn map_with<C, M, I, R, F>(&self, context: C, items: I, f: F) -> Map<Items<I::IntoIter>, R>
    where
        C: Context<M> + Send + 'static,
        I: IntoIterator<Item: Payload + 'static>,
        R: Payload + 'static,
        F: Fn(C::View<'_>, &<I::Item as rkyv::Archive>::Archived) -> R
            + Copy
            + Send
            + Sync
            + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let items = Items(items.into_iter());
        Map::new(self, context, items, run::<C, M, I::Item, R, F>)
    }

    /// As [`Pool::map`] over tuples of two to six, whose parts `f` gets as a tuple.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let pairs = [(2_u64, 10_u32), (3, 4)];
    /// let powers = pool.starmap(pairs, |(base, power)| base.to_native().pow(power.to_native()));
    /// let powers = powers.wait()?;
    /// assert_eq!((*powers[0], *powers[1]), (1024.into(), 81.into()));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn starmap<I, R, F>(&self, tuples: I, f: F) -> Map<Items<I::IntoIter>, R>
    where
        I: IntoIterator<Item: Tuple>,
        R: Payload + 'static,
        F: Fn(<I::Item as Tuple>::Parts<'_>) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map(
            tuples,
            move |tuple: &<I::Item as rkyv::Archive>::Archived| f(<I::Item as Tuple>::parts(tuple)),
        )
    }

    /// As [`Pool::map`], over the items of an async stream as they come in.
    ///
    /// An item is sent off at once when the stream has no other: nothing waits for a batch to fill.
    /// With a bounded channel as the stream this is how a long-lived pool is fed over time; the
    /// channel's `try_send` gives an item back when there is no room, its `send` waits for some.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(feature = "tokio")] {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// # runtime.block_on(async {
    /// use std::future::poll_fn;
    ///
    /// use futures_util::{StreamExt, stream};
    ///
    /// let pool = gristmill::Pool::new()?;
    /// let (send, mut receive) = tokio::sync::mpsc::channel::<u32>(16);
    /// let items = stream::poll_fn(move |context| receive.poll_recv(context));
    /// let mut doubled = pool.map_stream(items, |n| n.to_native() * 2).ordered()?;
    /// for n in 1..4 {
    ///     send.try_send(n).expect("room for an item");
    ///     assert_eq!(doubled.next().await.unwrap()?.to_native(), 2 * n);
    /// }
    /// drop(send);
    /// assert!(doubled.next().await.is_none());
    /// # Ok::<(), gristmill::Error>(())
    /// # })?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_stream<S, R, F>(&self, items: S, f: F) -> Map<Incoming<S>, R>
    where
        S: Stream<Item: Payload + 'static>,
        R: Payload + 'static,
        F: Fn(&<S::Item as rkyv::Archive>::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.map_stream_with(
            (),
            items,
            move |(), item: &<S::Item as rkyv::Archive>::Archived| f(item),
        )
    }

    /// As [`Pool::map_stream`], with a context; see [`Pool::map_with`].
    pub fn map_stream_with<C, M, S, R, F>(&self, context: C, items: S, f: F) -> Map<Incoming<S>, R>
    where
        C: Context<M> + Send + 'static,
        S: Stream<Item: Payload + 'static>,
        R: Payload + 'static,
        F: Fn(C::View<'_>, &<S::Item as rkyv::Archive>::Archived) -> R
            + Copy
            + Send
            + Sync
            + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let items = Incoming(Box::pin(items));
        Map::new(self, context, items, run::<C, M, S::Item, R, F>)
    }
}
