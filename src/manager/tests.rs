//! What processes share, between two attachments of a region and between processes that die.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::latch::Patience;
use super::*;
use crate::commons::{Region, know, still};
use crate::error::RegionError;

pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) fn region() -> Region {
    know(&[&MAP, &LIST, &VALUE, &ARRAY]);
    Region::create(32 << 20).unwrap()
}

/// A child that joins the region as a process of its own would, and runs `body`.
#[expect(unsafe_code, reason = "forks")]
pub(super) fn child(region: &Region, body: impl FnOnce(Region)) -> Pid {
    let file = region.as_fd().try_clone_to_owned().unwrap();
    let still = still();
    // SAFETY: the child allocates, which the C library allows, starts threads of its own, waits for
    // none of its parent's, whose locks are ours, and ends without unwinding.
    let forked = unsafe { fork() }.unwrap();
    drop(still);
    match forked {
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                body(Region::attach(file).unwrap());
            }));
            let code = i32::from(outcome.is_err());
            // SAFETY: ends the child without running the test harness's handlers.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => child,
    }
}

pub(super) fn join(child: Pid) {
    let status = waitpid(child, None).unwrap();
    assert!(
        matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)),
        "{status:?}"
    );
}

pub(super) fn slay(child: Pid) {
    kill(child, Signal::SIGKILL).unwrap();
    waitpid(child, None).unwrap();
}

/// Finds an object by its name in the region, as another process would.
pub(super) fn theirs<T: Object>(region: &Region, name: &str) -> T {
    Manager::new(region).unwrap().get(name).unwrap().unwrap()
}

#[test]
fn manager_dict() {
    let region = region();
    let map: SharedMap<String, Vec<u32>> = SharedMap::new(&region, 100, 1 << 16).unwrap();
    assert!(map.is_empty());
    let one = "one".to_owned();
    assert!(!map.insert(&one, &vec![1]).unwrap());
    assert!(map.insert(&one, &vec![1, 1]).unwrap());
    assert!(!map.insert_new(&one, &vec![]).unwrap());
    assert!(!map.try_insert(&"two".into(), &vec![2]).unwrap());
    assert!(!map.insert_timeout(&"three".into(), &vec![3], LONG).unwrap());
    assert_eq!(map.get(&one).unwrap().unwrap().as_slice(), [1, 1]);
    assert_eq!(map.get(&one).unwrap().unwrap().to_owned().unwrap(), [1, 1]);
    assert!(map.get(&"four".into()).unwrap().is_none());
    assert!(map.contains_key(&one).unwrap());
    assert_eq!(map.len(), 3);
    let entries: HashMap<String, u32> = map
        .iter()
        .unwrap()
        .map(|entry| {
            let (key, value) = entry.unwrap();
            (key.to_string(), value.iter().map(|x| x.to_native()).sum())
        })
        .collect();
    let expected = [("one", 2), ("two", 2), ("three", 3)];
    assert_eq!(
        entries,
        HashMap::from(expected.map(|(key, sum)| (key.to_owned(), sum)))
    );
    assert!(map.remove(&one).unwrap());
    assert!(!map.try_remove(&one).unwrap());
    assert!(map.remove_timeout(&"two".into(), LONG).unwrap());
    assert_eq!(map.len(), 1);
}

#[test]
fn manager_list() {
    let region = region();
    let list: SharedList<String> = SharedList::new(&region, 8, 4096).unwrap();
    for word in ["b", "d"] {
        list.push(&word.into()).unwrap();
    }
    list.insert(0, &"a".into()).unwrap();
    list.insert(2, &"c".into()).unwrap();
    list.try_push(&"e".into()).unwrap();
    list.set(4, &"E".into()).unwrap();
    let all = || -> String {
        let words = list.iter().unwrap().map(|word| word.unwrap().to_string());
        words.collect()
    };
    assert_eq!(all(), "abcdE");
    assert_eq!(*list.remove(1).unwrap(), *"b");
    assert_eq!(*list.pop().unwrap().unwrap(), *"E");
    assert_eq!(*list.get(1).unwrap().unwrap(), *"c");
    assert!(list.get(3).unwrap().is_none());
    assert_eq!((all(), list.len()), ("acd".into(), 3));
    for refused in [list.set(3, &"x".into()), list.insert(4, &"x".into())] {
        assert!(matches!(
            refused,
            Err(ShareError::OutOfBounds { len: 3, .. })
        ));
    }
    assert!(matches!(
        list.remove(3),
        Err(ShareError::OutOfBounds { .. })
    ));
    while list.pop().unwrap().is_some() {}
    assert!(list.is_empty());
}

