//! A map that processes share.

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

pub(crate) static MAP: Kind = Kind {
    id: 30,
    recover: shelf::recover,
    blocks: shelf::no_blocks,
};

/// How often a reader that is disturbed looks again before it waits for the writer.
const LOOKS: u32 = 16;

/// A map in a [`Region`], for all processes that have that: what `multiprocessing`'s
/// `Manager().dict()` is, without the manager's process.
///
/// Keys and values are [rkyv](https://docs.rs/rkyv) archives; a reader gets a
/// [guard](SharedRef) and reads in place. Two keys are the same if their archives are, so a key
/// should hold nothing whose archive may differ for equal values, such as a `HashMap`.
///
/// **Readers never wait**, neither for writers nor for each other, and writers do not wait for
/// them. Writers, of any process, take turns, for as long as it takes to copy a record. Each change
/// becomes visible at one instant. A process that dies at any instruction leaves its change made or
/// not made, and whoever writes next goes on.
///
/// **The budget is fixed** when the map is made: so many entries, and so many bytes for their
/// archives. What does not fit is an error, and changes nothing. What was replaced or removed gives
/// its room back when nobody reads it any more.
///
/// A handle: clones lead to the same map, which lives as long as its last handle in any process.
pub struct SharedMap<K: Payload, V: Payload> {
    shelf: Shelf,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Payload, V: Payload> SharedMap<K, V> {
    /// Makes a map for up to `entries` entries, whose archives have `bytes` bytes in all.
    ///
    /// # Errors
    /// [`ShareError::Region`] if the region has no room, or for zero of either.
    pub fn new(region: &Region, entries: usize, bytes: usize) -> Result<Self, ShareError> {
        let shelf = Shelf::create(region, &MAP, table::Kind::Map, entries, bytes)?;
        Ok(Self::over(shelf))
    }

    pub(super) fn open(name: Name) -> Result<Self, ShareError> {
        Ok(Self::over(Shelf::open(name, &MAP, table::Kind::Map)?))
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

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf.table().len().min(self.capacity())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shelf.records()
    }

    /// Puts a value under a key, in place of the one that is there; says whether there was one.
    /// Blocks while others write.
    ///
    /// # Errors
    /// [`ShareError::Full`], [`ShareError::NoRoom`], [`ShareError::Held`]: nothing has changed.
    pub fn insert(&self, key: &K, value: &V) -> Result<bool, ShareError> {
        self.put(key, value, Patience::Until(None))
    }

    /// The same, or [`ShareError::Busy`] if somebody else writes just now.
    pub fn try_insert(&self, key: &K, value: &V) -> Result<bool, ShareError> {
        self.put(key, value, Patience::None)
    }

    /// The same, waiting up to `timeout`: then [`ShareError::TimedOut`].
    pub fn insert_timeout(
        &self,
        key: &K,
        value: &V,
        timeout: Duration,
    ) -> Result<bool, ShareError> {
        self.put(key, value, Patience::Until(deadline(timeout)))
    }

    /// The same for a task. Dropped before it is done, it has changed nothing.
    pub async fn insert_async(&self, key: &K, value: &V) -> Result<bool, ShareError> {
        let parts = Self::parts(key, value)?;
        let act = |writer: &Writer<'_>| self.insert_parts(writer, &parts);
        self.shelf.write_async(act).await
    }

    /// Puts a value under a key that has none; `false` if it has one, which stays. Blocks while
    /// others write.
    pub fn insert_new(&self, key: &K, value: &V) -> Result<bool, ShareError> {
        let parts = Self::parts(key, value)?;
        self.shelf.write(Patience::Until(None), |writer| {
            if writer
                .get(parts.hash(), |span| self.shelf.has_key(span, &parts.key))
                .is_some()
            {
                return Ok(false);
            }
            self.insert_parts(writer, &parts).map(|_| true)
        })
    }

    /// Takes a key away; says whether it was there. Blocks while others write.
    ///
    /// # Errors
    /// [`ShareError::Held`] if guards of 256 records that were removed are held: nothing has
    /// changed.
    pub fn remove(&self, key: &K) -> Result<bool, ShareError> {
        let key = record::encode(key)?;
        let act = |writer: &Writer<'_>| self.remove_key(writer, &key);
        self.shelf.write(Patience::Until(None), act)
    }

    /// The same, or [`ShareError::Busy`] if somebody else writes just now.
    pub fn try_remove(&self, key: &K) -> Result<bool, ShareError> {
        let key = record::encode(key)?;
        let act = |writer: &Writer<'_>| self.remove_key(writer, &key);
        self.shelf.write(Patience::None, act)
    }

    /// The same, waiting up to `timeout`: then [`ShareError::TimedOut`].
    pub fn remove_timeout(&self, key: &K, timeout: Duration) -> Result<bool, ShareError> {
        let key = record::encode(key)?;
        let act = |writer: &Writer<'_>| self.remove_key(writer, &key);
        self.shelf.write(Patience::Until(deadline(timeout)), act)
    }

    /// The same for a task. Dropped before it is done, it has changed nothing.
    pub async fn remove_async(&self, key: &K) -> Result<bool, ShareError> {
        let key = record::encode(key)?;
        let act = |writer: &Writer<'_>| self.remove_key(writer, &key);
        self.shelf.write_async(act).await
    }

    /// Takes a key away if its value is this one still.
    pub(super) fn remove_if(&self, key: &K, value: &V) -> Result<bool, ShareError> {
        let parts = Self::parts(key, value)?;
        self.shelf.write(Patience::Until(None), |writer| {
            let is_it = |span| self.shelf.has_key(span, &parts.key);
            let found = writer.get(parts.hash(), is_it);
            match found.is_some_and(|span| self.shelf.has_value(span, &parts.value)) {
                true => self.remove_key(writer, &parts.key),
                false => Ok(false),
            }
        })
    }

    /// The value under a key, to be read in place. Never waits for readers, and for a writer only
    /// while that puts entries in order.
    pub fn get(&self, key: &K) -> Result<Option<SharedRef<V>>, ShareError> {
        let key = record::encode(key)?;
        let Some((pinned, span)) = self.find(&key)? else {
            return Ok(None);
        };
        self.shelf.value(span, &pinned).map(Some)
    }

    /// Whether there is a value under a key.
    pub fn contains_key(&self, key: &K) -> Result<bool, ShareError> {
        Ok(self.find(&record::encode(key)?)?.is_some())
    }

    /// All entries as they are at one moment, in no order. They stay so while the iterator or any
    /// of its guards lives, whatever others do to the map.
    pub fn iter(&self) -> Result<MapIter<K, V>, ShareError> {
        let (pinned, spans) = self.shelf.snapshot()?;
        Ok(MapIter {
            shelf: self.shelf.clone(),
            pinned,
            spans: spans.into_iter(),
            types: PhantomData,
        })
    }

    fn parts(key: &K, value: &V) -> Result<Parts, ShareError> {
        let (key, value) = (record::encode(key)?, record::encode(value)?);
        Ok(Parts { key, value })
    }

    fn put(&self, key: &K, value: &V, patience: Patience) -> Result<bool, ShareError> {
        let parts = Self::parts(key, value)?;
        let act = |writer: &Writer<'_>| self.insert_parts(writer, &parts);
        self.shelf.write(patience, act)
    }

    fn insert_parts(&self, writer: &Writer<'_>, parts: &Parts) -> Result<bool, ShareError> {
        let limit = self.shelf.records();
        let draft = parts.draft(writer, limit)?;
        let is_it = |span| self.shelf.has_key(span, &parts.key);
        let inserted = writer.insert(parts.hash(), is_it, limit, draft);
        inserted.map_err(|what| full(what, limit, parts.value.len()))
    }

    fn remove_key(&self, writer: &Writer<'_>, key: &[u8]) -> Result<bool, ShareError> {
        let is_it = |span| self.shelf.has_key(span, key);
        let removed = writer.remove(record::hash(key), is_it);
        let removed = removed.map_err(|what| full(what, self.shelf.records(), 0))?;
        Ok(removed.is_some())
    }

    fn find(&self, key: &[u8]) -> Result<Option<(Arc<Pinned>, Span)>, ShareError> {
        let hash = record::hash(key);
        let is_it = |span| self.shelf.has_key(span, key);
        for _ in 0..LOOKS {
            let pinned = self.shelf.pin()?;
            match self.shelf.table().find_record(hash, is_it) {
                Look::Found(span) => return Ok(Some((pinned, span))),
                Look::Absent => return Ok(None),
                Look::Disturbed => {}
            }
        }
        // Entries are put in order, or were by one that died at it.
        self.shelf.write(Patience::Until(None), |writer| {
            let pinned = self.shelf.pin()?;
            Ok(writer.get(hash, is_it).map(|span| (pinned, span)))
        })
    }
}

impl<K: Payload, V: Payload> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self::over(self.shelf.clone())
    }
}

impl<K: Payload, V: Payload> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMap")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The entries of a [`SharedMap`] as they were at one moment.
pub struct MapIter<K: Payload, V: Payload> {
    shelf: Shelf,
    pinned: Arc<Pinned>,
    spans: std::vec::IntoIter<Span>,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Payload, V: Payload> Iterator for MapIter<K, V> {
    /// A key and its value; an error if they are not the archives of such.
    type Item = Result<(SharedRef<K>, SharedRef<V>), ShareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        let key = self.shelf.key(span, &self.pinned);
        let value = self.shelf.value(span, &self.pinned);
        Some(key.and_then(|key| Ok((key, value?))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl<K: Payload, V: Payload> fmt::Debug for MapIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapIter")
            .field("left", &self.spans.len())
            .finish_non_exhaustive()
    }
}
