//! Permits: how many are free, and who has the others.
//!
//! ```text
//! word     63    40 39      32 31        0
//!          [ free ][  member  ][   turn   ]      the truth about the last transition
//! tally    63             32 31        0
//!          [    count      ][   turn   ]         how many a member has; how many there are in all
//! note     63  60 59      32 31        0
//!          [ kind ][  count  ][   turn   ]       what a member is about to do; 0: nothing
//! ```
//! A transition changes what is free and a tally, which are two words. So it is noted first, then
//! the exchange of `word` makes it true and names the note, and whoever comes next carries it out
//! in the tally before anything else happens. A tally says up to which turn it was carried, so that
//! it is done once, by whomever.
//!
//! ```text
//! who makes one   note claimed | note | word (linearises) | tallies | note free
//! who comes next  word | note: of this turn? | tally: before it? | word: still? | tally
//! recover         as who comes next; then what the dead has is given back by a note of the dead's
//! ```
//! A member has one note, so its threads make their transitions one after another, of a few
//! instructions each; no process waits for another.
//!
//! Who finds too few permits may be *first in line*, by a word that names it: nobody else is given
//! any until it has what it wants, or leaves.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

/// How many permits there can be.
pub(crate) const MOST: u32 = (1 << 24) - 1;

const COUNT_BITS: u32 = 28;
const FIRST: u8 = 1;

/// One transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Change {
    /// Free ones become the member's.
    Take = 1,
    /// The member's become free.
    Give = 2,
    /// The member's are no more.
    Forget = 3,
    /// New ones become free.
    Add = 4,
}

/// What became of an attempt at one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Made {
    Done,
    /// Not so many are free.
    TooFew,
    /// There would be more than there may be.
    TooMany,
    /// Another thread of this process is at one: yield, and try again.
    Busy,
}

/// Where who wants permits stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Entered {
    Got,
    /// First in line.
    First,
    /// Behind who is first in line.
    Behind,
    /// As for [`Made`].
    Busy,
}

/// The words that all members share.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PermitHead {
    word: AtomicU64,
    unused: [u64; 7],
    /// Tally of the permits that there are, free or not.
    total: AtomicU64,
    /// How many there may be; never written again.
    limit: AtomicU64,
    /// Who is first in line.
    line: AtomicU64,
    unused_too: [u64; 5],
}

/// The words of one member.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Account {
    held: AtomicU64,
    note: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<PermitHead>() == 128 && size_of::<Account>() == 16);

/// All of them, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permits<'a> {
    head: &'a PermitHead,
    /// One for each member; not empty.
    accounts: &'a [Account],
}

impl PermitHead {
    /// So many free permits, of so many that there may be.
    pub(crate) fn new(permits: u32, limit: u32) -> Self {
        Self::starting_at(0, permits, limit)
    }

    /// The same, after so many turns: for tests of what overflows.
    pub(super) fn starting_at(turn: u32, permits: u32, limit: u32) -> Self {
        Self {
            word: AtomicU64::new(Central::new(permits, 0, turn).0),
            unused: [0; 7],
            total: AtomicU64::new(Tally::new(permits, turn).0),
            limit: AtomicU64::new(limit.into()),
            line: AtomicU64::new(0),
            unused_too: [0; 5],
        }
    }
}