#[test]
fn manager_namespace() {
    // A Namespace is a map from attribute to value, or one name in the manager for each.
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let rate = Value::new(&region, 0.5_f64).unwrap();
    assert!(manager.insert("settings.rate", &rate).unwrap());
    let found: Value<f64> = manager.get("settings.rate").unwrap().unwrap();
    found.set(0.25).unwrap();
    assert_eq!(rate.get().unwrap(), 0.25);
    assert_eq!(manager.names().unwrap(), ["settings.rate"]);
}

#[test]
fn manager_value() {
    let region = region();
    let small = Value::new(&region, 7_u8).unwrap();
    let large = Value::new(&region, [1_u64; 100]).unwrap();
    small.set(8).unwrap();
    assert_eq!(
        large
            .update(|all| std::mem::replace(&mut all[99], 5))
            .unwrap(),
        1
    );
    assert_eq!((small.get().unwrap(), large.get().unwrap()[99]), (8, 5));
    assert_eq!(small.try_update(|n| *n).unwrap(), 8);
    let panicked = std::panic::catch_unwind(|| {
        let small = small.clone();
        small.update(|n| {
            *n = 99;
            std::panic::resume_unwind(Box::new(()))
        })
    });
    assert!(panicked.is_err());
    assert_eq!(
        small.get().unwrap(),
        8,
        "nothing has changed, and nobody is locked out"
    );
    small.set(9).unwrap();
    assert_eq!(
        small
            .update_async(|n| *n += 1)
            .now_or_never()
            .unwrap()
            .unwrap(),
        ()
    );
    assert_eq!(small.get().unwrap(), 10);
}

#[test]
fn manager_array() {
    let region = region();
    let array = Array::new(&region, &[1.0_f64, 2.0, 3.0]).unwrap();
    array.set(1, 5.0).unwrap();
    assert_eq!(array.get(1).unwrap(), 5.0);
    assert!(matches!(
        array.get(3),
        Err(ShareError::OutOfBounds { index: 3, len: 3 })
    ));
    let mut guard = array.lock().unwrap();
    assert!(matches!(array.try_lock(), Err(ShareError::Busy)));
    let late = array.lock_timeout(Duration::from_millis(1));
    assert!(matches!(late, Err(ShareError::TimedOut)));
    guard.sort_by(|a, b| b.total_cmp(a));
    assert!(!guard.is_poisoned());
    assert!(array.lock_async().now_or_never().is_none());
    // Locked here, released there.
    thread::scope(|scope| scope.spawn(move || drop(guard)).join().unwrap());
    assert_eq!(
        *array.lock_async().now_or_never().unwrap().unwrap(),
        [5.0, 3.0, 1.0]
    );
    assert!(Array::<u8>::new(&region, &[]).is_err());
}

#[test]
fn any_process_finds_what_has_a_name() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let map = SharedMap::<u64, u64>::new(&region, 1000, 1 << 16).unwrap();
    let sum = Value::new(&region, 0_u64).unwrap();
    assert!(manager.insert("map", &map).unwrap());
    assert!(manager.insert("sum", &sum).unwrap());
    let children: Vec<_> = (0..4_u64)
        .map(|number| {
            child(&region, |region| {
                let map: SharedMap<u64, u64> = theirs(&region, "map");
                let sum: Value<u64> = theirs(&region, "sum");
                for key in number * 100..number * 100 + 100 {
                    map.insert(&key, &(key * key)).unwrap();
                    sum.update(|sum| *sum += key).unwrap();
                }
            })
        })
        .collect();
    children.into_iter().for_each(join);
    assert_eq!(map.len(), 400);
    assert_eq!(sum.get().unwrap(), (0..400).sum::<u64>());
    for key in 0..400 {
        assert_eq!(map.get(&key).unwrap().unwrap().to_native(), key * key);
    }
}

