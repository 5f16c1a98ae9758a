//! The region: made or attached, joined, and left with its last handle in the process.

#![expect(
    unsafe_code,
    reason = "views the first bytes of the region as its tables"
)]

use core::any::Any;
use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::commons::layout::{LAYOUT, MAGIC, MEMBERS, Tables};
use crate::commons::locals::Locals;
use crate::commons::member::Member;
use crate::commons::object::Entry;
use crate::commons::seat::Held;
use crate::commons::space::{MOST_BYTES, Space};
use crate::commons::threads::{self, Threads};
use crate::error::{Error, RegionError};
use crate::memory::owner::Owner;
use crate::memory::region::{AttachError, EXTENT_BYTES, Region as Memory};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::waitset::WaitSet;
use crate::sys::failure::SysError;
use crate::sys::map::{ForkGlance, ForkMark};
#[cfg(feature = "named")]
use crate::sys::memfd;
use crate::sys::{clock, random};

/// Memory for objects that processes share.
///
/// A handle: clones lead to the same region. It is a memory file without a name, so nothing is left
/// behind however its processes end, and it is gone with the last of them. Other processes get it
/// when they are started ([`Builder::region`](crate::Builder::region),
/// [`ProcessBuilder::region`](crate::ProcessBuilder::region)), or from a program that they meet
/// ([`Connection::send_region`](crate::Connection::send_region)); with the feature `named` a region
/// can also have a name, by which any program of the same user finds it.
///
/// Memory is taken as objects need it, up to the region's size. Each process that has a region has
/// two threads for it, which sleep until something happens.
#[derive(Clone)]
pub struct Region(pub(super) Arc<Inner>);

/// A region as this process has it, until its last handle is dropped.
pub(super) struct Inner {
    pub(super) core: Arc<Core>,
    threads: Threads,
    /// Objects that this process holds.
    pub(super) held: Mutex<HashMap<u32, Weak<Held>>>,
    /// What keeps the region's name.
    _keeper: Option<Keeper>,
}

/// What is kept for as long as a process has a region.
pub(crate) type Keeper = Box<dyn Any + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// What the threads have as well.
pub(super) struct Core {
    memory: Memory,
    mark: ForkMark,
    pub(super) me: Owner,
    pub(super) id: u64,
    locals: Mutex<Locals>,
    pub(super) inner: OnceLock<Weak<Inner>>,
    /// Not zero once the threads are to end.
    pub(super) stopping: AtomicU32,
}

impl Region {
    pub(crate) fn create(size: u64) -> Result<Self, Error> {
        let memory = Memory::create(Self::whole(size)?)?;
        Self::lay_out(&memory)?;
        Self::join(memory, None)
    }

    /// The size of a region of at least so many bytes.
    pub(crate) fn whole(size: u64) -> Result<u64, Error> {
        let wanted = match size {
            0 => "at least 1 byte",
            1..=MOST_BYTES => return Ok(size.next_multiple_of(EXTENT_BYTES)),
            _ => "at most 32 GiB",
        };
        Err(Error::InvalidArgument {
            what: "size of a region",
            found: size.to_string(),
            wanted: wanted.into(),
        })
    }