impl Account {
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    pub(super) fn starting_at(turn: u32) -> Self {
        Self {
            held: AtomicU64::new(Tally::new(0, turn).0),
            note: AtomicU64::new(Note::NONE.0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Central(u64);

impl Central {
    fn new(free: u32, member: u8, turn: u32) -> Self {
        Self(u64::from(free) << 40 | u64::from(member) << 32 | u64::from(turn))
    }

    fn free(self) -> u32 {
        (self.0 >> 40) as u32
    }

    fn member(self) -> usize {
        usize::from((self.0 >> 32) as u8)
    }

    fn turn(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Clone, Copy)]
struct Tally(u64);

impl Tally {
    fn new(count: u32, turn: u32) -> Self {
        Self(u64::from(count) << 32 | u64::from(turn))
    }

    fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn turn(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Note(u64);

impl Note {
    const NONE: Self = Self(0);
    /// Claimed by a thread that is about to write it.
    const CLAIMED: Self = Self(u64::MAX << (32 + COUNT_BITS));

    fn new(change: Change, count: u32, turn: u32) -> Self {
        Self((change as u64) << (32 + COUNT_BITS) | u64::from(count) << 32 | u64::from(turn))
    }

    /// `None` for one that says nothing.
    fn change(self) -> Option<Change> {
        match self.0 >> (32 + COUNT_BITS) {
            1 => Some(Change::Take),
            2 => Some(Change::Give),
            3 => Some(Change::Forget),
            4 => Some(Change::Add),
            _ => None,
        }
    }

    fn count(self) -> u32 {
        (self.0 >> 32) as u32 & ((1 << COUNT_BITS) - 1)
    }

    fn turn(self) -> u32 {
        self.0 as u32
    }
}

impl<'a> Permits<'a> {
    pub(crate) fn new(head: &'a PermitHead, accounts: &'a [Account]) -> Self {
        debug_assert!(!accounts.is_empty());
        Self { head, accounts }
    }

    fn load(&self) -> Central {
        // ORDERING: G2, Acquire; what was noted before the exchange is seen, and what was done
        // before a permit became free. Pairs with `make_noted`.
        Central(self.head.word.load(Ordering::Acquire))
    }

    fn account(&self, index: usize) -> &'a Account {
        &self.accounts[index % self.accounts.len()]
    }

    /// How many are free.
    pub(crate) fn free(&self) -> u32 {
        self.load().free()
    }

    /// How many there may be.
    pub(crate) fn limit(&self) -> u32 {
        // ORDERING: Relaxed; never written again.
        self.head.limit.load(Ordering::Relaxed) as u32
    }

    /// How many this member has, as far as a look tells.
    #[cfg(test)]
    pub(crate) fn held(&self, member: Owner) -> u32 {
        self.settle();
        let account = self.account(member.index().into());
        // ORDERING: Relaxed; a look.
        Tally(account.held.load(Ordering::Relaxed)).count()
    }

    /// How many there are, free or not.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u32 {
        self.settle();
        Tally(self.head.total.load(Ordering::Relaxed)).count()
    }

    /// Makes one transition for a process.
    pub(crate) fn make(&self, me: Owner, change: Change, count: u32) -> Made {
        if change == Change::Take && self.load().free() < count {
            return Made::TooFew;
        }
        let account = self.account(me.index().into());
        // ORDERING: Relaxed; whatever the thread before did with the note, settling sees: it looks
        // at this note or at a later one, by Acquire, and a claim continues what `let_go` released.
        let claimed = account.note.compare_exchange(
            Note::NONE.0,
            Note::CLAIMED.0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if claimed.is_err() {
            return Made::Busy;
        }
        let made = self.make_noted(me, account, change, count);
        account.let_go();
        made
    }

    /// Makes it by a note that is the caller's.
    fn make_noted(&self, me: Owner, account: &Account, change: Change, count: u32) -> Made {
        loop {
            let now = self.settle();
            let free = match change {
                Change::Take => match now.free().checked_sub(count) {
                    Some(free) => free,
                    None => return Made::TooFew,
                },
                Change::Forget => now.free(),
                Change::Give => now.free().saturating_add(count).min(MOST),
                Change::Add => {
                    // ORDERING: Relaxed; settled, and if it changes meanwhile, so does the word.
                    let total = Tally(self.head.total.load(Ordering::Relaxed)).count();
                    if u64::from(total) + u64::from(count) > u64::from(self.limit()) {
                        return Made::TooMany;
                    }
                    now.free().saturating_add(count).min(MOST)
                }
            };
            let turn = now.turn().wrapping_add(1);
            let note = Note::new(change, count, turn);
            // ORDERING: G3, Release; whoever finds it in place of the note before sees the tallies
            // that settling has brought up. (The exchange publishes what it says.) Model:
            // a_later_note_says_that_the_one_before_was_carried_out.
            account.note.store(note.0, Ordering::Release);
            let next = Central::new(free, me.index() as u8, turn);
            // ORDERING: G2, Release; publishes the note, and what was done before a permit became
            // free to whoever takes it, who has loaded the same word by Acquire. Models:
            // permits_publish, nothing_is_lost_between_two.
            let exchanged = self.head.word.compare_exchange(
                now.0,
                next.0,
                Ordering::Release,
                Ordering::Relaxed,
            );
            if exchanged.is_ok() {
                // If the word has moved on, somebody else has carried it out.
                let _ = self.carry_out(next);
                return Made::Done;
            }
        }
    }

    /// The word, once all that it says was carried out.
    fn settle(&self) -> Central {
        loop {
            let now = self.load();
            if self.carry_out(now) {
                return now;
            }
        }
    }

    /// Carries out what the word said; false if it says something else by now.
    fn carry_out(&self, now: Central) -> bool {
        let account = self.account(now.member());
        // ORDERING: G3, Acquire; if it is of another turn, the tallies were written before it was
        // let go of (`let_go`), or written over (`make_noted`).
        let note = Note(account.note.load(Ordering::Acquire));
        let Some(change) = note.change().filter(|_| note.turn() == now.turn()) else {
            return true;
        };
        let count = note.count();
        match change {
            Change::Take => self.carry(&account.held, now, |held| held.wrapping_add(count)),
            Change::Give => self.carry(&account.held, now, |held| held.wrapping_sub(count)),
            Change::Forget => {
                self.carry(&account.held, now, |held| held.wrapping_sub(count))
                    && self.carry(&self.head.total, now, |total| total.wrapping_sub(count))
            }
            Change::Add => self.carry(&self.head.total, now, |total| total.wrapping_add(count)),
        }
    }

    /// Brings a tally up to the word's turn; false if the word has moved on.
    fn carry(&self, tally: &AtomicU64, now: Central, change: impl FnOnce(u32) -> u32) -> bool {
        // ORDERING: G4, Acquire; if it is of a later turn, the word is seen to have moved on.
        let found = Tally(tally.load(Ordering::Acquire));
        if found.turn() == now.turn() {
            return true;
        }
        if self.load() != now {
            return false;
        }
        let then = Tally::new(change(found.count()), now.turn());
        // ORDERING: G4, Release; pairs with the load above. If it fails, somebody else has done it.
        let _ = tally.compare_exchange(found.0, then.0, Ordering::Release, Ordering::Relaxed);
        true
    }

    /// Takes permits, unless somebody is first in line.
    pub(crate) fn take_at_once(&self, me: Owner, count: u32) -> Made {
        match self.has_first() {
            true => Made::TooFew,
            false => self.make(me, Change::Take, count),
        }
    }

    /// Takes permits, or becomes first in line, under a number that is unique in the process.
    pub(crate) fn enter(&self, me: Owner, number: u32, count: u32) -> Entered {
        if self.has_first() {
            return Entered::Behind;
        }
        match self.make(me, Change::Take, count) {
            Made::Done => return Entered::Got,
            Made::Busy => return Entered::Busy,
            Made::TooFew | Made::TooMany => {}
        }
        let mine = Word::new(FIRST, me, number).to_bits();
        // ORDERING: Relaxed; who is first has seen nothing but what it looks at again. A
        // read-modify-write, after which its wait set's fence stands.
        let line = &self.head.line;
        match line.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Entered::First,
            Err(_) => Entered::Behind,
        }
    }

    /// Whether somebody is first in line.
    pub(crate) fn has_first(&self) -> bool {
        // ORDERING: Relaxed; a claim that comes late overtakes one who has just begun to wait.
        let word = Word::from_bits(self.head.line.load(Ordering::Relaxed));
        word.state() == FIRST
    }

    /// First in line no more; wake who is behind.
    pub(crate) fn leave(&self, me: Owner, number: u32) {
        let mine = Word::new(FIRST, me, number).to_bits();
        // ORDERING: Relaxed; nothing is published. A read-modify-write, as the caller's fence
        // wants.
        let line = &self.head.line;
        let _ = line.compare_exchange(mine, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Gives back what a dead process had. One at a time; may be done again.
    pub(crate) fn recover(&self, dead: Owner) {
        self.settle();
        let account = self.account(dead.index().into());
        // What it was about to do is done, or never will be.
        account.let_go();
        // ORDERING: Relaxed; settled, and nobody else changes it.
        let held = Tally(account.held.load(Ordering::Relaxed)).count();
        if held > 0 {
            // A claim is not needed: whoever had the note is dead.
            let _ = self.make_noted(dead, account, Change::Give, held);
            account.let_go();
        }
        // ORDERING: Relaxed; as in `leave`.
        let line = &self.head.line;
        let word = line.load(Ordering::Relaxed);
        let found = Word::from_bits(word);
        if found.state() == FIRST && found.owner() == dead {
            let _ = line.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Account {
    /// Nothing is noted any more.
    fn let_go(&self) {
        // ORDERING: G3, Release; whoever finds it so sees the tallies. Models:
        // the_limit_is_kept_between_two.
        self.note.store(Note::NONE.0, Ordering::Release);
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl PermitHead {
    pub(super) fn words(&self) -> [&AtomicU64; 4] {
        [&self.word, &self.total, &self.limit, &self.line]
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl Account {
    pub(super) fn words(&self) -> [&AtomicU64; 2] {
        [&self.held, &self.note]
    }
}
