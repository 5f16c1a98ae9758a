//! A barrier beside its rounds: each has one leader, and nobody is let through before all have
//! come.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use gristmill::{Barrier, BarrierError, BarrierWait};
use proptest::prelude::*;

use super::log::{Call, Log, Shared};
use super::order::call;
use super::watch::watch;
use super::{Name, block_on, cases, open, plays, region, start};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Do {
    /// Waits as a task.
    Wait,
    /// Waits as a thread.
    Block,
    /// Waits a moment, and breaks it.
    Hurry,
    /// Comes, and goes away unless all have come.
    Leave,
    Abort,
    Reset,
}

const TABLE: [Do; 6] = [
    Do::Wait,
    Do::Block,
    Do::Hurry,
    Do::Leave,
    Do::Abort,
    Do::Reset,
];

const DONE: u64 = 0;
const BROKEN: u64 = 1;
const TIMED_OUT: u64 = 2;
const LEFT: u64 = 3;
/// And those of parties that were let through, by their index and whether they led.
const THROUGH: u64 = 4;

type Wait = Call<(Do, u64)>;

fn outcome(outcome: Result<BarrierWait, BarrierError>) -> u64 {
    match outcome {
        Ok(wait) => THROUGH + 2 * u64::from(wait.index()) + u64::from(wait.is_leader()),
        Err(BarrierError::Broken) => BROKEN,
        Err(BarrierError::TimedOut) => TIMED_OUT,
        Err(error) => panic!("{error}"),
    }
}

fn play(names: &[Name], who: usize, acts: &[u8]) {
    let (barrier, log): (Barrier, _) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, _, aside| {
        let wait = || barrier.wait_with(|| aside.mark());
        match act {
            Do::Wait => outcome(block_on(wait())),
            Do::Block => outcome(wait().wait()),
            Do::Hurry => outcome(wait().wait_timeout(Duration::from_micros(50))),
            Do::Leave => wait().now_or_never().map_or(LEFT, outcome),
            Do::Abort => barrier.abort().map(|()| DONE).unwrap(),
            Do::Reset => barrier.reset().map(|()| DONE).unwrap(),
        }
    });
}

fn index(call: &Wait) -> Option<u64> {
    call.answer?.checked_sub(THROUGH).map(|through| through / 2)
}

fn leads(call: &Wait) -> bool {
    index(call).is_some() && call.answer.is_some_and(|answer| answer & 1 == 1)
}

