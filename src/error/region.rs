//! What can go wrong with a region, and with what lies in it.

/// Why a [`Region`](crate::Region), or an object in one, cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The region has no room for a block of that size.
    #[error(
        "the region has no room for {wanted} bytes, its largest free block has {available}; make \
         it larger, or drop what it holds"
    )]
    NoRoom {
        /// How many bytes were wanted.
        wanted: u64,
        /// The largest block that there is, about.
        available: u64,
    },
    /// The region has as many objects as it can have.
    #[error("the region has {limit} objects, the most for its size; make it larger")]
    TooManyObjects {
        /// How many it can have.
        limit: u32,
    },
    /// As many processes as can be are attached already.
    #[error("{limit} processes have the region attached, the most that can")]
    TooManyMembers {
        /// How many can.
        limit: usize,
    },
    /// A handle names a region that this process does not have.
    #[error(
        "region {region:016x} is not attached in this process; give it to `Builder::region` or \
         `ProcessBuilder::region` of what starts the process"
    )]
    NotAttached {
        /// The region's number.
        region: u64,
    },
    /// A handle names an object whose last handle is gone.
    #[error(
        "object {object} of the region is gone; keep a handle to it until whoever you sent one to \
         has opened his"
    )]
    Gone {
        /// The object's number.
        object: u32,
    },
    /// A handle names an object of another kind, or of another type.
    #[error("object {object} of the region is no {wanted}")]
    WrongKind {
        /// The object's number.
        object: u32,
        /// What was expected.
        wanted: &'static str,
    },
    /// The descriptor is none of a region, or of one made by another version.
    #[error("the descriptor is no region of this version of the crate: {found}")]
    Foreign {
        /// What is wrong with it.
        found: String,
    },
}
