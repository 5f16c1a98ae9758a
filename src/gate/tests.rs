//! The words on their own, one step at a time.

mod barriers;

use super::*;
use crate::memory::owner::Owner;
use crate::primitive::atomic::Ordering;

#[test]
fn an_event_lets_through_whoever_waited_when_it_was_set() {
    let event = EventWord::new();
    let before = event.now();
    assert!(!event.is_set() && !event.has_passed(before));
    event.set();
    event.set();
    assert!(event.is_set() && event.has_passed(before));
    assert!(event.has_passed(event.now()));
    event.clear();
    event.clear();
    assert!(!event.is_set());
    assert!(event.has_passed(before), "it was set in between");
    assert!(!event.has_passed(event.now()));
}

#[test]
fn an_event_that_is_set_lets_through_who_looks_after_the_clear() {
    let event = EventWord::new();
    for _ in 0..2 {
        event.set();
        let asked = event.now();
        event.clear();
        assert!(event.has_passed(asked), "it was set when it was asked for");
        let asked = event.now();
        assert!(!event.has_passed(asked));
        event.set();
        event.set();
        event.clear();
        assert!(event.has_passed(asked));
    }
}

struct Memory {
    head: PermitHead,
    accounts: Vec<Account>,
}

impl Memory {
    fn new(permits: u32, limit: u32) -> Self {
        let head = PermitHead::new(permits, limit);
        let accounts = (0..3).map(|_| Account::new()).collect();
        Self { head, accounts }
    }

    fn permits(&self) -> Permits<'_> {
        Permits::new(&self.head, &self.accounts)
    }
}

/// Any numbers, always the same.
fn random() -> impl FnMut() -> u64 {
    let mut random = 1_u64;
    move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    }
}

fn member(index: u16) -> Owner {
    Owner::new(index, 7)
}

#[test]
fn permits_go_from_hand_to_hand() {
    let memory = Memory::new(3, 5);
    let permits = memory.permits();
    let (one, two) = (member(0), member(1));
    assert_eq!(permits.make(one, Change::Take, 2), Made::Done);
    assert_eq!(permits.make(two, Change::Take, 2), Made::TooFew);
    assert_eq!(permits.make(two, Change::Take, 1), Made::Done);
    assert_eq!(
        (permits.free(), permits.held(one), permits.held(two)),
        (0, 2, 1)
    );
    // Five may be: two more.
    assert_eq!(permits.make(two, Change::Add, 3), Made::TooMany);
    assert_eq!(permits.make(two, Change::Add, 2), Made::Done);
    assert_eq!(permits.make(two, Change::Add, 1), Made::TooMany);
    assert_eq!(permits.make(one, Change::Forget, 1), Made::Done);
    assert_eq!(permits.make(two, Change::Add, 1), Made::Done);
    assert_eq!(permits.make(one, Change::Give, 1), Made::Done);
    assert_eq!(
        (permits.free(), permits.held(one), permits.held(two)),
        (4, 0, 1)
    );
    permits.recover(two);
    permits.recover(two);
    assert_eq!((permits.free(), permits.held(two)), (5, 0));
}

#[test]
fn whoever_is_first_in_line_is_not_overtaken() {
    let memory = Memory::new(2, 5);
    let permits = memory.permits();
    let (one, two) = (member(0), member(1));
    assert_eq!(permits.enter(one, 8, 3), Entered::First);
    assert_eq!(permits.enter(one, 9, 1), Entered::Behind);
    assert_eq!(permits.enter(two, 8, 1), Entered::Behind);
    assert_eq!(permits.take_at_once(two, 1), Made::TooFew);
    // Not who is behind.
    permits.leave(one, 9);
    permits.leave(two, 8);
    assert!(permits.has_first());
    permits.leave(one, 8);
    assert_eq!(permits.enter(two, 8, 1), Entered::Got);
    assert_eq!(permits.enter(one, 9, 2), Entered::First);
    permits.recover(two);
    assert!(permits.has_first());
    permits.recover(one);
    assert_eq!(permits.take_at_once(two, 2), Made::Done);
}

#[test]
fn turns_may_overflow() {
    let mut memory = Memory::new(3, 3);
    memory.head = PermitHead::starting_at(u32::MAX - 3, 3, 3);
    memory.accounts = (0..3).map(|_| Account::starting_at(u32::MAX - 3)).collect();
    let permits = memory.permits();
    for _ in 0..10 {
        assert_eq!(permits.make(member(2), Change::Take, 2), Made::Done);
        assert_eq!(permits.held(member(2)), 2);
        assert_eq!(permits.make(member(2), Change::Give, 2), Made::Done);
    }
    assert_eq!((permits.free(), permits.held(member(2))), (3, 0));
}

#[test]
fn wild_words_make_no_permit_call_panic_or_hang() {
    let mut next = random();
    for _ in 0..2000 {
        let memory = Memory::new(3, 5);
        memory.scribble(&mut next);
        let permits = memory.permits();
        let _ = permits.enter(member(0), 1, 2);
        permits.leave(member(0), 1);
        for change in [Change::Take, Change::Give, Change::Forget, Change::Add] {
            let _ = permits.make(member(1), change, 3);
        }
        permits.recover(member(1));
        let _ = permits.held(member(1));
    }
}

impl Memory {
    /// Random bits in any of the words.
    fn scribble(&self, next: &mut impl FnMut() -> u64) {
        let accounts = self.accounts.iter().flat_map(Account::words);
        for word in self.head.words().into_iter().chain(accounts) {
            if next().is_multiple_of(2) {
                word.store(next(), Ordering::Relaxed);
            }
        }
    }
}
