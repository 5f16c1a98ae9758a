//! A value and an array beside a number: what is read was written as a whole, and an update sees
//! what the one before has left; also when processes die of it.

use gristmill::{Array, ArrayGuard, ShareError, Value};
use proptest::prelude::*;

use super::log::{Call, PROCESSES, Shared};
use super::order::{assert_order, call, has_an_order};
use super::{Name, block_on, cases, open, plays, region, start};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Do {
    Set,
    Add,
    AddSoon,
    AddNow,
    Get,
}

const TABLE: [Do; 5] = [Do::Set, Do::Add, Do::AddSoon, Do::AddNow, Do::Get];

/// Answers that are no number.
const BUSY: u64 = u64::MAX;
const TORN: u64 = u64::MAX - 1;

/// Long enough to be seen half written.
const LEN: usize = 40;
type Long = [u64; LEN];

fn whole(words: &[u64]) -> u64 {
    match words.iter().all(|word| *word == words[0]) {
        true => words[0],
        false => TORN,
    }
}

/// What becomes of a number: the order of several shows.
fn sum(before: u64, value: u64) -> u64 {
    before.wrapping_mul(37).wrapping_add(value) % (1 << 61)
}

fn busy<T>(outcome: Result<T, ShareError>) -> Option<T> {
    match outcome {
        Ok(answer) => Some(answer),
        Err(ShareError::Busy) => None,
        Err(error) => panic!("{error}"),
    }
}

fn with_value(shared: &Value<Long>, act: Do, value: u64) -> u64 {
    let add = |place: &mut Long| {
        let before = whole(place);
        *place = [sum(before, value); LEN];
        before
    };
    match act {
        Do::Set => shared.set([value; LEN]).map(|()| 0).unwrap(),
        Do::Add => shared.update(add).unwrap(),
        Do::AddSoon => block_on(shared.update_async(add)).unwrap(),
        Do::AddNow => busy(shared.try_update(add)).unwrap_or(BUSY),
        Do::Get => whole(&shared.get().unwrap()),
    }
}

fn with_array(shared: &Array<u64>, act: Do, value: u64) -> u64 {
    let add = |mut guard: ArrayGuard<'_, u64>| {
        let before = whole(&guard);
        // One after the other: whoever had it meanwhile would see it.
        guard.iter_mut().for_each(|word| *word = sum(*word, value));
        before
    };
    match act {
        Do::Set => {
            shared.lock().unwrap().fill(value);
            0
        }
        Do::Add => add(shared.lock().unwrap()),
        Do::AddSoon => add(block_on(shared.lock_async()).unwrap()),
        Do::AddNow => busy(shared.try_lock()).map_or(BUSY, add),
        Do::Get => whole(&shared.lock().unwrap()),
    }
}

/// A number.
fn model(number: &mut u64, &(act, value): &(Do, u64), answer: Option<u64>) -> bool {
    let before = *number;
    match act {
        Do::Set => *number = value,
        Do::Get => {}
        Do::AddNow if answer == Some(BUSY) => return true,
        _ => *number = sum(before, value),
    }
    act == Do::Set || answer.is_none_or(|answer| answer == before)
}

/// Whoever was told that it is busy had somebody else to thank for it.
fn assert_busy_with(histories: &[Vec<Call<(Do, u64)>>], reads_are_busy: bool) {
    for (who, history) in histories.iter().enumerate() {
        for call in history.iter().filter(|call| call.answer == Some(BUSY)) {
            let others = histories.iter().enumerate().filter(|(at, _)| *at != who);
            let holds = |other: &Call<(Do, u64)>| {
                (reads_are_busy || other.act.0 != Do::Get) && other.overlaps(call)
            };
            let has_reason = others.flat_map(|(_, history)| history).any(holds);
            assert!(has_reason, "nobody had it: {call:?} in {histories:#?}");
        }
    }
}

fn play_value(names: &[Name], who: usize, acts: &[u8]) {
    let (shared, log) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, value, _| {
        with_value(&shared, act, value)
    });
}

fn play_array(names: &[Name], who: usize, acts: &[u8]) {
    let (shared, log) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, value, _| {
        with_array(&shared, act, value)
    });
}

/// Plays, and kills the first process when so many things have happened.
fn check(plays: &[Vec<u8>; PROCESSES], kill_at: Option<u64>, is_array: bool) {
    let region = region();
    let log = Shared::new(&region);
    let value = Value::new(&region, [0; LEN]).unwrap();
    let array = Array::new(&region, &[0; LEN]).unwrap();
    let object = match is_array {
        true => array.handle().words(),
        false => value.handle().words(),
    };
    let names = [object, log.handle().words()];
    let processes = match is_array {
        true => start(&region, &names, plays, play_array),
        false => start(&region, &names, plays, play_value),
    };
    if let Some(moment) = kill_at {
        while log.now() < moment && processes[0].is_alive() {
            std::hint::spin_loop();
        }
        processes[0].kill().unwrap();
    }
    for (who, process) in processes.iter().enumerate() {
        let ended = process.wait();
        assert!(
            ended.is_ok() || (kill_at.is_some() && who == 0),
            "{ended:?}"
        );
    }
    let histories = [0, 1, 2].map(|who: usize| log.calls(who, &TABLE, &plays[who]));
    let mut all = histories.to_vec();
    // What is there in the end, after everything else.
    let get = || match is_array {
        true => with_array(&array, Do::Get, 0),
        false => with_value(&value, Do::Get, 0),
    };
    all.push(vec![log.own(Do::Get, get)]);
    assert_order(&all, 0, model);
    assert_busy_with(&histories, is_array);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_value_is_one_number_for_all(plays in plays(&[2, 3, 1, 2, 4])) {
        check(&plays, None, false);
    }

    #[test]
    fn a_value_of_the_dead_is_what_it_was_or_what_they_made_of_it(
        plays in plays(&[2, 3, 1, 2, 4]),
        moment in 1_u64..40,
    ) {
        check(&plays, Some(moment), false);
    }

    #[test]
    fn an_array_is_whole_for_whoever_locks_it(plays in plays(&[2, 3, 1, 2, 2])) {
        check(&plays, None, true);
    }
}

/// The search finds a value that is changed in two steps, and an update that was lost.
#[test]
fn an_update_in_two_steps_has_no_order() {
    let region = region();
    for in_two_steps in [false, true] {
        let value = Value::new(&region, [0; LEN]).unwrap();
        let before = whole(&value.get().unwrap());
        // Another one, in between.
        let other = call((Do::Add, 5), Some(with_value(&value, Do::Add, 5)), 2, 3);
        let (answer, begun) = match in_two_steps {
            true => {
                value.set([sum(before, 7); LEN]).unwrap();
                (before, 1)
            }
            false => (with_value(&value, Do::Add, 7), 1),
        };
        let ours = call((Do::Add, 7), Some(answer), begun, 4);
        let last = call((Do::Get, 0), Some(with_value(&value, Do::Get, 0)), 5, 6);
        let histories = [vec![ours], vec![other], vec![last]];
        assert_eq!(has_an_order(&histories, 0, model), !in_two_steps);
    }
    let torn = call((Do::Get, 0), Some(TORN), 1, 2);
    assert!(!has_an_order(&[vec![torn]], 0, model));
}
