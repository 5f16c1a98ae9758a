//! Regions with a name, by which any program of the same user finds them.

use super::KINDS;
use crate::commons::{self, Region};
use crate::error::{Error, NameError, RegionError};
use crate::memory::region::{AttachError, Region as Memory};
use crate::named::Held;

impl Region {
    /// Makes a region of so many bytes under a name that nobody uses. Its objects are found by
    /// their names in its [`Manager`](crate::Manager).
    ///
    /// What is said of the name and the memory of a [`NamedRegion`](crate::NamedRegion) is so here:
    /// the name stays while any process that made or opened the region lives and has it, and all
    /// the memory is reserved at once. [`NamedRegion::list`](crate::NamedRegion::list),
    /// [`remove`](crate::NamedRegion::remove) and [`clean`](crate::NamedRegion::clean) are for
    /// both.
    /// Workers and processes that are given the region when they are started have it, and do not
    /// keep its name. It cannot be sent to a program that was met: that opens it by its name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size of zero or more than 32 GiB; [`Error::Name`] with
    /// [`NameError::Exists`], [`NameError::NoRoom`] or [`NameError::BadName`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Manager, Queue, Region};
    ///
    /// # let name = format!("doc-region-{}", std::process::id());
    /// # let name = name.as_str();
    /// let region = Region::create_named(name, 4 << 20)?;
    /// let jobs = Queue::<u64>::new(&region, 100)?;
    /// Manager::new(&region)?.insert("jobs", &jobs)?;
    /// jobs.send_blocking(7)?;
    ///
    /// let region = Region::open_named(name)?; // in another program
    /// let jobs: Queue<u64> = Manager::new(&region)?.get("jobs")?.expect("it is there");
    /// assert_eq!(jobs.recv_blocking()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_named(name: &str, size: u64) -> Result<Self, Error> {
        commons::know(KINDS);
        let mut made = None;
        let size = Self::whole(size)?;
        let held = Held::create(name, size, |file| {
            let memory = Memory::attach_named(file.file()?);
            let memory = memory.map_err(|error| refused(name, error))?;
            Self::lay_out(&memory)?;
            made = Some(memory);
            Ok(())
        })?;
        let memory = made.ok_or_else(|| foreign(name, "it was never completed".into()))?;
        Self::attach_named(memory, Some(Box::new(held)))
    }

    /// Opens the region of this name. A process that has it already gets the same.
    ///
    /// # Errors
    /// [`Error::Name`] with [`NameError::NotFound`], or with [`NameError::Foreign`] if another
    /// program has made what has this name, or another version of this crate;
    /// [`RegionError::Crowded`] and [`RegionError::OtherNamespace`] in an [`Error::Region`].
    pub fn open_named(name: &str) -> Result<Self, Error> {
        commons::know(KINDS);
        let held = Held::open(name)?;
        let memory = Memory::attach_named(held.file().file()?);
        let memory = memory.map_err(|error| refused(name, error))?;
        match Self::attach_named(memory, Some(Box::new(held))) {
            Err(Error::Region(RegionError::Foreign { found })) => Err(foreign(name, found).into()),
            region => region?.known(),
        }
    }

    /// Opens the region of this name, or makes one of so many bytes.
    pub fn open_or_create_named(name: &str, size: u64) -> Result<Self, Error> {
        loop {
            match Self::open_named(name) {
                Err(Error::Name(NameError::NotFound { .. })) => {}
                outcome => return outcome,
            }
            // Somebody else may be faster, and may be gone again.
            match Self::create_named(name, size) {
                Err(Error::Name(NameError::Exists { .. })) => {}
                outcome => return outcome,
            }
        }
    }
}

fn refused(name: &str, error: AttachError) -> NameError {
    match error {
        AttachError::System(error) => error.into(),
        error => foreign(name, error.to_string()),
    }
}

fn foreign(name: &str, reason: String) -> NameError {
    let name = name.into();
    NameError::Foreign { name, reason }
}
