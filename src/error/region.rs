//! Why a region, or an object in one, is not to be had.

/// Why a region is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The descriptor leads to something else, or to a region of another version of this crate.
    #[error("this is no region of this version of gristmill: {found}")]
    Foreign {
        /// What was found instead.
        found: String,
    },
    /// As many processes have it as can.
    #[error("255 processes have the region, and no more can")]
    Crowded,
    /// The region is that of processes of another pid namespace, another container's say: neither
    /// side could tell whether those of the other live.
    #[error(
        "the region is shared by processes of another pid namespace, whose deaths cannot be found \
         here; share it within one, or start the containers with `--pid`"
    )]
    OtherNamespace,
    /// The name is of a region that this process was not given.
    #[error(
        "region {id:#018x} was not given to this process; pass it with `Builder::region` or \
         `ProcessBuilder::region`"
    )]
    Unknown {
        /// The region's number.
        id: u64,
    },
    /// The object of that name has ended, as nobody held it any more.
    #[error("the object was dropped by everybody who had it; keep a handle until it was opened")]
    Gone,
    /// The object is another one than was expected.
    #[error("the object is of kind {found}; wanted kind {wanted}")]
    OtherKind {
        /// Its number.
        found: u32,
        /// The number that was expected.
        wanted: u32,
    },
    /// There are as many objects as there can be.
    #[error("the region holds {0} objects, and no more can be made")]
    Full(usize),
    /// The region has no room in one piece.
    #[error("{wanted} bytes do not fit the region, which has {available} free in one piece")]
    NoRoom {
        /// What was wanted.
        wanted: u64,
        /// What there is.
        available: u64,
    },
}
