//! Whether calls that went on at once can have happened one after the other.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use super::log::Call;

/// Whether there is an order of all calls, in which none comes before one that had ended when it
/// began, and `step` finds each answer to be what the model gives. A call whose process died may
/// have happened or not, and has no answer. (Wing and Gong's search; each state is looked at once.)
pub(crate) fn has_an_order<A, S: Clone + Eq + Hash>(
    histories: &[Vec<Call<A>>],
    start: S,
    step: impl Fn(&mut S, &A, Option<u64>) -> bool,
) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(vec![0; histories.len()], start)];
    while let Some((at, state)) = open.pop() {
        let next = || {
            let all = histories.iter().zip(&at).enumerate();
            all.filter_map(|(who, (history, &at))| Some((who, history.get(at)?)))
        };
        let ends_first = next().map(|(_, call)| call.ended).min();
        let ends_first = ends_first.unwrap_or(u64::MAX);
        if ends_first == u64::MAX {
            return true;
        }
        for (who, call) in next().filter(|(_, call)| call.begun < ends_first) {
            let (mut at, mut state) = (at.clone(), state.clone());
            at[who] += 1;
            if step(&mut state, &call.act, call.answer) && seen.insert((at.clone(), state.clone()))
            {
                open.push((at, state));
            }
        }
    }
    false
}

pub(crate) fn assert_order<A: Debug, S: Clone + Eq + Hash>(
    histories: &[Vec<Call<A>>],
    start: S,
    step: impl Fn(&mut S, &A, Option<u64>) -> bool,
) {
    let is_legal = has_an_order(histories, start, step);
    assert!(is_legal, "no order: {histories:#?}");
}

/// A call for the tests of the tests.
pub(crate) fn call<A>(act: A, answer: Option<u64>, begun: u64, ended: u64) -> Call<A> {
    Call {
        act,
        begun,
        mark: 0,
        seen: 0,
        answer,
        ended,
    }
}

/// A number that is set, or asked for.
fn number(state: &mut u64, act: &Option<u64>, answer: Option<u64>) -> bool {
    match *act {
        Some(to) => {
            *state = to;
            true
        }
        None => answer == Some(*state),
    }
}

#[test]
fn an_answer_is_right_only_in_its_time() {
    let set = call(Some(7), Some(0), 1, 4);
    for (begun, ended, answer, is_right) in [
        (2, 3, 0, true),
        (2, 3, 7, true),
        (2, 3, 8, false),
        (5, 6, 7, true),
        (5, 6, 0, false),
        (0, 6, 0, true),
    ] {
        let get = call(None, Some(answer), begun, ended);
        let histories = [vec![set], vec![get]];
        assert_eq!(has_an_order(&histories, 0, number), is_right, "{get:?}");
    }
}

#[test]
fn what_the_dead_began_has_happened_for_all_or_for_nobody() {
    let pending = call(Some(7), None, 1, u64::MAX);
    let gets = |answers: [u64; 2]| {
        let [one, other] = answers;
        vec![call(None, Some(one), 2, 3), call(None, Some(other), 4, 5)]
    };
    for (answers, is_right) in [
        ([0, 0], true),
        ([0, 7], true),
        ([7, 7], true),
        ([7, 0], false),
    ] {
        let histories = [vec![pending], gets(answers)];
        assert_eq!(has_an_order(&histories, 0, number), is_right, "{answers:?}");
    }
}
