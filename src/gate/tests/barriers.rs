//! A barrier's words, one step at a time.

use super::*;

struct Memory {
    head: BarrierHead,
    spots: Vec<Spot>,
}

impl Memory {
    fn new(parties: u32) -> Self {
        Self {
            head: BarrierHead::new(parties),
            spots: (0..parties).map(|_| Spot::new()).collect(),
        }
    }

    fn rounds(&self) -> Rounds<'_> {
        Rounds::new(&self.head, &self.spots)
    }

    fn wait(&self, me: Owner) -> Party {
        match self.rounds().arrive(me) {
            Arrival::Waits(party) => party,
            other => panic!("{other:?}"),
        }
    }

    fn lead(&self, me: Owner) -> Party {
        match self.rounds().arrive(me) {
            Arrival::Leads(party) => party,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_round_is_complete_when_all_have_come() {
    let memory = Memory::new(3);
    let rounds = memory.rounds();
    for _ in 0..3 {
        let (one, two) = (memory.wait(member(0)), memory.wait(member(0)));
        assert_eq!(rounds.arrived(), 2);
        let three = memory.lead(member(1));
        let mut indices = [one.index, two.index, three.index];
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        assert_eq!(rounds.stand(one), Stand::Open);
        assert_eq!(rounds.arrive(member(2)), Arrival::Full);
        assert!(rounds.trip(three));
        assert!(!rounds.trip(three));
        // The next round takes only as many as have left this one.
        assert_eq!(rounds.arrive(member(2)), Arrival::Full);
        rounds.leave(member(1), three);
        let early = memory.wait(member(2));
        assert_eq!(rounds.arrive(member(2)), Arrival::Full);
        assert_eq!(rounds.stand(one), Stand::Complete);
        assert_eq!(rounds.stand(early), Stand::Open);
        rounds.leave(member(0), one);
        rounds.leave(member(0), two);
        rounds.withdraw(member(2), early);
        assert!(memory.spots.iter().all(Spot::is_free));
    }
}

#[test]
fn a_round_that_was_reset_is_not_taken_for_complete() {
    let memory = Memory::new(2);
    let rounds = memory.rounds();
    let one = memory.wait(member(0));
    rounds.reset();
    assert_eq!(rounds.stand(one), Stand::Broken);
    // Complete, then reset before it came to look.
    rounds.leave(member(0), one);
    let (one, two) = (memory.wait(member(0)), memory.lead(member(1)));
    assert!(rounds.trip(two));
    rounds.reset();
    rounds.abort();
    assert_eq!(rounds.stand(one), Stand::Complete);
    assert!(!rounds.give_up(one));
    assert_eq!(rounds.arrive(member(0)), Arrival::Broken);
    rounds.leave(member(0), one);
    rounds.leave(member(1), two);
    rounds.reset();
    let one = memory.wait(member(0));
    assert!(rounds.give_up(one));
    assert!(rounds.is_broken() && rounds.stand(one) == Stand::Broken);
}

#[test]
fn the_dead_break_their_own_round_only() {
    let memory = Memory::new(2);
    let rounds = memory.rounds();
    let (one, two) = (memory.wait(member(0)), memory.lead(member(1)));
    assert!(rounds.trip(two));
    rounds.recover(member(0));
    rounds.recover(member(0));
    assert!(!rounds.is_broken());
    rounds.leave(member(1), two);
    assert_eq!(rounds.stand(one), Stand::Complete);
    assert!(memory.spots.iter().all(Spot::is_free));
    let two = memory.wait(member(1));
    let one = memory.lead(member(0));
    rounds.recover(member(0));
    assert!(!rounds.trip(one));
    assert_eq!(rounds.stand(two), Stand::Broken);
}

#[test]
fn wild_words_make_no_barrier_call_panic_or_hang() {
    let mut random = random();
    for _ in 0..2000 {
        let memory = Memory::new(3);
        let words = memory.spots.iter().map(Spot::word);
        for word in words.chain([memory.head.word()]) {
            if random().is_multiple_of(2) {
                word.store(random(), Ordering::Relaxed);
            }
        }
        let rounds = memory.rounds();
        if let Arrival::Waits(party) | Arrival::Leads(party) = rounds.arrive(member(0)) {
            let _ = (rounds.stand(party), rounds.trip(party));
            rounds.withdraw(member(0), party);
        }
        rounds.recover(member(1));
        rounds.reset();
        let _ = (rounds.is_broken(), rounds.arrived());
    }
}
