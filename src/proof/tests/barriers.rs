//! The barrier's paths: a process killed at every instruction of arriving, leading, leaving and
//! withdrawing. Whatever it was at, nobody waits for it, and the barrier can be used again.

use super::sweep::VICTIM;
use super::tracee::Tracee;
use super::walk::{Checked, Shared, Walk};
use crate::gate::{Arrival, BarrierHead, Party, Rounds, Spot, Stand};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU64, Ordering};

const SURVIVOR: Owner = Owner::new(1, 0);
const PARTIES: usize = 3;

#[repr(C)]
struct Words {
    head: BarrierHead,
    spots: [Spot; PARTIES],
    /// The victim says that it waits, or was let through.
    said: AtomicU64,
}

const CAME: u64 = 1;
const THROUGH: u64 = 2;

impl Words {
    fn new() -> Shared<Self> {
        Shared::new(Self {
            head: BarrierHead::new(PARTIES as u32),
            spots: std::array::from_fn(|_| Spot::new()),
            said: AtomicU64::new(0),
        })
    }

    fn rounds(&self) -> Rounds<'_> {
        Rounds::new(&self.head, &self.spots)
    }

    fn wait(&self, me: Owner) -> Option<Party> {
        match self.rounds().arrive(me) {
            Arrival::Waits(party) => Some(party),
            _ => None,
        }
    }

    /// Arrives, and leads if it is the last.
    fn pass(&self, me: Owner) {
        match self.rounds().arrive(me) {
            Arrival::Leads(party) => {
                self.say(CAME);
                if self.rounds().trip(party) {
                    self.say(THROUGH);
                }
                self.rounds().leave(me, party);
            }
            Arrival::Waits(_) => self.say(CAME),
            Arrival::Full | Arrival::Broken => {}
        }
    }

    fn say(&self, what: u64) {
        self.said.fetch_or(what, Ordering::Relaxed);
    }

    fn said(&self, what: u64) -> bool {
        self.said.load(Ordering::Relaxed) & what != 0
    }

    fn recover(&self) {
        // Who recovers first may die, too.
        self.rounds().recover(VICTIM);
        self.rounds().recover(VICTIM);
    }

    /// After a reset all are let through, once those who waited have left.
    fn is_whole(&self, waited: &[Party]) -> Checked {
        for &party in waited {
            if self.rounds().stand(party) == Stand::Open {
                return Err("somebody waits for the dead".into());
            }
            self.rounds().leave(SURVIVOR, party);
        }
        if !self.spots.iter().all(Spot::is_free) {
            return Err("a place is taken".into());
        }
        self.rounds().reset();
        for _ in 1..PARTIES {
            if self.wait(SURVIVOR).is_none() {
                return Err("one of the next round finds no place".into());
            }
        }
        match self.rounds().arrive(SURVIVOR) {
            Arrival::Leads(party) if self.rounds().trip(party) => Ok(()),
            other => Err(format!("the last one of the next round: {other:?}")),
        }
    }
}

fn nothing(_: &Words) {}

#[test]
fn a_party_that_arrives_dies() {
    let words = Words::new();
    let other = words.get().wait(SURVIVOR).expect("a place");
    let walk = Walk {
        name: "arrive",
        floor: 150,
        words: &words,
        death: &|words, _| {
            words.recover();
            let is_open = words.rounds().stand(other) == Stand::Open;
            if is_open && (words.said(CAME) || words.rounds().arrived() != 1) {
                return Err("it had come, and the barrier is whole".into());
            }
            if is_open {
                // It had not begun to come, and the others give up.
                words.rounds().abort();
            }
            words.is_whole(&[other])
        },
        meanwhile: &nothing,
        living: &|words| match words.rounds().arrived() {
            2 if words.said(CAME) => Ok(()),
            arrived => Err(format!("{arrived} have arrived")),
        },
    };
    walk.holds(|words| words.pass(VICTIM));
}

