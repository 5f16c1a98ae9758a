//! The name of an object in a region, as it crosses to other processes.
//!
//! ```text
//! 0        8         12            16
//! [ region ][ index  ][ generation ]
//! ```

use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

/// Which object in which region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Name {
    pub(crate) region: u64,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The name of a shared object of type `T`, for a process that has its region.
///
/// It is plain data: a context, or a part of one, or what a queue carries; `words` and
/// `from_words` take it through anything else. It keeps nothing alive: whoever sends it keeps the
/// object until it was opened on the other side.
#[repr(transparent)]
pub struct Handle<T: ?Sized> {
    name: Name,
    object: PhantomData<fn() -> T>,
}

impl<T: ?Sized> Handle<T> {
    pub(crate) const fn new(name: Name) -> Self {
        Self {
            name,
            object: PhantomData,
        }
    }

    pub(crate) const fn name(self) -> Name {
        self.name
    }

    /// The name as two numbers, for an archive.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        let low = self.name.index as u64 | (self.name.generation as u64) << 32;
        [self.name.region, low]
    }

    /// The name that two numbers were made of. Any numbers are a name, though hardly of an object.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self::new(Name {
            region: words[0],
            index: words[1] as u32,
            generation: (words[1] >> 32) as u32,
        })
    }
}

// Not derived, which would ask the same of `T`.
impl<T: ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Handle<T> {}

impl<T: ?Sized> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<T: ?Sized> Eq for Handle<T> {}

impl<T: ?Sized> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl<T: ?Sized> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.name).finish()
    }
}

// SAFETY: a `Name`, of which any bytes are one, and nothing besides.
#[expect(unsafe_code, reason = "plain data by its only field")]
unsafe impl<T: ?Sized + 'static> Zeroable for Handle<T> {}
// SAFETY: as above; it has no padding, as `Name` has none.
#[expect(unsafe_code, reason = "plain data by its only field")]
unsafe impl<T: ?Sized + 'static> Pod for Handle<T> {}
