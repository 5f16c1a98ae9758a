//! A list that processes share.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::entry::SharedRef;
use super::latch::Patience;
use super::record::{self, Parts};
use super::shelf::{self, Pinned, Shelf, full};
use crate::commons::{Kind, Region, deadline};
use crate::error::ShareError;
use crate::protocol::archive::Payload;
use crate::protocol::name::{Handle, Name};
use crate::table::{self, Look, Span, Writer};

pub(crate) static LIST: Kind = Kind {
    id: 31,
    recover: shelf::recover,
    blocks: shelf::no_blocks,
};

/// How often a reader that is disturbed looks again before it waits for the writer.
const LOOKS: u32 = 16;

/// A list in a [`Region`], for all processes that have that: what `multiprocessing`'s
/// `Manager().list()` is, without the manager's process.
///
/// Values are [rkyv](https://docs.rs/rkyv) archives, read in place. Readers, writers, deaths and
/// the budget are as in a [`SharedMap`](crate::SharedMap). To insert or to remove in front of
/// others moves those, one word each.
///
/// A handle: clones lead to the same list, which lives as long as its last handle in any process.
pub struct SharedList<V: Payload> {
    shelf: Shelf,
    types: PhantomData<fn() -> V>,
}

impl<V: Payload> SharedList<V> {
    /// Makes a list for up to `entries` values, whose archives have `bytes` bytes in all.
    ///
    /// # Errors
    /// [`ShareError::Region`] if the region has no room, or for zero of either.
    pub fn new(region: &Region, entries: usize, bytes: usize) -> Result<Self, ShareError> {
        let shelf = Shelf::create(region, &LIST, table::Kind::List, entries, bytes)?;
        Ok(Self::over(shelf))
    }

    pub(super) fn open(name: Name) -> Result<Self, ShareError> {
        Ok(Self::over(Shelf::open(name, &LIST, table::Kind::List)?))
    }

    fn over(shelf: Shelf) -> Self {
        Self {
            shelf,
            types: PhantomData,
        }
    }

