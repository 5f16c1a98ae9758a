//! An event beside a flag: a wait ends only if it was set in the meantime, and ends if it was.

use futures_util::FutureExt;
use gristmill::Event;
use proptest::prelude::*;

use super::log::{Call, PROCESSES, Shared};
use super::order::{assert_order, call, has_an_order};
use super::watch::watch;
use super::{Name, block_on, cases, open, plays, region, start};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Do {
    Set,
    Clear,
    Look,
    /// Waits as a task, and says when it had asked.
    Wait,
    /// Waits as a thread.
    Block,
    /// Waits no time.
    Try,
    /// Asks once, and goes away.
    Leave,
}

const TABLE: [Do; 7] = [
    Do::Set,
    Do::Clear,
    Do::Look,
    Do::Wait,
    Do::Block,
    Do::Try,
    Do::Leave,
];

fn play(names: &[Name], who: usize, acts: &[u8]) {
    let (event, log): (Event, _) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, _, aside| match act {
        Do::Set => event.set().map(|()| 0).unwrap(),
        Do::Clear => event.clear().map(|()| 0).unwrap(),
        Do::Look => event.is_set().into(),
        Do::Wait => {
            let wait = event.wait();
            aside.mark();
            block_on(wait).map(|()| 1).unwrap()
        }
        Do::Block => event.wait_blocking().map(|()| 1).unwrap(),
        Do::Try => event
            .wait_timeout(std::time::Duration::ZERO)
            .unwrap()
            .into(),
        Do::Leave => event.wait().now_or_never().is_some().into(),
    });
}

/// A flag.
fn model(is_set: &mut bool, (act, _): &(Do, u64), answer: Option<u64>) -> bool {
    match act {
        Do::Set => *is_set = true,
        Do::Clear => *is_set = false,
        _ => return answer == Some(u64::from(*is_set)),
    }
    true
}

/// Whether somebody waits who was let through: by a set after it had asked.
fn is_owed(waits: &Call<(Do, u64)>, histories: &[Vec<Call<(Do, u64)>>]) -> bool {
    let is_set = |call: &&Call<_>| matches!(call.act, (Do::Set, _)) && call.begun > waits.mark;
    histories.iter().flatten().find(is_set).is_some()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn an_event_lets_through_who_may_pass(plays in plays(&[4, 4, 1, 4, 2, 1, 1])) {
        let region = region();
        let (event, log) = (Event::new(&region).unwrap(), Shared::new(&region));
        let names = [event.handle().words(), log.handle().words()];
        let processes = start(&region, &names, &plays, play);
        let calls = || [0, 1, 2].map(|who: usize| log.calls(who, &TABLE, &plays[who]));
        let mut own = Vec::new();
        watch(&log, &processes, &plays, &TABLE, |at, is_still| {
            let is_asked = |call: &Call<(Do, u64)>| call.act.0 == Do::Block || call.mark > 0;
            let waits = |call: &&Call<(Do, u64)>| matches!(call.act.0, Do::Wait | Do::Block);
            let helps = !event.is_set() && at.iter().all(|call| waits(&call) && is_asked(call)) && {
                let mut histories = calls().to_vec();
                histories.push(own.clone());
                let owed = |call: &Call<_>| call.mark > 0 && is_owed(call, &histories);
                !at.iter().any(owed)
            } && is_still();
            if helps {
                own.push(log.own(Do::Set, || event.set().map(|()| 0).unwrap()));
            }
            helps
        });
        let mut histories = calls().to_vec();
        histories.push(own);
        assert_eq!(histories.len(), PROCESSES + 1);
        assert_order(&histories, false, model);
    }
}

/// The search finds one who was let through for nothing.
#[test]
fn who_passes_while_nothing_is_set_has_no_order() {
    let act = |act, answer, begun, ended| call((act, 0), Some(answer), begun, ended);
    let sets = vec![act(Do::Set, 0, 1, 2), act(Do::Clear, 0, 5, 6)];
    for (begun, ended, may_pass) in [(3, 4, true), (4, 8, true), (7, 8, false)] {
        let waits = vec![act(Do::Wait, 1, begun, ended)];
        let histories = [sets.clone(), waits];
        assert_eq!(has_an_order(&histories, false, model), may_pass);
    }
}
