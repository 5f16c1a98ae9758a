//! What a worker says of its work to whoever looks: counts and a name, believed for nothing else.

use crate::primitive::atomic::{AtomicU64, Ordering};

/// One worker's gauge: 64 bytes on a line of its own, written by that worker alone; once that is
/// dead, by the parent.
///
/// ```text
/// 0     8       16       24       32          40     48      56     64
/// | now | tasks | chunks | in use | committed | huge | lost  | core |
///                        '---- bytes of the arena ---'
/// now   63   60 59        48 47        32 31            0
///       [ kind ][   chunk   ][ slot, job ][ generation  ]
/// ```
/// core: the core that ran the worker when it looked last, plus one; 0 while it sleeps
///
/// The counts go on when the worker is replaced, `now` and the arena begin anew.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Gauge {
    now: AtomicU64,
    tasks: AtomicU64,
    chunks: AtomicU64,
    arena: [AtomicU64; 3],
    lost: AtomicU64,
    core: AtomicU64,
}

const _: () = assert!(size_of::<Gauge>() == 64);

/// What a worker has begun last, and may be at still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Nothing,
    Task {
        slot: u32,
        generation: u32,
    },
    Chunk {
        job: u32,
        generation: u32,
        chunk: u32,
    },
}

/// What a worker's arena takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArenaUse {
    /// In pages that results lie in.
    pub(crate) in_use: u64,
    /// Provided by the kernel.
    pub(crate) committed: u64,
    /// Of that, in huge pages.
    pub(crate) huge: u64,
}

const TASK: u64 = 1;
const CHUNK: u64 = 2;

impl Work {
    pub(crate) const fn to_bits(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Task { slot, generation } => {
                TASK << 60 | (slot as u64 & 0xffff) << 32 | generation as u64
            }
            Self::Chunk {
                job,
                generation,
                chunk,
            } => {
                let place = (chunk as u64 & 0xfff) << 48 | (job as u64 & 0xffff) << 32;
                CHUNK << 60 | place | generation as u64
            }
        }
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        let place = (bits >> 32) as u32 & 0xffff;
        let generation = bits as u32;
        match bits >> 60 {
            TASK => Self::Task {
                slot: place,
                generation,
            },
            CHUNK => Self::Chunk {
                job: place,
                generation,
                chunk: (bits >> 48) as u32 & 0xfff,
            },
            _ => Self::Nothing,
        }
    }
}

// ORDERING: Relaxed throughout. Each word stands for itself. A count that is stored before the end
// of the work is published is seen by whoever has seen that end (ring R2, and the board's).
impl Gauge {
    /// By a worker that starts.
    pub(crate) fn begin(&self) {
        self.set_now(Work::Nothing);
        self.set_arena(ArenaUse::default());
        self.set_core(None);
    }

    /// By the worker: it begins this.
    pub(crate) fn set_now(&self, work: Work) {
        self.now.store(work.to_bits(), Ordering::Relaxed);
    }

    /// By the worker: a task is about to be completed.
    pub(crate) fn count_task(&self) {
        count(&self.tasks);
    }

    /// By the worker: a chunk is about to be completed.
    pub(crate) fn count_chunk(&self) {
        count(&self.chunks);
    }

    /// By the worker: what its arena takes.
    pub(crate) fn set_arena(&self, arena: ArenaUse) {
        let values = [arena.in_use, arena.committed, arena.huge];
        for (word, value) in self.arena.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// By the worker: this core runs it, or none does, as far as is known. By the parent, once the
    /// worker is dead: none.
    pub(crate) fn set_core(&self, core: Option<u32>) {
        let bits = core.map_or(0, |core| u64::from(core) + 1);
        self.core.store(bits, Ordering::Relaxed);
    }

    /// The core that ran the worker when it looked last, if it is awake: a hint.
    pub(crate) fn core(&self) -> Option<u32> {
        let bits = self.core.load(Ordering::Relaxed);
        u32::try_from(bits.checked_sub(1)?).ok()
    }

    /// Whether this core ran the worker when it looked last: a hint.
    pub(crate) fn is_on(&self, core: u32) -> bool {
        self.core.load(Ordering::Relaxed) == u64::from(core) + 1
    }

    /// Whether the worker has not said where it runs, for it sleeps or has just been woken: a hint.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.core.load(Ordering::Relaxed) == 0
    }

    /// What the worker began last.
    pub(crate) fn now(&self) -> Work {
        Work::from_bits(self.now.load(Ordering::Relaxed))
    }

    /// Tasks and chunks completed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (get(&self.tasks), get(&self.chunks))
    }

    /// What the arena took when the worker looked last.
    pub(crate) fn arena(&self) -> ArenaUse {
        let [in_use, committed, huge] =
            core::array::from_fn(|index| self.arena[index].load(Ordering::Relaxed));
        ArenaUse {
            in_use,
            committed,
            huge,
        }
    }
}

/// There is one writer, so this need not be one step.
fn count(word: &AtomicU64) {
    let next = word.load(Ordering::Relaxed).wrapping_add(1);
    word.store(next, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_the_word_and_nonsense_is_nothing() {
        for work in [
            Work::Nothing,
            Work::Task {
                slot: 4095,
                generation: u32::MAX,
            },
            Work::Chunk {
                job: 63,
                generation: 7,
                chunk: 1023,
            },
        ] {
            assert_eq!(Work::from_bits(work.to_bits()), work);
        }
        assert_eq!(Work::from_bits(u64::MAX), Work::Nothing);
    }
}
