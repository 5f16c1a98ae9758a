//! Handles as values: what crosses to another process.

#![expect(unsafe_code, reason = "a handle is plain data")]

use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

use crate::error::Result;

/// Which object is meant: of which region, in which place, which use of that place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Name {
    pub(crate) region: u64,
    pub(crate) object: u32,
    pub(crate) generation: u32,
}

impl Name {
    /// As it crosses.
    pub(crate) fn to_words(self) -> [u64; 2] {
        let place = u64::from(self.object) << 32 | u64::from(self.generation);
        [self.region, place]
    }

    /// Any two words are some name.
    pub(crate) fn from_words([region, place]: [u64; 2]) -> Self {
        Self {
            region,
            object: (place >> 32) as u32,
            generation: place as u32,
        }
    }
}

/// What lies in a [`Region`](crate::Region) and is named by a [`Handle`] in other processes.
pub trait Shared: Sized {
    #[doc(hidden)]
    fn words(&self) -> [u64; 2];

    #[doc(hidden)]
    fn from_words(words: [u64; 2]) -> Result<Self>;

    /// A value that names this object, in other processes too.
    fn handle(&self) -> Handle<Self> {
        Handle {
            words: self.words(),
            marker: PhantomData,
        }
    }
}

/// A name of an object in a [`Region`](crate::Region): 16 bytes of plain data, which go where plain
/// data goes. It can be a [`Context`](crate::Context), an argument of a task or a process, an
/// element of a slice, and lie in another object.
///
/// A process that has the region attached [opens](Handle::open) it. It does not keep the object
/// alive: whoever sends one keeps the object itself until the other side has opened it.
///
/// # Examples
///
/// ```
/// use gristmill::{Handle, Mutex, Pool, Region};
///
/// let region = Region::new(1 << 20)?;
/// let pool = Pool::builder().workers(2).region(&region).build()?;
/// let largest = Mutex::new(&region, 0_u64)?;
/// let xs = pool.copy_from_slice(&[3_u64, 9, 4])?.freeze();
/// pool.par_for_each_with(largest.handle(), &xs, |largest, x| {
///     let largest = largest.open().unwrap();
///     let mut largest = largest.lock().unwrap();
///     *largest = (*largest).max(*x);
/// })
/// .wait()?;
/// assert_eq!(*largest.lock().unwrap(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(transparent)]
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Handle<T> {
    words: [u64; 2],
    marker: PhantomData<fn() -> T>,
}

// SAFETY: all zeros are two words.
unsafe impl<T> Zeroable for Handle<T> {}
// SAFETY: `repr(transparent)` over two words, of which any bytes are a value; no padding. A `T` is
// only made by `open`, which checks.
unsafe impl<T: 'static> Pod for Handle<T> {}

impl<T: Shared> Handle<T> {
    /// The object, in this process.
    ///
    /// # Errors
    /// [`RegionError::NotAttached`](crate::RegionError) if this process does not have the region,
    /// [`Gone`](crate::RegionError::Gone) if the object's last handle is gone, and
    /// [`WrongKind`](crate::RegionError::WrongKind) if it is none of this type.
    pub fn open(&self) -> Result<T> {
        T::from_words(self.words)
    }
}

impl<T: Shared> ArchivedHandle<T> {
    /// The object, in this process; see [`Handle::open`].
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub fn open(&self) -> Result<T> {
        T::from_words(self.words.map(Into::into))
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl<T> Eq for Handle<T> {}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.hash(state);
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name {
            region,
            object,
            generation,
        } = Name::from_words(self.words);
        write!(f, "Handle({region:016x}, {object}.{generation})")
    }
}

impl<T> fmt::Debug for ArchivedHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedHandle").finish_non_exhaustive()
    }
}
