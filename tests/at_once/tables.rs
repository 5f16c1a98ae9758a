//! A map and a list beside the standard library's.

use std::collections::BTreeMap;

use gristmill::{ShareError, SharedList, SharedMap};
use proptest::prelude::*;

use super::log::{PROCESSES, Shared};
use super::order::{assert_order, call, has_an_order};
use super::{Name, cases, open, plays, region, start};

/// Answers that are no value.
const NONE: u64 = u64::MAX;
const TORN: u64 = u64::MAX - 1;

/// A map of these, whose values are long enough to be seen half written.
type Values = SharedMap<u8, Vec<u64>>;
type Numbers = SharedList<Vec<u64>>;

#[derive(Clone, Copy, Debug)]
enum Do {
    Put(u8),
    PutNew(u8),
    Take(u8),
    Get(u8),
    All,
}

const TABLE: [Do; 13] = [
    Do::Put(0),
    Do::Put(1),
    Do::Put(2),
    Do::PutNew(0),
    Do::PutNew(1),
    Do::PutNew(2),
    Do::Take(0),
    Do::Take(1),
    Do::Take(2),
    Do::Get(0),
    Do::Get(1),
    Do::Get(2),
    Do::All,
];

const WEIGHTS: [u32; 13] = [4, 4, 4, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3];

fn long(value: u64) -> Vec<u64> {
    vec![value; 40]
}

/// The value that is in an archive, if it is one.
fn whole<'a>(mut words: impl Iterator<Item = &'a rkyv::rend::u64_le>) -> u64 {
    let first = words.next().map_or(TORN, |word| word.to_native());
    match words.all(|word| word.to_native() == first) {
        true => first,
        false => TORN,
    }
}

/// All values in order, as one.
fn digest(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, |all: u64, value| {
        let next = all.wrapping_mul(41).wrapping_add(value);
        next.wrapping_add(1) % (1 << 61)
    })
}

fn with_map(map: &Values, act: Do, value: u64) -> u64 {
    match act {
        Do::Put(key) => map.insert(&key, &long(value)).unwrap().into(),
        Do::PutNew(key) => map.insert_new(&key, &long(value)).unwrap().into(),
        Do::Take(key) => map.remove(&key).unwrap().into(),
        Do::Get(key) => (map.get(&key).unwrap()).map_or(NONE, |found| whole(found.iter())),
        Do::All => {
            let entries = map.iter().unwrap().map(|entry| {
                let (key, value) = entry.unwrap();
                (*key, whole(value.iter()))
            });
            digest(entries.collect::<BTreeMap<_, _>>().into_values())
        }
    }
}

fn with_model_map(model: &mut BTreeMap<u8, u64>, act: Do, value: u64) -> u64 {
    match act {
        Do::Put(key) => model.insert(key, value).is_some().into(),
        Do::PutNew(key) if model.contains_key(&key) => 0,
        Do::PutNew(key) => model.insert(key, value).is_none().into(),
        Do::Take(key) => model.remove(&key).is_some().into(),
        Do::Get(key) => model.get(&key).map_or(NONE, |&value| value),
        Do::All => digest(model.values().copied()),
    }
}

fn with_list(list: &Numbers, act: Do, value: u64) -> u64 {
    let outcome = |outcome: Result<(), ShareError>| match outcome {
        Ok(()) => 1,
        Err(ShareError::OutOfBounds { .. }) => 0,
        Err(error) => panic!("{error}"),
    };
    match act {
        Do::Put(index) => outcome(list.insert(index.into(), &long(value))),
        Do::PutNew(index) => outcome(list.set(index.into(), &long(value))),
        Do::Take(index) => match list.remove(index.into()) {
            Ok(value) => whole(value.iter()),
            Err(ShareError::OutOfBounds { .. }) => NONE,
            Err(error) => panic!("{error}"),
        },
        Do::Get(index) => {
            let found = list.get(index.into()).unwrap();
            found.map_or(NONE, |found| whole(found.iter()))
        }
        Do::All => digest(list.iter().unwrap().map(|one| whole(one.unwrap().iter()))),
    }
}

