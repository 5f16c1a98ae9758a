//! Leaving a core: the kernel moves a thread whose mask forbids where it is.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The mask of the thread that calls, as the kernel keeps it: what was asked for last, of which
/// the control group's set allows some.
trait Mask {
    /// Where the thread may run now; `None` where the kernel does not say.
    fn get(&self) -> Option<CpuSet>;

    /// Asks for this mask; whether that went well.
    fn set(&self, mask: &CpuSet) -> bool;
}

struct Kernel;

impl Mask for Kernel {
    fn get(&self) -> Option<CpuSet> {
        sched_getaffinity(Pid::from_raw(0)).ok()
    }

    fn set(&self, mask: &CpuSet) -> bool {
        sched_setaffinity(Pid::from_raw(0), mask).is_ok()
    }
}

/// How this thread leaves a core; it keeps the mask that it has.
#[derive(Debug, Default)]
pub(crate) struct Affinity {
    /// The mask that could not be given back.
    owed: Option<CpuSet>,
}

impl Affinity {
    /// Has the kernel move this thread to a core that `is_free`, if it may run on one; it may come
    /// back. Whether it moved it.
    ///
    /// The mask that was set for the thread stays, and one that was not set goes on to follow the
    /// control group's set, also when that grows later. Those two cannot be told apart by looking,
    /// so all cores are asked for first: what is allowed then is what the group allows. A mask
    /// that happens to be the same counts as none, and of one that reaches beyond what the group
    /// allows now, that part is kept which it allows. Whoever sets it from outside during the few
    /// calls that this takes has to do so again; in between the thread may be on any core that its
    /// group allows.
    ///
    /// Before it moves it says `to` which core, if there is only one.
    pub(crate) fn leave_for(
        &mut self,
        is_free: impl Fn(u32) -> bool,
        to: impl FnOnce(Option<u32>),
    ) -> bool {
        self.leave_by(&Kernel, is_free, to)
    }

    fn leave_by(
        &mut self,
        mask: &impl Mask,
        is_free: impl Fn(u32) -> bool,
        to: impl FnOnce(Option<u32>),
    ) -> bool {
        if let Some(owed) = self.owed.take()
            && !self.give_back(mask, owed)
        {
            return false;
        }
        let Some(given) = mask.get() else {
            return false;
        };
        let free = among(|core| given.is_set(core).unwrap_or(false) && is_free(core as u32));
        let everywhere = among(|_| true);
        if free == CpuSet::new() || !mask.set(&everywhere) {
            return false;
        }
        let wanted = match mask.get() {
            Some(allowed) if allowed == given => everywhere,
            _ => given,
        };
        let mut cores = (0..CpuSet::count()).filter(|&core| free.is_set(core).unwrap_or(false));
        let first = cores.next().map(|core| core as u32);
        to(first.filter(|_| cores.next().is_none()));
        let has_moved = mask.set(&free);
        self.give_back(mask, wanted);
        has_moved
    }

    /// Never to be left with a mask that is not ours to choose.
    fn give_back(&mut self, mask: &impl Mask, wanted: CpuSet) -> bool {
        let is_back = mask.set(&wanted);
        self.owed = (!is_back).then_some(wanted);
        is_back
    }
}

