//! Random changes and looks of three processes at once. Each is stamped when it begins and when it
//! has ended; then there must be an order of all of them, in which none comes before one that had
//! ended when it began, and in which each answer is the standard library's.

#![expect(
    unsafe_code,
    reason = "keeps stamps in memory that forked processes share"
)]

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::{child, join, region, theirs};
use super::{Manager, SharedList, SharedMap};
use crate::error::ShareError;
use crate::memory::region::{EXTENT_BYTES, Region as Pages};
use crate::primitive::atomic::{AtomicU64, Ordering};

const PROCESSES: usize = 3;
const MOST: usize = 10;

const PATIENCE: Duration = Duration::from_secs(60);

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

/// What was done, what it answered, and when.
#[derive(Clone, Copy, Debug)]
struct Event {
    act: Do,
    value: u64,
    answer: u64,
    begun: u64,
    ended: u64,
}

/// For each act when it began, its answer, and when it ended: of the map and of the list.
type Column = [[[AtomicU64; 3]; MOST]; 2];

#[repr(C)]
struct Log {
    clock: AtomicU64,
    arrived: AtomicU64,
    columns: [Column; PROCESSES],
}

impl Log {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Until all processes are here, so that they begin together; not for ever, if one has died.
    fn meet(&self, round: u64) {
        let began = Instant::now();
        self.arrived.fetch_add(1, Ordering::SeqCst);
        while self.arrived.load(Ordering::SeqCst) < round * PROCESSES as u64 {
            assert!(began.elapsed() < PATIENCE, "another does not come");
            std::thread::yield_now();
        }
    }

    fn run(&self, process: usize, object: usize, acts: &[Do], act: impl Fn(Do, u64) -> u64) {
        let column = &self.columns[process][object];
        for (index, (&one, [begun, answer, ended])) in acts.iter().zip(column).enumerate() {
            begun.store(self.tick(), Ordering::Relaxed);
            answer.store(act(one, value(process, index)), Ordering::Relaxed);
            ended.store(self.tick(), Ordering::Relaxed);
        }
    }

    fn events(&self, process: usize, object: usize, acts: &[Do]) -> Vec<Event> {
        let column = &self.columns[process][object];
        let all = acts.iter().zip(column).enumerate();
        let event = |(index, (&act, words)): (usize, (&Do, &[AtomicU64; 3]))| {
            let [begun, answer, ended] = words.each_ref().map(|word| word.load(Ordering::Relaxed));
            Event {
                act,
                value: value(process, index),
                answer,
                begun,
                ended,
            }
        };
        all.map(event).collect()
    }
}

/// Every act puts a value of its own.
fn value(process: usize, index: usize) -> u64 {
    (process * MOST + index) as u64
}

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

/// Whether there is such an order. (Wing and Gong's search; each place is looked at once.)
fn has_an_order<S: Clone + Eq + Hash>(
    histories: &[Vec<Event>],
    start: S,
    step: impl Fn(&mut S, Do, u64) -> u64,
) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(vec![0; histories.len()], start)];
    while let Some((at, state)) = open.pop() {
        let next = || {
            let all = histories.iter().zip(&at).enumerate();
            all.filter_map(|(who, (history, &at))| Some((who, history.get(at)?)))
        };
        let Some(ends_first) = next().map(|(_, event)| event.ended).min() else {
            return true;
        };
        for (who, event) in next().filter(|(_, event)| event.begun < ends_first) {
            let (mut at, mut state) = (at.clone(), state.clone());
            at[who] += 1;
            if step(&mut state, event.act, event.value) == event.answer
                && seen.insert((at.clone(), state.clone()))
            {
                open.push((at, state));
            }
        }
    }
    false
}

fn acts() -> impl Strategy<Value = Vec<Do>> {
    let one = prop_oneof![
        4 => (0..3_u8).prop_map(Do::Put),
        1 => (0..3_u8).prop_map(Do::PutNew),
        3 => (0..3_u8).prop_map(Do::Take),
        3 => (0..3_u8).prop_map(Do::Get),
        1 => Just(Do::All),
    ];
    prop::collection::vec(one, 1..=MOST)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_several_processes_do_at_once_has_an_order(
        maps in prop::array::uniform3(acts()),
        lists in prop::array::uniform3(acts()),
    ) {
        let region = region();
        let manager = Manager::new(&region).unwrap();
        let map = Values::new(&region, 8, 1 << 15).unwrap();
        let list = Numbers::new(&region, 32, 1 << 15).unwrap();
        manager.insert("map", &map).unwrap();
        manager.insert("list", &list).unwrap();
        let pages = Pages::create(EXTENT_BYTES).unwrap();
        const { assert!(size_of::<Log>() <= EXTENT_BYTES as usize) };
        // SAFETY: zeroed, as large, and mapped until it is dropped; atomics only.
        let log: &Log = unsafe { pages.base().cast().as_ref() };
        let children = [0, 1, 2].map(|process| child(&region, |region| {
            let (map, list): (Values, Numbers) = (theirs(&region, "map"), theirs(&region, "list"));
            log.meet(1);
            log.run(process, 0, &maps[process], |act, value| with_map(&map, act, value));
            log.meet(2);
            log.run(process, 1, &lists[process], |act, value| with_list(&list, act, value));
        }));
        children.into_iter().for_each(join);
        let of = |object: usize, acts: &[Vec<Do>; PROCESSES]| {
            [0, 1, 2].map(|process| log.events(process, object, &acts[process]))
        };
        let histories = of(0, &maps);
        let is_legal = has_an_order(&histories, BTreeMap::new(), with_model_map);
        prop_assert!(is_legal, "no order: {histories:#?}");
        let histories = of(1, &lists);
        let is_legal = has_an_order(&histories, Vec::new(), with_model_list);
        prop_assert!(is_legal, "no order: {histories:#?}");
    }
}

/// The search can fail: one that replaces a value in two steps, and one that looks between them.
#[test]
fn a_replacement_in_two_steps_has_no_order() {
    let map = Values::new(&region(), 8, 1 << 15).unwrap();
    let event = |act, value, answer, [begun, ended]: [u64; 2]| Event {
        act,
        value,
        answer,
        begun,
        ended,
    };
    let put = event(Do::Put(1), 7, with_map(&map, Do::Put(1), 7), [0, 1]);
    for in_two_steps in [false, true] {
        if in_two_steps {
            map.remove(&1).unwrap();
        }
        let get = event(Do::Get(1), 0, with_map(&map, Do::Get(1), 0), [3, 4]);
        with_map(&map, Do::Put(1), 8);
        // Both say that there was one.
        let replaced = event(Do::Put(1), 8, 1, [2, 5]);
        let histories = [vec![put, replaced], vec![get]];
        let is_legal = has_an_order(&histories, BTreeMap::new(), with_model_map);
        assert_eq!(is_legal, !in_two_steps);
        with_map(&map, Do::Put(1), 7);
    }
    // An answer that was right once, and no more when it was asked for.
    let late = event(Do::Get(1), 0, NONE, [2, 3]);
    assert!(!has_an_order(
        &[vec![put], vec![late]],
        BTreeMap::new(),
        with_model_map
    ));
    let early = event(Do::Get(1), 0, NONE, [0, 3]);
    assert!(has_an_order(
        &[vec![put], vec![early]],
        BTreeMap::new(),
        with_model_map
    ));
}