    /// Makes whole extents, writable and all zero, which nobody else has, a region.
    pub(crate) fn lay_out(memory: &Memory) -> Result<(), SysError> {
        memory.commit(0..EXTENT_BYTES)?;
        let tables = memory.base().cast::<Tables>();
        // SAFETY: the first of the region's bytes, committed, and nobody else has them yet.
        let members = unsafe { &raw mut (*tables.as_ptr()).members }.cast::<Member>();
        for index in 0..MEMBERS {
            // SAFETY: one of so many.
            let place = unsafe { members.add(index) };
            // SAFETY: as above.
            unsafe { place.write(Member::new(index as u16)) };
        }
        // SAFETY: as for members.
        let objects = unsafe { &raw mut (*tables.as_ptr()).objects }.cast::<Entry>();
        for index in 0..crate::commons::layout::OBJECTS {
            // SAFETY: one of so many.
            let place = unsafe { objects.add(index) };
            // SAFETY: as above.
            unsafe { place.write(Entry::new()) };
        }
        // SAFETY: as for members.
        let allocators = unsafe { &raw mut (*tables.as_ptr()).front.allocators };
        // SAFETY: as above.
        unsafe { allocators.write(WaitSet::new()) };
        let front = &tables_of(memory).front;
        Space { memory, front }.create();
        // ORDERING: Relaxed; other processes get the region later, through the kernel.
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        set(&front.layout, LAYOUT);
        set(&front.size, memory.size());
        set(&front.id, u64::from_le_bytes(random::bytes()?));
        set(&front.namespace, clock::pid_namespace());
        // ORDERING: Release; last of all: whoever sees it sees a region that is complete.
        front.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    pub(crate) fn attach(file: OwnedFd) -> Result<Self, Error> {
        let foreign = |found: String| Error::from(RegionError::Foreign { found });
        let memory = Memory::attach(file).map_err(|error| match error {
            AttachError::System(error) => error.into(),
            error => foreign(error.to_string()),
        })?;
        check(&memory)?;
        memory.unprotect(0..memory.size())?;
        Self::join(memory, None)
    }

    /// The same, of a file that whoever started this process has given it: it may have a name.
    pub(super) fn attach_given(file: OwnedFd) -> Result<Self, Error> {
        #[cfg(feature = "named")]
        if !memfd::is_sealed(file.as_fd())? {
            let memory = Memory::attach_named(file);
            let memory = memory.map_err(|error| RegionError::Foreign {
                found: error.to_string(),
            })?;
            return Self::attach_named(memory, None);
        }
        Self::attach(file)
    }

    /// The region in memory that is writable, and that has a name, which `keeper` keeps for as long
    /// as this process has the region.
    #[cfg(feature = "named")]
    pub(crate) fn attach_named(memory: Memory, keeper: Option<Keeper>) -> Result<Self, Error> {
        check(&memory)?;
        Self::join(memory, keeper)
    }

    fn join(memory: Memory, keeper: Option<Keeper>) -> Result<Self, Error> {
        let tables = tables_of(&memory);
        let pid = std::process::id();
        let started = clock::started(pid).unwrap_or(0);
        // The last place is the region's own.
        let mut places = (0..).zip(&tables.members[..MEMBERS - 1]);
        let me = places.find_map(|(index, place)| place.join(index, pid, started));
        let me = me.ok_or(RegionError::Crowded)?;
        let core = Arc::new(Core {
            // ORDERING: Relaxed; written before the region came here.
            id: tables.front.id.load(Ordering::Relaxed),
            memory,
            mark: ForkMark::new()?,
            me,
            locals: Mutex::default(),
            inner: OnceLock::new(),
            stopping: AtomicU32::new(0),
        });
        let threads = match Threads::start(&core) {
            Ok(threads) => threads,
            Err(error) => {
                core.leave();
                return Err(error);
            }
        };
        core.announce();
        let inner = Arc::new(Inner {
            core,
            threads,
            held: Mutex::default(),
            _keeper: keeper,
        });
        inner.core.inner.get_or_init(|| Arc::downgrade(&inner));
        let region = Self(inner);
        region.register();
        Ok(region)
    }

    /// The number of the object that names others, or zero.
    pub(crate) fn root(&self) -> &AtomicU64 {
        &self.0.core.tables().front.root
    }

    /// How many bytes it has, whether memory was taken for them or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.core.memory.size()
    }
}

impl AsFd for Region {
    /// The memory file, for a process that is to have the region, too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.core.memory.fd()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Whether memory is a region of this build that this process may join.
fn check(memory: &Memory) -> Result<(), RegionError> {
    let front = &tables_of(memory).front;
    let foreign = |found: &str| RegionError::Foreign {
        found: found.into(),
    };
    // ORDERING: Acquire; pairs with the Release in `lay_out`.
    let magic = front.magic.load(Ordering::Acquire);
    // ORDERING: Relaxed; written before that.
    let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
    if magic != MAGIC || get(&front.size) != memory.size() {
        return Err(foreign("a memory file of something else"));
    }
    if get(&front.layout) != LAYOUT {
        return Err(foreign("another layout"));
    }
    let (theirs, ours) = (get(&front.namespace), clock::pid_namespace());
    match theirs == ours || theirs == 0 || ours == 0 {
        true => Ok(()),
        false => Err(RegionError::OtherNamespace),
    }
}

fn tables_of(memory: &Memory) -> &Tables {
    // SAFETY: regions have at least an extent, which is larger than the tables; the mapping begins
    // on a boundary of 2 MiB and lives as long as the borrow; any bytes are such tables, whose
    // fields are atomics.
    unsafe { memory.base().cast::<Tables>().as_ref() }
}

impl Core {
    pub(super) fn tables(&self) -> &Tables {
        tables_of(&self.memory)
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn space(&self) -> Space<'_> {
        Space {
            memory: &self.memory,
            front: &self.tables().front,
        }
    }

    /// The wait set at this place, where somebody of this process waits.
    pub(super) fn wait_set(&self, place: u64) -> Option<&WaitSet> {
        let at = self.memory.pointer(place, size_of::<WaitSet>())?;
        // SAFETY: in the mapping; aligned, for it was a wait set's own place; any bytes are one.
        Some(unsafe { at.cast().as_ref() })
    }

    /// Whether this is the process that joined, and not a fork of it.
    pub(super) fn is_home(&self) -> bool {
        self.mark.is_here()
    }

    /// The same for whoever asks often; good as long as this.
    pub(super) fn glance(&self) -> ForkGlance {
        self.mark.glance()
    }

    pub(super) fn member(&self, owner: Owner) -> &Member {
        &self.tables().members[usize::from(owner.index()) % MEMBERS]
    }

    pub(super) fn locals(&self) -> MutexGuard<'_, Locals> {
        // Nothing panics while it is locked but for want of memory.
        self.locals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the others watch over this member.
    fn announce(&self) {
        let tables = self.tables();
        // ORDERING: SeqCst; whoever is told looks at the members afterwards.
        tables.front.roll.fetch_add(1, Ordering::SeqCst);
        for member in &tables.members {
            if member.live().is_some() {
                threads::ring(member);
            }
        }
    }

    /// Gives up membership.
    pub(super) fn leave(&self) {
        let member = self.member(self.me);
        if let Some(live) = member.live().filter(|live| live.owner == self.me) {
            member.vacate(live);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A forked child has none of the threads, and is no member.
        if self.core.is_home() {
            self.threads.stop(&self.core);
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}