fn among(is_in: impl Fn(usize) -> bool) -> CpuSet {
    let mut set = CpuSet::new();
    for core in (0..CpuSet::count()).filter(|&core| is_in(core)) {
        // A core beyond the set's size is none that we can name.
        let _ = set.set(core);
    }
    set
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    /// The kernel's books of one thread: what it asked for, and the group's set.
    struct Books {
        asked: Cell<Option<CpuSet>>,
        group: Cell<CpuSet>,
        /// Where the thread was allowed to be, since the last call.
        history: RefCell<Vec<CpuSet>>,
        /// Which of the next calls fail, the lowest bit first.
        failures: Cell<u32>,
    }

    fn cores(bits: u16) -> CpuSet {
        among(|core| core < 16 && bits >> core & 1 == 1)
    }

    fn both(a: &CpuSet, b: &CpuSet) -> CpuSet {
        among(|core| a.is_set(core).unwrap_or(false) && b.is_set(core).unwrap_or(false))
    }

    impl Books {
        fn new(asked: Option<CpuSet>, group: CpuSet) -> Self {
            Self {
                asked: Cell::new(asked),
                group: Cell::new(group),
                history: RefCell::default(),
                failures: Cell::new(0),
            }
        }

        fn fails(&self) -> bool {
            let failures = self.failures.get();
            self.failures.set(failures >> 1);
            failures & 1 == 1
        }

        fn allowed(&self) -> CpuSet {
            let group = self.group.get();
            match self.asked.get().map(|asked| both(&asked, &group)) {
                Some(some) if some != CpuSet::new() => some,
                _ => group,
            }
        }
    }

    impl Mask for Books {
        fn get(&self) -> Option<CpuSet> {
            (!self.fails()).then(|| self.allowed())
        }

        fn set(&self, mask: &CpuSet) -> bool {
            if self.fails() || both(mask, &self.group.get()) == CpuSet::new() {
                return false;
            }
            self.asked.set(Some(*mask));
            self.history.borrow_mut().push(self.allowed());
            true
        }
    }

    proptest! {
        #[test]
        fn a_mask_is_kept_and_none_goes_on_to_follow_the_group(
            asked in prop::option::of(any::<u16>()),
            group in 1..=u16::MAX,
            grown in any::<u16>(),
            free in any::<u16>(),
            failures in any::<u32>(),
        ) {
            let asked = asked.map(cores);
            let is_restricted = asked.is_some_and(|asked| {
                let allowed = both(&asked, &cores(group));
                allowed != CpuSet::new() && allowed != cores(group)
            });
            let books = Books::new(asked, cores(group));
            let before = books.allowed();
            let mut affinity = Affinity::default();
            books.failures.set(failures);
            let is_free = |core: u32| core < 16 && free >> core & 1 == 1;
            let has_moved = affinity.leave_by(&books, is_free, |to| {
                let may = (0..16).filter(|&core| {
                    is_free(core) && before.is_set(core as usize).unwrap_or(false)
                });
                let may: Vec<u32> = may.collect();
                assert_eq!(to, may.first().copied().filter(|_| may.len() == 1));
            });
            let passed = books.history.borrow().contains(&both(&before, &cores(free)));
            prop_assert!(!has_moved || passed, "it was somewhere else meanwhile");
            // What went wrong is put right the next time, whether it moves then or not.
            books.failures.set(0);
            affinity.leave_by(&books, |_| false, |_| ());
            prop_assert_eq!(books.allowed(), before);
            books.group.set(cores(group | grown));
            let wanted = if is_restricted { before } else { cores(group | grown) };
            if has_moved && failures == 0 {
                prop_assert_eq!(books.allowed(), wanted);
            }
        }
    }

    #[test]
    fn a_core_is_left_for_a_free_one_only() {
        let books = Books::new(None, cores(0b0111));
        let mut affinity = Affinity::default();
        assert!(!affinity.leave_by(&books, |core| core == 3, |_| ()));
        assert!(books.history.borrow().is_empty(), "nothing was touched");
        assert!(affinity.leave_by(&books, |core| core != 1, |_| ()));
        assert_eq!(books.history.borrow()[1], cores(0b0101));
    }

    #[test]
    fn the_kernel_keeps_the_mask_of_this_thread() {
        let before = Kernel.get().expect("the kernel tells");
        let mut affinity = Affinity::default();
        let here = crate::sys::cpu::current();
        affinity.leave_for(|core| Some(core) != here, |_| ());
        assert_eq!(Kernel.get(), Some(before));
        // One core of them, as if by a user: there is none to go to, and none is gained.
        let first = (0..CpuSet::count()).find(|&core| before.is_set(core).unwrap_or(false));
        let one = among(|core| Some(core) == first);
        assert!(Kernel.set(&one));
        assert!(!affinity.leave_for(|core| Some(core as usize) != first, |_| ()));
        assert!(affinity.leave_for(|_| true, |_| ()));
        assert_eq!(Kernel.get(), Some(one));
        assert!(Kernel.set(&before));
    }
}
