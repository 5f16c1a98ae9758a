//! A condition variable beside a count: nobody waits while there is what it waits for, and what is
//! taken was there.

use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{Condvar, Mutex, MutexGuard};
use proptest::prelude::*;

use super::log::{Aside, Call, PROCESSES, Shared};
use super::order::call;
use super::watch::watch;
use super::{Name, block_on, cases, open, plays, region, start};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Do {
    /// Puts one token, and tells one.
    Put,
    /// Puts two, and tells all.
    PutTwo,
    /// Takes one, as a thread that waits for it.
    Take,
    /// The same as a task.
    Await,
    /// The same, unless it takes too long.
    Hurry,
    /// The same, but goes away.
    Leave,
    /// Begins the next phase, and tells all.
    Next,
    /// Waits for the next phase.
    UntilNext,
}

const TABLE: [Do; 8] = [
    Do::Put,
    Do::PutTwo,
    Do::Take,
    Do::Await,
    Do::Hurry,
    Do::Leave,
    Do::Next,
    Do::UntilNext,
];

/// Nothing was taken.
const NONE: u64 = u64::MAX;

/// The tokens, the phase, and the complement of both: never seen half written.
type Data = [u64; 4];

struct Objects {
    data: Mutex<Data>,
    more: Condvar,
    next: Condvar,
}

/// What there is, whole.
fn whole([tokens, phase, other, another]: Data) -> (u64, u64) {
    assert_eq!([other, another], [!tokens, !phase], "half written");
    (tokens, phase)
}

/// Changes it, under the lock, at a moment that is noted.
fn change(data: &mut Data, aside: &Aside<'_>, by: i64, phases: u64) -> u64 {
    let (tokens, phase) = whole(*data);
    let (more, next) = (tokens.wrapping_add_signed(by), phase + phases);
    *data = [more, next, !more, !next];
    aside.mark();
    tokens
}

impl Objects {
    fn take(&self, mut data: MutexGuard<'_, Data>, aside: &Aside<'_>) -> u64 {
        match data[0] {
            // In the end there was none.
            0 => {
                aside.mark();
                NONE
            }
            _ => change(&mut data, aside, -1, 0),
        }
    }

    fn act(&self, act: Do, aside: &Aside<'_>) -> u64 {
        let Self { data, more, next } = self;
        let lock = || data.lock_blocking().unwrap();
        let is_none = |data: &mut Data| whole(*data).0 == 0;
        match act {
            Do::Put | Do::PutTwo => {
                let count = if act == Do::Put { 1 } else { 2 };
                let found = change(&mut lock(), aside, count, 0);
                match act {
                    Do::Put => more.notify_one().unwrap(),
                    _ => more.notify_all().unwrap(),
                }
                found
            }
            Do::Take => self.take(more.wait_while_blocking(lock(), is_none).unwrap(), aside),
            Do::Await => block_on(async {
                let guard = data.lock().await.unwrap();
                self.take(more.wait_while(guard, is_none).await.unwrap(), aside)
            }),
            Do::Hurry => {
                let moment = Duration::from_micros(50);
                let (guard, _) = more.wait_while_timeout(lock(), moment, is_none).unwrap();
                self.take(guard, aside)
            }
            Do::Leave => {
                let wait = more.wait_while(lock(), is_none).now_or_never();
                wait.map_or(NONE, |guard| self.take(guard.unwrap(), aside))
            }
            Do::Next => {
                let found = change(&mut lock(), aside, 0, 1);
                next.notify_all().unwrap();
                found
            }
            Do::UntilNext => {
                let guard = lock();
                let (_, phase) = whole(*guard);
                aside.saw(phase + 1);
                let is_this = |data: &mut Data| whole(*data).1 == phase;
                let mut guard = next.wait_while_blocking(guard, is_this).unwrap();
                change(&mut guard, aside, 0, 0)
            }
        }
    }
}