    /// Its name, for other processes that have the region.
    #[must_use]
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.shelf.seat().name())
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf.table().len().min(self.capacity())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shelf.records()
    }

    /// Adds a value at the end. Blocks while others write.
    ///
    /// # Errors
    /// [`ShareError::Full`], [`ShareError::NoRoom`], [`ShareError::Held`]: nothing has changed.
    pub fn push(&self, value: &V) -> Result<(), ShareError> {
        self.add(None, value, Patience::Until(None))
    }

    /// The same, or [`ShareError::Busy`] if somebody else writes just now.
    pub fn try_push(&self, value: &V) -> Result<(), ShareError> {
        self.add(None, value, Patience::None)
    }

    /// The same, waiting up to `timeout`: then [`ShareError::TimedOut`].
    pub fn push_timeout(&self, value: &V, timeout: Duration) -> Result<(), ShareError> {
        self.add(None, value, Patience::Until(deadline(timeout)))
    }

    /// The same for a task. Dropped before it is done, it has changed nothing.
    pub async fn push_async(&self, value: &V) -> Result<(), ShareError> {
        let parts = Self::parts(value)?;
        let act = |writer: &Writer<'_>| self.add_parts(writer, None, &parts);
        self.shelf.write_async(act).await
    }

    /// Puts a value in front of the one at `index`, or at the end. Blocks while others write.
    ///
    /// # Errors
    /// As [`push`](Self::push); [`ShareError::OutOfBounds`].
    pub fn insert(&self, index: usize, value: &V) -> Result<(), ShareError> {
        self.add(Some(index), value, Patience::Until(None))
    }

    /// Puts a value in place of the one at `index`. Blocks while others write.
    ///
    /// # Errors
    /// As [`push`](Self::push); [`ShareError::OutOfBounds`].
    pub fn set(&self, index: usize, value: &V) -> Result<(), ShareError> {
        let parts = Self::parts(value)?;
        self.shelf.write(Patience::Until(None), |writer| {
            self.check(index, self.len())?;
            let draft = parts.draft(writer, self.capacity())?;
            let set = writer.replace_at(index, draft);
            let set = set.map_err(|what| full(what, self.capacity(), parts.value.len()))?;
            if set { Ok(()) } else { Err(self.beyond(index)) }
        })
    }

    /// Removes the value at `index` and gives a guard to it. Blocks while others write.
    ///
    /// # Errors
    /// [`ShareError::OutOfBounds`]; [`ShareError::Held`] if guards of 256 values that were removed
    /// are held.
    pub fn remove(&self, index: usize) -> Result<SharedRef<V>, ShareError> {
        let taken = self.shelf.write(Patience::Until(None), |writer| {
            self.take(writer, Some(index))
        })?;
        taken.ok_or_else(|| self.beyond(index))
    }

    /// Removes the last value and gives a guard to it; `None` if there is none. Blocks while others
    /// write.
    pub fn pop(&self) -> Result<Option<SharedRef<V>>, ShareError> {
        let act = |writer: &Writer<'_>| self.take(writer, None);
        self.shelf.write(Patience::Until(None), act)
    }

    /// The same for a task. Dropped before it is done, it has removed nothing.
    pub async fn pop_async(&self) -> Result<Option<SharedRef<V>>, ShareError> {
        self.shelf
            .write_async(|writer| self.take(writer, None))
            .await
    }

    /// The value at `index`, to be read in place; `None` if there is none. Never waits for readers,
    /// and for a writer only while that moves values.
    pub fn get(&self, index: usize) -> Result<Option<SharedRef<V>>, ShareError> {
        for _ in 0..LOOKS {
            let pinned = self.shelf.pin()?;
            match self.shelf.table().record_at(index) {
                Look::Found(span) => return self.shelf.value(span, &pinned).map(Some),
                Look::Absent => return Ok(None),
                Look::Disturbed => {}
            }
        }
        self.shelf.write(Patience::Until(None), |writer| {
            let pinned = self.shelf.pin()?;
            let span = writer.at(index);
            span.map(|span| self.shelf.value(span, &pinned)).transpose()
        })
    }

    /// All values as they are at one moment, in order. They stay so while the iterator or any of
    /// its guards lives, whatever others do to the list.
    pub fn iter(&self) -> Result<ListIter<V>, ShareError> {
        let (pinned, spans) = self.shelf.snapshot()?;
        Ok(ListIter {
            shelf: self.shelf.clone(),
            pinned,
            spans: spans.into_iter(),
            types: PhantomData,
        })
    }

    fn parts(value: &V) -> Result<Parts, ShareError> {
        let value = record::encode(value)?;
        Ok(Parts {
            key: Vec::new(),
            value,
        })
    }

    fn add(&self, index: Option<usize>, value: &V, patience: Patience) -> Result<(), ShareError> {
        let parts = Self::parts(value)?;
        let act = |writer: &Writer<'_>| self.add_parts(writer, index, &parts);
        self.shelf.write(patience, act)
    }

    fn add_parts(
        &self,
        writer: &Writer<'_>,
        index: Option<usize>,
        parts: &Parts,
    ) -> Result<(), ShareError> {
        let len = self.len();
        let index = index.unwrap_or(len);
        if index > len {
            return Err(self.beyond(index));
        }
        let draft = parts.draft(writer, self.capacity())?;
        let added = writer.insert_at(index, self.capacity(), draft);
        added.map_err(|what| full(what, self.capacity(), parts.value.len()))
    }

    fn take(
        &self,
        writer: &Writer<'_>,
        index: Option<usize>,
    ) -> Result<Option<SharedRef<V>>, ShareError> {
        let index = index.or(self.len().checked_sub(1));
        // Before it is removed, so that it stays.
        let pinned = self.shelf.pin()?;
        let Some(span) = index.and_then(|index| writer.at(index)) else {
            return Ok(None);
        };
        let value = self.shelf.value(span, &pinned)?;
        let removed = writer.remove_at(index.unwrap_or(0));
        removed.map_err(|what| full(what, self.capacity(), 0))?;
        Ok(Some(value))
    }

    fn check(&self, index: usize, len: usize) -> Result<(), ShareError> {
        if index < len {
            Ok(())
        } else {
            Err(self.beyond(index))
        }
    }

    fn beyond(&self, index: usize) -> ShareError {
        let len = self.len();
        ShareError::OutOfBounds { index, len }
    }
}

impl<V: Payload> Clone for SharedList<V> {
    fn clone(&self) -> Self {
        Self::over(self.shelf.clone())
    }
}

impl<V: Payload> fmt::Debug for SharedList<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedList")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The values of a [`SharedList`] as they were at one moment.
pub struct ListIter<V: Payload> {
    shelf: Shelf,
    pinned: Arc<Pinned>,
    spans: std::vec::IntoIter<Span>,
    types: PhantomData<fn() -> V>,
}

impl<V: Payload> Iterator for ListIter<V> {
    /// A value; an error if it is not the archive of one.
    type Item = Result<SharedRef<V>, ShareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        Some(self.shelf.value(span, &self.pinned))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl<V: Payload> fmt::Debug for ListIter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListIter")
            .field("left", &self.spans.len())
            .finish_non_exhaustive()
    }
}
