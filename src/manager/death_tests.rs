//! Processes are killed while they write, hold and read.

use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::tests::{LONG, child, region, slay, theirs};
use super::*;

#[test]
fn a_writer_that_is_killed_locks_nobody_out_and_tears_nothing() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let map = SharedMap::<u64, [u64; 8]>::new(&region, 64, 1 << 14).unwrap();
    let list = SharedList::<[u64; 4]>::new(&region, 64, 1 << 14).unwrap();
    let value = Value::new(&region, [0_u64; 16]).unwrap();
    manager.insert("map", &map).unwrap();
    manager.insert("list", &list).unwrap();
    manager.insert("value", &value).unwrap();
    for round in 1..30_u64 {
        let victim = child(&region, move |region| {
            let map: SharedMap<u64, [u64; 8]> = theirs(&region, "map");
            let list: SharedList<[u64; 4]> = theirs(&region, "list");
            let value: Value<[u64; 16]> = theirs(&region, "value");
            for step in 0.. {
                let number = round << 32 | step;
                map.insert(&(step % 50), &[number; 8]).unwrap();
                map.remove(&(step * 7 % 50)).unwrap();
                // Also what was pushed after each death so far.
                while list.len() > 40 {
                    list.remove(step as usize % 30).unwrap();
                }
                let index = step as usize % (list.len() + 1);
                list.insert(index, &[number; 4]).unwrap();
                value.set([number; 16]).unwrap();
                let _kept = map.get(&(step % 50)).unwrap();
            }
        });
        while value.get().unwrap()[0] >> 32 != round {
            thread::yield_now();
        }
        slay(victim);
        // Each of these waits for the dead one at most until it is found dead.
        map.insert(&100, &[round; 8]).unwrap();
        assert!(map.remove(&100).unwrap());
        list.push(&[round; 4]).unwrap();
        value.update(|all| assert_eq!(*all, [all[0]; 16])).unwrap();
        let mut count = 0;
        for entry in map.iter().unwrap() {
            let (key, value) = entry.unwrap();
            assert!(key.to_native() < 50);
            assert!(value.iter().all(|part| *part == value[0]), "torn");
            count += 1;
        }
        assert_eq!(map.len(), count);
        let mut all = list.iter().unwrap().map(|part| part.unwrap());
        assert!(all.all(|part| part.iter().all(|x| *x == part[0])));
    }
}

#[test]
fn an_array_whose_holder_died_is_poisoned_until_that_is_cleared() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let array = Array::new(&region, &[0_u32; 4]).unwrap();
    manager.insert("array", &array).unwrap();
    let victim = child(&region, |region| {
        let array: Array<u32> = theirs(&region, "array");
        let mut guard = array.lock().unwrap();
        guard[0] = 1;
        std::mem::forget(guard);
        let me = Pid::this();
        kill(me, Signal::SIGKILL).unwrap();
    });
    waitpid(victim, None).unwrap();
    let mut guard = array.lock_timeout(LONG).unwrap();
    assert!(guard.is_poisoned());
    guard[0] = 0;
    guard.clear_poison();
    drop(guard);
    assert!(!array.lock().unwrap().is_poisoned());
}

#[test]
fn readers_hold_what_they_read_and_their_death_lets_go() {
    let region = region();
    let manager = Manager::new(&region).unwrap();
    let map = SharedMap::<u8, Vec<u8>>::new(&region, 2, 64 * 4).unwrap();
    manager.insert("map", &map).unwrap();
    let bytes = |value: u8| vec![value; 64 * 4];
    map.insert(&1, &bytes(1)).unwrap();
    let guard = map.get(&1).unwrap().unwrap();
    map.remove(&1).unwrap();
    assert!(matches!(map.insert(&1, &bytes(2)), Err(ShareError::Held)));
    assert!(guard.iter().all(|&byte| byte == 1));
    drop(guard);
    map.insert(&1, &bytes(2)).unwrap();
    let too_much = map.insert(&2, &bytes(3));
    assert!(matches!(
        too_much,
        Err(ShareError::NoRoom { .. } | ShareError::Held)
    ));
    // One that dies while it reads.
    let (mut ready, told) = std::io::pipe().unwrap();
    let victim = child(&region, |region| {
        let map: SharedMap<u8, Vec<u8>> = theirs(&region, "map");
        let guard = map.get(&1).unwrap().unwrap();
        std::io::Write::write_all(&mut &told, &[1]).unwrap();
        loop {
            std::hint::black_box(&*guard);
            thread::park();
        }
    });
    std::io::Read::read_exact(&mut ready, &mut [0]).unwrap();
    map.remove(&1).unwrap();
    assert!(matches!(map.insert(&1, &bytes(4)), Err(ShareError::Held)));
    slay(victim);
    // Whether or not its death was noticed by now.
    map.insert(&1, &bytes(4)).unwrap();
    assert!(map.get(&1).unwrap().unwrap().iter().all(|&byte| byte == 4));
}