#[test]
fn get_or_create_gives_everybody_the_same() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let make = |region: &Region| Value::new(region, 0_u64);
    let children: Vec<_> = (0..4)
        .map(|_| {
            child(&region, |region| {
                let manager = Manager::new(&region).unwrap();
                let count = manager.get_or_create("count", make).unwrap();
                for _ in 0..100 {
                    count.update(|count| *count += 1).unwrap();
                }
                // Until the parent has it, too.
                while count.get().unwrap() < 1_000_000 {
                    thread::yield_now();
                }
            })
        })
        .collect();
    let count: Value<u64> = manager.get_or_create("count", make).unwrap();
    while count.get().unwrap() < 400 {
        thread::yield_now();
    }
    count.set(1_000_000).unwrap();
    children.into_iter().for_each(join);
    let wrong: Result<SharedList<u8>, _> =
        manager.get_or_create("count", |region| SharedList::<u8>::new(region, 1, 1));
    let Err(ShareError::Region(wrong)) = wrong else {
        panic!("it is of another kind")
    };
    assert!(matches!(
        *wrong,
        Error::Region(RegionError::OtherKind { .. })
    ));
}

#[test]
fn a_name_is_free_when_nobody_has_the_object_any_more() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let first = Value::new(&region, 1_u8).unwrap();
    let second = Value::new(&region, 2_u8).unwrap();
    assert!(manager.insert("x", &first).unwrap());
    assert!(!manager.insert("x", &second).unwrap());
    drop(first);
    assert!(manager.get::<Value<u8>>("x").unwrap().is_none());
    assert!(manager.names().unwrap().is_empty());
    assert!(manager.insert("x", &second).unwrap());
    assert_eq!(
        manager
            .get::<Value<u8>>("x")
            .unwrap()
            .unwrap()
            .get()
            .unwrap(),
        2
    );
    assert!(manager.remove("x").unwrap());
    assert!(!manager.remove("x").unwrap());
    // The names outlive every handle to the manager.
    assert!(manager.insert("y", &second).unwrap());
    drop(manager);
    assert_eq!(Manager::new(&region).unwrap().names().unwrap(), ["y"]);
    for name in ["", &"n".repeat(256)] {
        let refused = Manager::new(&region).unwrap().insert(name, &second);
        assert!(matches!(refused, Err(ShareError::BadName { .. })));
    }
    let elsewhere = Value::new(&self::region(), 1_u8).unwrap();
    let refused = Manager::new(&region).unwrap().insert("z", &elsewhere);
    assert!(matches!(refused, Err(ShareError::BadName { .. })));
}

#[test]
fn names_of_objects_that_are_gone_take_no_room() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let kept = Value::new(&region, 7_u8).unwrap();
    assert!(manager.insert("kept", &kept).unwrap());
    // More names than there may be at a time.
    for number in 0..5000 {
        let value = Value::new(&region, 0_u8).unwrap();
        assert!(manager.insert(&format!("number {number}"), &value).unwrap());
    }
    assert_eq!(manager.names().unwrap(), ["kept"]);
    assert!(manager.get::<Value<u8>>("kept").unwrap().is_some());
}