/// By the order in which they had the lock; what is wrong, if anything.
fn fault(mut calls: Vec<Call<(Do, u64)>>) -> Option<String> {
    calls.sort_by_key(|call| call.mark);
    let (mut tokens, mut phase) = (0_u64, 0);
    for call in calls {
        let wrong = |what: &str| Some(format!("{what} at {tokens}, {phase}: {call:?}"));
        if call.mark == 0 {
            match (call.act.0, call.answer) {
                (Do::Leave, Some(NONE)) => continue,
                _ => return wrong("it never had the lock"),
            }
        }
        if call.answer == Some(NONE) {
            match (call.act.0, tokens) {
                (Do::Hurry, 0) => continue,
                _ => return wrong("it found none, and ought to wait or to take one"),
            }
        }
        if call.answer != Some(tokens) {
            return wrong("another number");
        }
        match call.act.0 {
            Do::Put => tokens += 1,
            Do::PutTwo => tokens += 2,
            Do::Next => phase += 1,
            Do::UntilNext if call.seen > phase => return wrong("before the next phase"),
            Do::UntilNext => {}
            _ if tokens == 0 => return wrong("it took one where there was none"),
            _ => tokens -= 1,
        }
    }
    None
}

fn play(names: &[Name], who: usize, acts: &[u8]) {
    let objects = Objects {
        data: open(names[0]),
        more: open(names[1]),
        next: open(names[2]),
    };
    let log = Shared::open(names[3]);
    log.run(who, &TABLE, acts, |act, _, aside| objects.act(act, aside));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn nobody_waits_for_what_is_there(plays in plays(&[5, 1, 3, 3, 1, 1, 2, 2])) {
        let region = region();
        let objects = Objects {
            data: Mutex::new(&region, [0, 0, !0, !0]).unwrap(),
            more: Condvar::new(&region).unwrap(),
            next: Condvar::new(&region).unwrap(),
        };
        let Objects { data, more, next } = &objects;
        let log = Shared::new(&region);
        let handles = (data.handle(), more.handle(), next.handle(), log.handle());
        let names = [
            handles.0.words(),
            handles.1.words(),
            handles.2.words(),
            handles.3.words(),
        ];
        let processes = start(&region, &names, &plays, play);
        let mut own = Vec::new();
        watch(&log, &processes, &plays, &TABLE, |at, is_still| {
            let mut guard = data.lock_blocking().unwrap();
            let (tokens, phase) = whole(*guard);
            let waits = |call: &Call<(Do, u64)>| match call.act.0 {
                Do::Take | Do::Await => tokens == 0,
                Do::UntilNext => call.seen == phase + 1,
                _ => false,
            };
            if !at.iter().all(waits) || !is_still() {
                return false;
            }
            let wants = |act| at.iter().any(|call| call.act.0 == act);
            let act = if wants(Do::UntilNext) { Do::Next } else { Do::Put };
            let (by, phases) = if act == Do::Put { (1, 0) } else { (0, 1) };
            let begun = log.tick();
            let (more_tokens, next_phase) = (tokens + by, phase + phases);
            *guard = [more_tokens, next_phase, !more_tokens, !next_phase];
            let mut ours = call((act, 0), Some(tokens), begun, u64::MAX);
            ours.mark = log.tick();
            drop(guard);
            match act {
                Do::Put => more.notify_one().unwrap(),
                _ => next.notify_all().unwrap(),
            }
            ours.ended = log.tick();
            own.push(ours);
            true
        });
        let all = (0..PROCESSES).flat_map(|who| log.calls(who, &TABLE, &plays[who]));
        let calls: Vec<_> = all.chain(own).collect();
        assert_eq!(fault(calls.clone()), None, "{calls:#?}");
    }
}

/// The judge finds each thing that could be wrong.
#[test]
fn what_was_not_there_is_found() {
    let act = |act, answer, mark| {
        let mut call = call((act, 0), Some(answer), mark - 1, mark + 1);
        call.mark = mark;
        call
    };
    let is_wrong = |calls: &[Call<(Do, u64)>], what: &str| {
        let found = fault(calls.to_vec());
        assert!(
            found.as_ref().is_some_and(|found| found.contains(what)),
            "{found:?}"
        );
    };
    let (put, take) = (act(Do::Put, 0, 2), act(Do::Take, 1, 4));
    assert_eq!(fault(vec![take, put]), None);
    is_wrong(&[act(Do::Take, 0, 2)], "where there was none");
    is_wrong(&[put, act(Do::Take, 0, 4)], "another number");
    is_wrong(&[put, act(Do::Hurry, NONE, 4)], "ought to");
    let mut early = act(Do::UntilNext, 0, 2);
    early.seen = 1;
    is_wrong(&[early], "before the next phase");
    early.mark = 0;
    is_wrong(&[early], "never had the lock");
}