#[test]
fn a_leader_dies() {
    let words = Words::new();
    let others = [(); 2].map(|()| words.get().wait(SURVIVOR).expect("a place"));
    let walk = Walk {
        name: "lead",
        floor: 250,
        words: &words,
        death: &|words, _| {
            words.recover();
            match words.rounds().stand(others[0]) {
                // It had not begun to come.
                Stand::Open if words.said(CAME) => return Err("it is waited for".into()),
                Stand::Open => words.rounds().abort(),
                Stand::Broken if words.said(THROUGH) => {
                    return Err("a round that was complete is broken".into());
                }
                Stand::Broken | Stand::Complete => {}
            }
            words.is_whole(&others)
        },
        meanwhile: &nothing,
        living: &|words| match words.rounds().stand(others[1]) {
            Stand::Complete if words.said(THROUGH) => words.is_whole(&others),
            other => Err(format!("the round is {other:?}")),
        },
    };
    walk.holds(|words| words.pass(VICTIM));
}

#[test]
fn a_leader_dies_while_another_gives_up() {
    let words = Words::new();
    let others = [(); 2].map(|()| words.get().wait(SURVIVOR).expect("a place"));
    let walk = Walk {
        name: "lead, while others time out",
        floor: 250,
        words: &words,
        death: &|words, others_acted| {
            words.recover();
            if !others_acted {
                words.rounds().abort();
            }
            words.is_whole(&others)
        },
        meanwhile: &|words| {
            let _ = words.rounds().give_up(others[0]);
        },
        living: &|words| {
            let stand = words.rounds().stand(others[1]);
            match (stand, words.said(THROUGH)) {
                (Stand::Complete, true) | (Stand::Broken, false) => words.is_whole(&others),
                other => Err(format!("{other:?}")),
            }
        },
    };
    walk.holds(|words| words.pass(VICTIM));
}

#[test]
fn a_party_that_leaves_dies() {
    let words = Words::new();
    let others = [VICTIM, SURVIVOR].map(|who| words.get().wait(who).expect("a place"));
    let Arrival::Leads(leader) = words.get().rounds().arrive(SURVIVOR) else {
        panic!("it is the last");
    };
    assert!(words.get().rounds().trip(leader));
    let walk = Walk {
        name: "leave",
        floor: 20,
        words: &words,
        death: &|words, _| {
            words.recover();
            match words.rounds().is_broken() {
                true => Err("a round that nobody was at is broken".into()),
                false => words.is_whole(&[others[1], leader]),
            }
        },
        meanwhile: &nothing,
        living: &|words| words.is_whole(&[others[1], leader]),
    };
    walk.holds(|words| words.rounds().leave(VICTIM, others[0]));
}

#[test]
fn a_party_that_withdraws_dies() {
    let words = Words::new();
    let ours = words.get().wait(VICTIM).expect("a place");
    let other = words.get().wait(SURVIVOR).expect("a place");
    let walk = Walk {
        name: "withdraw",
        floor: 60,
        words: &words,
        death: &|words, _| {
            words.recover();
            // One that died may have withdrawn before: then the others may go on, and here give up.
            if words.rounds().stand(other) == Stand::Open {
                if words.rounds().arrived() != 1 {
                    return Err("it is counted, and does not come".into());
                }
                words.rounds().abort();
            }
            words.is_whole(&[other])
        },
        meanwhile: &nothing,
        living: &|words| match words.rounds().arrived() {
            1 => Ok(()),
            arrived => Err(format!("{arrived} have arrived")),
        },
    };
    walk.holds(|words| words.rounds().withdraw(VICTIM, ours));
}

/// The wrong way round: a place is given up before the party is counted off.
#[test]
fn a_place_that_is_free_too_early_is_caught() {
    let words = Words::new();
    let ours = words.get().wait(VICTIM).expect("a place");
    let other = words.get().wait(SURVIVOR).expect("a place");
    let walk = Walk {
        name: "withdraw, place first",
        floor: 0,
        words: &words,
        death: &|words, _| {
            words.recover();
            let is_open = words.rounds().stand(other) == Stand::Open;
            match is_open && words.rounds().arrived() != 1 {
                true => Err("it is counted, and does not come".into()),
                false => Ok(()),
            }
        },
        meanwhile: &nothing,
        living: &|_| Ok(()),
    };
    let found = walk.run(|words| {
        words.rounds().leave(VICTIM, ours);
        words.rounds().withdraw(VICTIM, ours);
    });
    if found.is_ok() {
        let is_permitted = Tracee::start(2, || ()).is_ok();
        assert!(!is_permitted, "nothing was wrong anywhere");
    }
}