#[test]
fn whoever_iterates_sees_one_moment_while_others_write() {
    const KEYS: u64 = 8;
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let map = SharedMap::<u64, [u64; 4]>::new(&region, 64, 1 << 14).unwrap();
    let list = SharedList::<u64>::new(&region, 64, 1 << 12).unwrap();
    let stop = Value::new(&region, 0_u8).unwrap();
    for key in 0..KEYS {
        map.insert(&key, &[0; 4]).unwrap();
        list.push(&key).unwrap();
    }
    manager.insert("map", &map).unwrap();
    manager.insert("list", &list).unwrap();
    manager.insert("stop", &stop).unwrap();
    let children: Vec<_> = (0..2_u64)
        .map(|number| {
            child(&region, |region| {
                let map: SharedMap<u64, [u64; 4]> = theirs(&region, "map");
                let list: SharedList<u64> = theirs(&region, "list");
                let stop: Value<u8> = theirs(&region, "stop");
                let mut round = 0;
                while stop.get().unwrap() == 0 {
                    round += 1;
                    // Held only while the reader is pinned to what was removed.
                    let _ = map.insert(&(round % KEYS), &[round; 4]);
                    let _ = map.insert(&(100 + number), &[round; 4]);
                    let _ = map.remove(&(100 + number));
                    // At the end, and away again: the first eight stay as they are.
                    let _ = list.push(&(200 + number));
                    let _ = list.remove(KEYS as usize);
                }
            })
        })
        .collect();
    for _ in 0..500 {
        let entries: HashMap<u64, u64> = map
            .iter()
            .unwrap()
            .map(|entry| {
                let (key, value) = entry.unwrap();
                assert!(value.iter().all(|part| *part == value[0]), "torn");
                (key.to_native(), value[0].to_native())
            })
            .collect();
        assert!((0..KEYS).all(|key| entries.contains_key(&key)));
        let values: Vec<u64> = list
            .iter()
            .unwrap()
            .map(|v| v.unwrap().to_native())
            .collect();
        assert_eq!(values[..KEYS as usize], [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    stop.set(1).unwrap();
    children.into_iter().for_each(join);
}

#[test]
fn bad_input_is_a_clear_error() {
    let region = region();
    for (entries, bytes) in [
        (0, 1),
        (1, 0),
        (usize::MAX, 1),
        (1, usize::MAX),
        (1 << 24, 1 << 40),
    ] {
        let made = SharedMap::<u8, u8>::new(&region, entries, bytes);
        assert!(
            matches!(made, Err(ShareError::Region(_))),
            "{entries} {bytes}"
        );
        let made = SharedList::<u8>::new(&region, entries, bytes);
        assert!(
            matches!(made, Err(ShareError::Region(_))),
            "{entries} {bytes}"
        );
    }
    let map = SharedMap::<u8, Vec<u8>>::new(&region, 2, 200).unwrap();
    let large = map.insert(&1, &vec![0; 10_000]);
    assert!(matches!(large, Err(ShareError::NoRoom { .. })));
    assert!(map.is_empty());
    for key in 0..2 {
        map.insert(&key, &vec![]).unwrap();
    }
    let many = map.insert(&2, &vec![]);
    assert!(matches!(many, Err(ShareError::Full { limit: 2 })));
    // Of another type: not torn, not undefined, an error.
    let other: SharedMap<u8, String> = SharedMap::open(map.name()).unwrap();
    map.insert(&0, &vec![0xff; 40]).unwrap();
    assert!(matches!(other.get(&0), Err(ShareError::Archive(_))));
    assert!(Value::<u64>::open(map.name()).is_err());
    let value = Value::new(&region, 1_u64).unwrap();
    assert!(Value::<[u64; 2]>::open(value.name()).is_err());
    assert!(Value::<u32>::open(value.name()).is_err());
    let array = Array::new(&region, &[1_u32; 4]).unwrap();
    assert!(Array::<u64>::open(array.name()).is_err());
    assert!(Array::<[u32; 8]>::open(array.name()).is_err());
    assert!(Array::<()>::open(array.name()).is_err());
    let name = value.name();
    drop(value);
    assert!(Value::<u64>::open(name).is_err());
}

#[test]
fn a_forked_child_is_refused_and_its_drops_do_nothing() {
    let region = region();
    let map = SharedMap::<u8, u8>::new(&region, 2, 200).unwrap();
    map.insert(&1, &1).unwrap();
    let guard = map.get(&1).unwrap().unwrap();
    let array = Array::new(&region, &[1_u8]).unwrap();
    let locked = array.lock().unwrap();
    #[expect(unsafe_code, reason = "forks, and drops everything once more")]
    // SAFETY: the child makes no use of its parent's threads, and ends without unwinding.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let refused = map.insert(&2, &2).is_err() && map.get(&1).is_err();
            drop((guard, locked));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!refused)) }
        }
        ForkResult::Parent { child } => child,
    };
    join(child);
    assert!(matches!(array.try_lock(), Err(ShareError::Busy)));
    drop(locked);
    assert!(array.try_lock().is_ok());
    // The reader is counted once, and goes once.
    let old = *guard;
    map.insert(&1, &2).unwrap();
    assert_eq!(old, *guard);
    drop(guard);
    assert_eq!(*map.get(&1).unwrap().unwrap(), 2);
}

#[test]
fn a_task_that_is_dropped_while_it_waits_has_changed_nothing_and_stops_nobody() {
    let region = region();
    let map = SharedMap::<u8, u8>::new(&region, 4, 400).unwrap();
    map.shelf()
        .write(Patience::Until(None), |_| {
            assert!(matches!(map.try_insert(&1, &1), Err(ShareError::Busy)));
            let late = map.insert_timeout(&1, &1, Duration::from_millis(1));
            assert!(matches!(late, Err(ShareError::TimedOut)));
            let (key, value) = (1, 1);
            let mut waits = std::pin::pin!(map.insert_async(&key, &value));
            assert!(waits.as_mut().now_or_never().is_none());
            Ok(())
        })
        .unwrap();
    assert!(map.is_empty());
    assert!(!map.insert_async(&1, &1).now_or_never().unwrap().unwrap());
    assert!(map.remove_async(&1).now_or_never().unwrap().unwrap());
}