/// Whether each of `count` can have a partner of its own among `others`.
fn all_have_partners(count: usize, others: usize, fit: &dyn Fn(usize, usize) -> bool) -> bool {
    fn finds(
        one: usize,
        fit: &dyn Fn(usize, usize) -> bool,
        taken: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        for other in 0..taken.len() {
            if tried[other] || !fit(one, other) {
                continue;
            }
            tried[other] = true;
            if taken[other].is_none_or(|before| finds(before, fit, taken, tried)) {
                taken[other] = Some(one);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; others];
    (0..count).all(|one| finds(one, fit, &mut taken, &mut vec![false; others]))
}

/// What is wrong with the rounds, if anything.
fn fault(calls: &[Wait], parties: usize) -> Option<&'static str> {
    let leaders: Vec<_> = calls.iter().filter(|call| leads(call)).collect();
    // The moment at which all of a round are there and nobody has gone is in the leader's action.
    if leaders.iter().any(|leader| leader.mark == 0) {
        return Some("a leader has not acted");
    }
    let others: Vec<_> = calls
        .iter()
        .filter(|call| index(call).is_some() && !leads(call))
        .collect();
    let left = calls.iter().filter(|call| call.answer == Some(LEFT));
    // Whoever left may have been let through.
    let all: Vec<_> = others.iter().copied().chain(left).collect();
    let rounds = leaders.len();
    let seats = rounds * (parties - 1);
    let fits = |seat: usize, call: &Wait| {
        let moment = leaders[seat / (parties - 1)].mark;
        call.begun < moment && moment < call.ended
    };
    // If each seat finds a party, and each party that was let through a seat, then all do at once
    // (Mendelsohn and Dulmage).
    if !all_have_partners(seats, all.len(), &|seat, call| fits(seat, all[call])) {
        return Some("a round was led before all had come");
    }
    if !all_have_partners(others.len(), seats, &|call, seat| fits(seat, others[call])) {
        return Some("somebody went through without a round, or in a round that was full");
    }
    let by_index = |at| calls.iter().filter(|call| index(call) == Some(at)).count();
    if (0..parties as u64).any(|at| by_index(at) > rounds) {
        return Some("two of a round have the same index");
    }
    let broken = calls.iter().filter(|call| call.answer == Some(BROKEN));
    let breaks = || {
        let breaks = |call: &&Wait| call.act.0 == Do::Abort || call.answer == Some(TIMED_OUT);
        calls.iter().filter(breaks)
    };
    let resets = || calls.iter().filter(|call| call.act.0 == Do::Reset);
    for call in broken {
        let was_mended = |cause: &Wait| {
            resets().any(|reset| cause.ended < reset.begun && reset.ended < call.begun)
        };
        let has_cause = breaks().any(|cause| cause.begun < call.ended && !was_mended(cause))
            || resets().any(|reset| reset.overlaps(call));
        if !has_cause {
            return Some("somebody found it broken that nobody had broken");
        }
    }
    None
}

/// Whoever waits lacks others: so many come that a round is complete.
fn complete(barrier: &Barrier, log: &Log, waiting: u32) -> Vec<Wait> {
    let count = barrier.parties() - waiting;
    let marks: Vec<_> = (0..count).map(|_| std::cell::Cell::new(0)).collect();
    let begun: Vec<_> = marks.iter().map(|_| log.tick()).collect();
    let waits = marks
        .iter()
        .map(|mark| barrier.wait_with(|| mark.set(log.tick())));
    let answers = block_on(join_all(waits));
    let all = begun.into_iter().zip(answers).zip(marks);
    all.map(|((begun, answer), mark)| {
        let mut wait = call((Do::Wait, 0), Some(outcome(answer)), begun, log.tick());
        wait.mark = mark.get();
        wait
    })
    .collect()
}

fn check(parties: u32, plays: &[Vec<u8>; 3]) {
    let region = region();
    let barrier = Barrier::new(&region, parties).unwrap();
    let log = Shared::new(&region);
    let names = [barrier.handle().words(), log.handle().words()];
    let processes = start(&region, &names, plays, play);
    let mut calls = Vec::new();
    watch(&log, &processes, plays, &TABLE, |at, is_still| {
        let waits = |call: &Wait| matches!(call.act.0, Do::Wait | Do::Block);
        let waiting = barrier.n_waiting();
        // One that has been let through, or waits at what is broken, must go on by itself.
        let helps = at.iter().all(waits)
            && at.len() == waiting as usize
            && waiting < parties
            && !barrier.is_broken()
            && is_still();
        if helps {
            calls.extend(complete(&barrier, &log, waiting));
        }
        helps
    });
    calls.extend(
        [0, 1, 2]
            .iter()
            .flat_map(|&who| log.calls(who, &TABLE, &plays[who])),
    );
    calls.sort_by_key(|call| call.begun);
    let fault = fault(&calls, parties as usize);
    assert!(fault.is_none(), "{fault:?} of {parties}: {calls:#?}");
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_barrier_lets_through_whole_rounds(
        parties in 2_u32..=3,
        plays in plays(&[4, 4, 0, 1, 0, 0]),
    ) {
        check(parties, &plays);
    }

    #[test]
    fn a_barrier_that_breaks_lets_nobody_wait(
        parties in 2_u32..=3,
        plays in plays(&[4, 4, 2, 1, 1, 3]),
    ) {
        check(parties, &plays);
    }
}

/// The judge finds each thing that could be wrong.
#[test]
fn rounds_that_are_none_are_found() {
    let wait = |answer, begun, mark, ended| {
        let mut wait = call((Do::Wait, 0), Some(answer), begun, ended);
        wait.mark = mark;
        wait
    };
    let (leader, other) = (THROUGH + 3, THROUGH);
    let led = wait(leader, 2, 4, 5);
    let is_wrong = |calls: &[Wait], what: &str| {
        let found = fault(calls, 2);
        assert!(found.is_some_and(|found| found.contains(what)), "{found:?}");
    };
    assert_eq!(fault(&[wait(other, 1, 0, 6), led], 2), None);
    assert_eq!(fault(&[wait(LEFT, 1, 0, 6), led], 2), None);
    is_wrong(&[led], "before all had come");
    is_wrong(&[wait(other, 1, 0, 3), led], "before all had come");
    is_wrong(&[wait(leader, 2, 0, 5)], "has not acted");
    let one = wait(other, 1, 0, 6);
    is_wrong(&[one, one, led], "in a round that was full");
    is_wrong(
        &[wait(LEFT, 1, 0, 6), wait(other, 7, 0, 8), led],
        "without a round",
    );
    is_wrong(&[wait(THROUGH + 2, 1, 0, 6), led], "the same index");
    is_wrong(&[wait(BROKEN, 1, 0, 2)], "nobody had broken");
    let abort = call((Do::Abort, 0), Some(DONE), 1, 2);
    let reset = call((Do::Reset, 0), Some(DONE), 3, 4);
    assert_eq!(fault(&[abort, wait(BROKEN, 3, 0, 4)], 2), None);
    is_wrong(&[abort, reset, wait(BROKEN, 5, 0, 6)], "nobody had broken");
}