fn with_model_list(model: &mut Vec<u64>, act: Do, value: u64) -> u64 {
    match act {
        Do::Put(index) if usize::from(index) > model.len() => 0,
        Do::Put(index) => {
            model.insert(index.into(), value);
            1
        }
        Do::PutNew(index) => match model.get_mut(usize::from(index)) {
            Some(place) => {
                *place = value;
                1
            }
            None => 0,
        },
        Do::Take(index) if usize::from(index) < model.len() => model.remove(index.into()),
        Do::Take(_) => NONE,
        Do::Get(index) => model.get(usize::from(index)).copied().unwrap_or(NONE),
        Do::All => digest(model.iter().copied()),
    }
}

/// Steps of `model`, which always has an answer.
fn stepped<S>(
    model: impl Fn(&mut S, Do, u64) -> u64,
) -> impl Fn(&mut S, &(Do, u64), Option<u64>) -> bool {
    move |state, &(act, value), answer| Some(model(state, act, value)) == answer
}

fn play_map(names: &[Name], who: usize, acts: &[u8]) {
    let (shared, log) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, value, _| {
        with_map(&shared, act, value)
    });
}

fn play_list(names: &[Name], who: usize, acts: &[u8]) {
    let (shared, log) = (open(names[0]), Shared::open(names[1]));
    log.run(who, &TABLE, acts, |act, value, _| {
        with_list(&shared, act, value)
    });
}

fn check(plays: &[Vec<u8>; PROCESSES], is_list: bool) {
    let region = region();
    let log = Shared::new(&region);
    let map = Values::new(&region, 8, 1 << 15).unwrap();
    let list = Numbers::new(&region, 32, 1 << 15).unwrap();
    let object = match is_list {
        true => list.handle().words(),
        false => map.handle().words(),
    };
    let names = [object, log.handle().words()];
    let processes = match is_list {
        true => start(&region, &names, plays, play_list),
        false => start(&region, &names, plays, play_map),
    };
    for process in processes {
        process.wait().unwrap();
    }
    let histories = [0, 1, 2].map(|who: usize| log.calls(who, &TABLE, &plays[who]));
    match is_list {
        true => assert_order(&histories, Vec::new(), stepped(with_model_list)),
        false => assert_order(&histories, BTreeMap::new(), stepped(with_model_map)),
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn what_is_done_to_a_map_at_once_has_an_order(plays in plays(&WEIGHTS)) {
        check(&plays, false);
    }

    #[test]
    fn what_is_done_to_a_list_at_once_has_an_order(plays in plays(&WEIGHTS)) {
        check(&plays, true);
    }
}

/// The search can fail: one that replaces a value in two steps, and one that looks between them.
#[test]
fn a_replacement_in_two_steps_has_no_order() {
    let map = Values::new(&region(), 8, 1 << 15).unwrap();
    let event = |act, value, answer, [begun, ended]: [u64; 2]| {
        call((act, value), Some(answer), begun, ended)
    };
    let put = event(Do::Put(1), 7, with_map(&map, Do::Put(1), 7), [0, 1]);
    let model = || stepped(with_model_map);
    for in_two_steps in [false, true] {
        if in_two_steps {
            map.remove(&1).unwrap();
        }
        let get = event(Do::Get(1), 0, with_map(&map, Do::Get(1), 0), [3, 4]);
        with_map(&map, Do::Put(1), 8);
        // Both say that there was one.
        let replaced = event(Do::Put(1), 8, 1, [2, 5]);
        let histories = [vec![put, replaced], vec![get]];
        let is_legal = has_an_order(&histories, BTreeMap::new(), model());
        assert_eq!(is_legal, !in_two_steps);
        with_map(&map, Do::Put(1), 7);
    }
    // An answer that was right once, and no more when it was asked for.
    for (begun, is_right) in [(2, false), (0, true)] {
        let get = event(Do::Get(1), 0, NONE, [begun, 3]);
        let histories = [vec![put], vec![get]];
        assert_eq!(has_an_order(&histories, BTreeMap::new(), model()), is_right);
    }
}
