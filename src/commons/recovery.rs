//! After a member died: what it had goes back, and whoever waits looks again.
//!
//! One survivor does so at a time, by a word that names it. If it dies at it, the next one does all
//! of it again: each step finds what is left to be done.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::commons::kind;
use crate::commons::member::{Live, Member};
use crate::commons::object::{Entry, Stage};
use crate::commons::region::{Core, Inner};
use crate::commons::seat::Seat;
use crate::commons::space::BlockName;
use crate::commons::threads;
use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::Ordering;
use crate::sys::pidfd::PidFd;

const HELD: u8 = 1;
/// Between two looks at one who is at it: he is a few microseconds from done, or stopped.
const PAUSE: Duration = Duration::from_millis(1);

impl Seat {
    /// Takes care of members that have died and that no watcher has found yet; whether of any.
    pub(crate) fn bury_the_dead(&self) -> bool {
        self.core().bury_the_dead()
    }
}

impl Core {
    /// Takes care of what a dead member leaves, unless somebody else has.
    pub(super) fn recover(&self, dead: Live) {
        let Some(inner) = self.inner.get().and_then(Weak::upgrade) else {
            return;
        };
        if !self.knows_all_kinds() {
            // Another program's objects: that program's processes take care of them.
            return;
        }
        self.take_office();
        if self.member(dead.owner).live() == Some(dead) {
            self.sweep(&inner, dead.owner);
            self.member(dead.owner).vacate(dead);
        }
        self.leave_office();
        self.call_everybody();
    }

    /// Looks for dead members now, rather than when their watchers hear of it; whether there were
    /// any.
    pub(super) fn bury_the_dead(&self) -> bool {
        let members = self.tables().members.iter().filter_map(Member::live);
        let others = members.filter(|live| live.owner != self.me);
        let dead: Vec<Live> = others.filter(|live| threads::is_gone(*live)).collect();
        dead.iter().for_each(|dead| self.recover(*dead));
        !dead.is_empty()
    }

    fn knows_all_kinds(&self) -> bool {
        let live = |entry: &&Entry| entry.stage().0 == Stage::Live;
        let mut objects = self.tables().objects.iter().filter(live);
        objects.all(|entry| kind::find(entry.facts().kind).is_some())
    }

    fn take_office(&self) {
        let office = &self.tables().front.recovery;
        let mine = Word::new(HELD, self.me, 0).to_bits();
        let mut found = 0;
        // ORDERING: AcqRel; who held it before has left what it did.
        while let Err(now) =
            office.compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire)
        {
            let holder = Word::from_bits(now).owner();
            let live = self
                .member(holder)
                .live()
                .filter(|live| live.owner == holder);
            let is_alive = live.is_some_and(|live| {
                match PidFd::open(live.pid) {
                    Ok(process) => !process.is_dead(false).unwrap_or(false),
                    // Without a descriptor nothing is known of it.
                    Err(error) => error.errno != Errno::ESRCH,
                }
            });
            found = if now != 0 && !is_alive { now } else { 0 };
            if now != 0 && is_alive {
                thread::sleep(PAUSE);
            }
        }
    }

    fn leave_office(&self) {
        let mine = Word::new(HELD, self.me, 0).to_bits();
        // ORDERING: Release; pairs with `take_office`.
        let _ = self.tables().front.recovery.compare_exchange(
            mine,
            0,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }

    fn sweep(&self, inner: &Arc<Inner>, dead: Owner) {
        let tables = self.tables();
        self.space().unlock_for(dead);
        tables.front.allocators.forget(dead);
        self.wake_all(&tables.front.allocators);
        let mut named = Vec::new();
        for (index, entry) in (0..).zip(&tables.objects) {
            match entry.stage() {
                (Stage::Live, generation) => {
                    if let Ok(seat) = Seat::hold_at(inner, index, generation) {
                        self.recover_object(&seat, dead, &mut named);
                    }
                    if let Some(generation) = entry.release(dead, self.me) {
                        self.end_object(entry, self.me, generation);
                    }
                }
                // Whatever was noted may be of an earlier object: its block is found below.
                (Stage::Making(maker), generation) if maker == dead => {
                    entry.abandon(dead, generation);
                }
                (Stage::Ending(ender), generation)
                    if ender == dead && entry.take_over(dead, self.me) =>
                {
                    self.end_object(entry, self.me, generation);
                }
                _ => {}
            }
        }
        self.recover_blocks(dead, &named);
    }

    fn recover_object(&self, seat: &Seat, dead: Owner, named: &mut Vec<BlockName>) {
        let Some(kind) = kind::find(seat.kind()) else {
            return;
        };
        (kind.recover)(seat, dead);
        // Twice: what moves meanwhile is met in one of its places.
        (kind.blocks)(seat, &mut |name| named.push(name));
        (kind.blocks)(seat, &mut |name| named.push(name));
        named.extend(self.space().name_at(seat.start()));
    }

    /// Blocks that the dead had taken: those that stand somewhere stay there.
    fn recover_blocks(&self, dead: Owner, named: &[BlockName]) {
        let allocators = &self.tables().front.allocators;
        self.block(allocators, None, || {
            self.space().try_lock(self.me).then_some(())
        });
        let theirs = self.space().of(dead);
        self.space().unlock(self.me);
        self.wake_one(allocators);
        for block in theirs {
            match named.contains(&block) {
                true => self.space().hand_over(block, None),
                false => self.space().free(block),
            }
        }
    }

    /// Frees an object that nobody holds, with all its blocks; it is this member's to end.
    pub(super) fn end_object(&self, entry: &Entry, me: Owner, generation: u32) {
        let facts = entry.facts();
        if let (Some(inner), Some(kind)) = (
            self.inner.get().and_then(Weak::upgrade),
            kind::find(facts.kind),
        ) {
            let seat = Seat::ending(&inner, facts);
            (kind.blocks)(&seat, &mut |name| self.space().free(name));
        }
        if let Some(block) = self.space().name_at(facts.at) {
            self.space().free(block);
        }
        entry.free(me, generation);
    }
}
