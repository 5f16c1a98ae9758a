//! Names for objects: a map from name to object, which the region itself keeps.

use core::fmt;

use super::map::SharedMap;
use crate::commons::{Object, Region};
use crate::error::{Error, RegionError, ShareError};
use crate::primitive::atomic::Ordering;

/// The longest name, in bytes.
const MOST_NAME_BYTES: usize = 255;

/// How many names there may be, and the bytes for them.
const NAMES: usize = 4096;
const NAME_BYTES: usize = NAMES * 128;

/// Gives objects of a [`Region`] names, by which any process that has the region finds them: what
/// `multiprocessing.Manager` does, without a process that serves it.
///
/// A name stands for an object as long as anybody has that, in any process; then the name is free
/// again. Any kind of object may have names, of any type.
///
/// A handle: every `Manager` of a region is the same.
#[derive(Clone)]
pub struct Manager {
    region: Region,
    names: SharedMap<String, u64>,
}

impl Manager {
    /// The manager of this region, made if there was none.
    ///
    /// # Errors
    /// [`ShareError::Region`] if the region has no room for it.
    pub fn new(region: &Region) -> Result<Self, ShareError> {
        loop {
            // ORDERING: Acquire; pairs with the AcqRel below: the map is complete.
            let found = region.root().load(Ordering::Acquire);
            let (names, found) = match found {
                0 => (SharedMap::new(region, NAMES, NAME_BYTES)?, None),
                found => match SharedMap::open(region.name_of(found)) {
                    Ok(names) => (names, Some(found)),
                    Err(ShareError::Region(error)) if is_gone(&error) => {
                        // Whoever made it has died before it was the region's.
                        // ORDERING: Relaxed; it publishes nothing.
                        let _ = region.root().compare_exchange(
                            found,
                            0,
                            Ordering::Relaxed,
                            Ordering::Relaxed,
                        );
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let seat = names.shelf().seat();
            if found.is_none() {
                // ORDERING: AcqRel; publishes the map to whoever comes next.
                let made = region.root().compare_exchange(
                    0,
                    region.number_of(seat.name()),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if made.is_err() {
                    continue;
                }
            }
            // By everybody who comes, so that no death leaves it undone.
            seat.keep();
            let region = region.clone();
            return Ok(Self { region, names });
        }
    }

    /// The region whose objects it names.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Gives an object a name; `false` if another object has it. Blocks while others do.
    ///
    /// # Errors
    /// [`ShareError::BadName`] for a name that is empty or longer than 255 bytes, or an object of
    /// another region; [`ShareError::Full`] if 4096 names stand for objects.
    pub fn insert<T: Object>(&self, name: &str, object: &T) -> Result<bool, ShareError> {
        let key = check(name)?;
        let number = self.number(name, object)?;
        loop {
            let inserted = match self.names.insert_new(&key, &number) {
                // There may be room where nobody has the object any more.
                Err(ShareError::Full { .. } | ShareError::NoRoom { .. }) if self.forget()? > 0 => {
                    continue;
                }
                inserted => inserted?,
            };
            if inserted {
                return Ok(true);
            }
            if self.is_taken(&key)? {
                return Ok(false);
            }
        }
    }

    /// The object of this name; `None` if there is none, or nobody has it any more.
    ///
    /// # Errors
    /// [`ShareError::Region`] if it is of another kind.
    pub fn get<T: Object>(&self, name: &str) -> Result<Option<T>, ShareError> {
        let key = check(name)?;
        let Some(number) = self.find(&key)? else {
            return Ok(None);
        };
        match T::find(self.region.name_of(number)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The object of this name, which `make` makes if there is none. If two processes do so at
    /// once, both get the same, and the other one is dropped.
    ///
    /// # Errors
    /// As [`insert`](Self::insert) and [`get`](Self::get), and those of `make`.
    pub fn get_or_create<T: Object, E>(
        &self,
        name: &str,
        make: impl FnOnce(&Region) -> Result<T, E>,
    ) -> Result<T, ShareError>
    where
        ShareError: From<E>,
    {
        if let Some(object) = self.get(name)? {
            return Ok(object);
        }
        let made = make(&self.region)?;
        loop {
            if self.insert(name, &made)? {
                return Ok(made);
            }
            if let Some(object) = self.get(name)? {
                return Ok(object);
            }
        }
    }

    /// Takes a name away; says whether it was there. Whoever has the object keeps it.
    pub fn remove(&self, name: &str) -> Result<bool, ShareError> {
        self.names.remove(&check(name)?)
    }

    /// All names whose objects somebody has, in their order.
    pub fn names(&self) -> Result<Vec<String>, ShareError> {
        let mut names = Vec::new();
        for entry in self.names.iter()? {
            let (name, number) = entry?;
            if self.region.has(self.region.name_of(number.to_native())) {
                names.push(name.as_str().to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn number<T: Object>(&self, name: &str, object: &T) -> Result<u64, ShareError> {
        let found = object.name();
        let number = self.region.number_of(found);
        if self.region.name_of(number) != found {
            return Err(ShareError::BadName {
                name: name.into(),
                reason: "the object is in another region",
            });
        }
        Ok(number)
    }

    fn find(&self, key: &String) -> Result<Option<u64>, ShareError> {
        let found = self.names.get(key)?;
        Ok(found.map(|number| number.to_native()))
    }

    /// Takes away the names whose objects nobody has any more; says how many.
    fn forget(&self) -> Result<usize, ShareError> {
        let mut dead = Vec::new();
        for entry in self.names.iter()? {
            let (name, number) = entry?;
            let number = number.to_native();
            if !self.region.has(self.region.name_of(number)) {
                dead.push((name.as_str().to_owned(), number));
            }
        }
        let mut count = 0;
        for (name, number) in &dead {
            count += usize::from(self.names.remove_if(name, number)?);
        }
        Ok(count)
    }

    /// Whether a name stands for an object that somebody has; a name that does not is taken away.
    fn is_taken(&self, key: &String) -> Result<bool, ShareError> {
        let Some(number) = self.find(key)? else {
            return Ok(false);
        };
        if self.region.has(self.region.name_of(number)) {
            return Ok(true);
        }
        self.names.remove_if(key, &number)?;
        Ok(false)
    }
}

/// A name as it stands in the map.
fn check(name: &str) -> Result<String, ShareError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MOST_NAME_BYTES {
        "it is longer than 255 bytes"
    } else {
        return Ok(name.to_owned());
    };
    Err(ShareError::BadName {
        name: name.into(),
        reason,
    })
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Region(RegionError::Gone))
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("names", &self.names.len())
            .finish_non_exhaustive()
    }
}
