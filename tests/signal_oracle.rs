//! Events, semaphores and barriers beside plain models; some of it played by another process.

mod signal_support;

use futures_util::FutureExt;
use gristmill::{
    AcquireError, Barrier, BarrierError, BoundedSemaphore, Event, Process, ReleaseError, Semaphore,
    Value,
};
use proptest::prelude::*;
use signal_support::{open, region};

#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    Drop(usize),
    Forget(usize),
    Release(u32),
    /// A wait that is polled, and kept.
    Wait(u32),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => (0_u32..5).prop_map(Step::Take),
        4 => (0_usize..6).prop_map(Step::Drop),
        1 => (0_usize..6).prop_map(Step::Forget),
        2 => (0_u32..4).prop_map(Step::Release),
        1 => (0_u32..5).prop_map(Step::Wait),
        2 => (0_usize..3).prop_map(Step::Leave),
    ];
    proptest::collection::vec(one, 1..80)
}

/// Beside a count, and who is first in line.
fn play(semaphore: &Semaphore, limit: u32, steps: Vec<Step>) {
    let mut free = semaphore.available();
    let mut total = free;
    let mut permits = Vec::new();
    // The first that wants more than there is keeps the others out.
    let mut waits: Vec<(u32, std::pin::Pin<Box<gristmill::Acquiring<'_>>>)> = Vec::new();
    for step in steps {
        match step {
            Step::Take(count) => match semaphore.try_acquire_many(count) {
                Ok(permit) => {
                    assert!(count == 0 || (count <= free && waits.is_empty()));
                    free -= count;
                    permits.push(permit);
                }
                Err(AcquireError::NoPermits) => assert!(count > free || !waits.is_empty()),
                Err(AcquireError::TooMany { .. }) => assert!(count > limit),
                Err(other) => panic!("{other}"),
            },
            Step::Drop(at) if at < permits.len() => {
                free += permits.swap_remove(at).count();
            }
            Step::Forget(at) if at < permits.len() => {
                let permit = permits.swap_remove(at);
                total -= permit.count();
                permit.forget();
            }
            Step::Release(count) => match semaphore.release(count) {
                Ok(()) => {
                    (free, total) = (free + count, total + count);
                    assert!(total <= limit);
                }
                Err(ReleaseError::TooMany { .. }) => assert!(total + count > limit),
                Err(other) => panic!("{other}"),
            },
            Step::Wait(count) => {
                let mut wait = Box::pin(semaphore.acquire_many(count));
                match (&mut wait).now_or_never() {
                    Some(Ok(permit)) => {
                        assert!(count == 0 || (count <= free && waits.is_empty()));
                        free -= count;
                        permits.push(permit);
                    }
                    Some(Err(_)) => assert!(count > limit),
                    None => {
                        assert!(count > free || !waits.is_empty());
                        waits.push((count, wait));
                    }
                }
            }
            Step::Leave(at) if at < waits.len() => drop(waits.remove(at)),
            Step::Drop(_) | Step::Forget(_) | Step::Leave(_) => {}
        }
        // The one in front gets what it wants as soon as it is there, whoever is asked first.
        while let Some((count, wait)) = waits.first_mut() {
            match wait.now_or_never() {
                Some(permit) => {
                    assert!(*count <= free);
                    free -= *count;
                    permits.push(permit.unwrap());
                    drop(waits.remove(0));
                }
                None => {
                    assert!(*count > free);
                    break;
                }
            }
        }
        assert_eq!(semaphore.available(), free);
    }
    drop((waits, permits));
    assert_eq!(semaphore.available(), total);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_semaphore_is_a_count_and_a_line(permits in 0_u32..6, steps in steps()) {
        let semaphore = Semaphore::new(&region(), permits).unwrap();
        play(&semaphore, Semaphore::MAX_PERMITS, steps);
    }

    #[test]
    fn a_bounded_semaphore_never_has_more(permits in 1_u32..6, steps in steps()) {
        let semaphore = BoundedSemaphore::new(&region(), permits).unwrap();
        play(&semaphore, permits, steps);
    }

    #[test]
    fn an_event_is_a_flag(sets in proptest::collection::vec(any::<Option<bool>>(), 1..60)) {
        let event = Event::new(&region()).unwrap();
        let mut is_set = false;
        // Each with whether it was set since.
        let mut waits = Vec::new();
        for step in sets {
            match step {
                Some(to) => {
                    is_set = to;
                    match to {
                        true => {
                            event.set().unwrap();
                            waits.iter_mut().for_each(|(passed, _)| *passed = true);
                        }
                        false => event.clear().unwrap(),
                    }
                }
                None => {
                    waits.push((is_set, Box::pin(event.wait())));
                }
            }
            assert_eq!(event.is_set(), is_set);
            waits.retain_mut(|(passed, wait)| {
                let done = wait.now_or_never().is_some();
                assert_eq!(done, *passed);
                !done
            });
        }
    }

    #[test]
    fn a_barrier_is_a_count(
        parties in 1_u32..5,
        steps in proptest::collection::vec(0_u8..12, 1..60),
    ) {
        let barrier = Barrier::new(&region(), parties).unwrap();
        let mut waits = Vec::new();
        let mut is_broken = false;
        for step in steps {
            match step {
                0 => {
                    barrier.abort().unwrap();
                    is_broken = true;
                }
                1 => {
                    barrier.reset().unwrap();
                    is_broken = false;
                }
                2 if !waits.is_empty() => drop(waits.remove(0)),
                _ => waits.push(Box::pin(barrier.wait())),
            }
            let count = waits.len();
            let mut through = 0;
            for _ in 0..2 {
                waits.retain_mut(|wait| match wait.now_or_never() {
                    Some(Ok(round)) => {
                        assert!(round.index() < parties);
                        through += 1;
                        false
                    }
                    Some(Err(BarrierError::Broken)) => {
                        assert!(is_broken || step == 1);
                        false
                    }
                    Some(Err(other)) => panic!("{other}"),
                    None => true,
                });
            }
            if step > 1 {
                assert!(through == 0 || through == parties as usize);
                assert!(is_broken || through == (count / parties as usize) * parties as usize);
            }
            assert_eq!(barrier.is_broken(), is_broken);
            assert_eq!(barrier.n_waiting() as usize, waits.len());
        }
    }
}

/// A count that several processes play with at once: nothing is lost, and never are there more.
#[test]
fn random_operations_of_several_processes_add_up() {
    const PERMITS: u32 = 5;
    let region = region();
    let semaphore = BoundedSemaphore::new(&region, PERMITS).unwrap();
    // Exact, where a queue's length is only a look.
    let inside = Value::new(&region, 0_u32).unwrap();
    let processes = [1_u64, 2, 3].map(|seed| {
        let names = (semaphore.handle().words(), inside.handle().words(), seed);
        let process = Process::builder().region(&region);
        let process = process.spawn(names, |names| {
            let semaphore: BoundedSemaphore = open(&names.0);
            let inside: Value<u32> = open(&names.1);
            let mut random = names.2.to_native();
            for _ in 0..2000 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let count = 1 + (random >> 40) as u32 % PERMITS;
                let permit = match random >> 60 {
                    0..4 => semaphore.try_acquire_many(count),
                    4..8 => semaphore.acquire_many_timeout(count, std::time::Duration::ZERO),
                    _ => semaphore.acquire_many_blocking(count),
                };
                let Ok(permit) = permit else {
                    continue;
                };
                let change = |by: i32| {
                    let add = |count: &mut u32| {
                        *count = count.wrapping_add_signed(by);
                        *count
                    };
                    inside.update(add).unwrap()
                };
                assert!(change(count as i32) <= PERMITS, "more than there are");
                change(-(count as i32));
                match random >> 59 & 1 {
                    0 => drop(permit),
                    _ => {
                        permit.forget();
                        semaphore.release(count).unwrap();
                    }
                }
            }
        });
        process.unwrap()
    });
    for process in processes {
        process.wait().unwrap();
    }
    assert_eq!(semaphore.available(), PERMITS);
    drop(semaphore.try_acquire_many(PERMITS).unwrap());
    semaphore.release(1).unwrap_err();
}
