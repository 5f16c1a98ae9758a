//! The same with real workers: tasks that run wild beside honest ones.
//!
//! A task that runs wild finds the control area where its process maps it, as any wild pointer
//! would by chance, and stores nonsense there. The words to hit are listed by the same accessors
//! that the product uses; what a worker may only read is not among them.

#![expect(
    unsafe_code,
    reason = "finds the control area by its address and writes to it"
)]

use std::{fs, ptr};

use super::{Random, kinds, scribble};
use crate::error::{Error, TaskError};
use crate::memory::owner::{Owner, Word};
use crate::pool::Pool;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Control, SLOTS, WRITABLE};
use crate::task::TaskHandle;

/// The control area in a worker: the beginning of the memory file that it maps.
fn control() -> &'static Control {
    let maps = fs::read_to_string("/proc/self/maps").expect("a map of this process");
    let start = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, _, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = line.contains("memfd:gristmill") && u64::from_str_radix(offset, 16) == Ok(0);
        ours.then(|| usize::from_str_radix(range.split('-').next()?, 16).ok())?
    });
    let start = start.expect("a worker maps its pool's memory");
    let control = std::ptr::with_exposed_provenance::<Control>(start);
    // SAFETY: mapped for as long as the process lives, aligned, and all atomics.
    unsafe { control.as_ref() }.expect("an address")
}

/// So many wild stores.
fn run_wild(seed: u64, stores: u64) {
    let control = control();
    let workers = control.workers();
    let mut random = Random(seed | 1);
    let start = ptr::from_ref(control).addr() as u64;
    let mut kinds = kinds(control, workers);
    for kind in &mut kinds {
        kind.retain(|word| WRITABLE.contains(&(ptr::from_ref(*word).addr() as u64 - start)));
    }
    kinds.retain(|kind| !kind.is_empty());
    for _ in 0..stores {
        if random.below(12) > 0 {
            scribble(&kinds, &mut random);
        } else {
            let words: Vec<_> = control.parking_of(workers).words().collect();
            let value = [0, 1, u32::MAX][random.below(3)];
            words[random.below(words.len())].store(value, Ordering::Relaxed);
        }
    }
}

fn mix(x: u64) -> u64 {
    Random(x | 1).next()
}

/// Waits for what has to come; beyond a minute it has not.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed().as_secs() < 60, "it never came");
        std::thread::yield_now();
    }
}

fn pool() -> Pool {
    let pool = Pool::builder().workers(3).memory_budget(64 << 20);
    pool.build().expect("a pool")
}

fn honest(pool: &Pool, x: u64) -> TaskHandle<u64> {
    let task = pool.spawn(x, |x| mix(x.to_native()));
    task.expect("the pool is open")
}

/// Whether a failure is one that wild stores, or the deaths that they cause, may have.
fn is_told(error: &TaskError) -> bool {
    matches!(error, TaskError::Damaged(_) | TaskError::WorkerDied(_))
}

/// Everybody who waits gets an answer, and each result is right; how many had one.
fn round(pool: &Pool, seed: u64) -> usize {
    let mut random = Random(mix(seed));
    let xs = pool
        .alloc_from_fn(3000, |i| mix(i as u64))
        .expect("room")
        .freeze();
    let mut ys = pool.copy_from_slice(&xs).expect("room");
    let before: Vec<_> = (0..8).map(|i| honest(pool, seed << 8 | i)).collect();
    let map = pool.par_map(&xs, |&x| mix(x));
    let wild = pool.spawn((seed, 1 + random.next() % 30), |order| {
        run_wild(order.0.to_native(), order.1.to_native());
    });
    let in_place = pool.par_for_each_mut(&mut ys, |y| *y = mix(*y));
    let after: Vec<_> = (8..16).map(|i| honest(pool, seed << 8 | i)).collect();
    let mut right = 0;
    match map.wait() {
        Ok(zs) => {
            assert!(
                zs.iter().zip(&*xs).all(|(&z, &x)| z == mix(x)),
                "round {seed}"
            );
            right += 1;
        }
        Err(Error::Task(error)) if is_told(&error) => {}
        Err(error) => panic!("round {seed}: {error}"),
    }
    match in_place.wait() {
        Ok(()) => assert!(
            ys.iter().zip(&*xs).all(|(&y, &x)| y == mix(x)),
            "round {seed}"
        ),
        Err(Error::Task(error)) if is_told(&error) => {
            let undefined = match &error {
                TaskError::Damaged(damage) => &damage.undefined,
                TaskError::WorkerDied(death) => &death.undefined,
                _ => unreachable!("see `is_told`"),
            };
            for (index, (&y, &x)) in (0_u64..).zip(ys.iter().zip(&*xs)) {
                let named = undefined.iter().any(|range| range.contains(&index));
                assert!(
                    named || y == x || y == mix(x),
                    "round {seed}, element {index}"
                );
            }
        }
        Err(error) => panic!("round {seed}: {error}"),
    }
    for (i, task) in (0..).zip(before.into_iter().chain(after)) {
        match task.wait() {
            Ok(value) => {
                assert_eq!(value.to_native(), mix(seed << 8 | i), "round {seed}");
                right += 1;
            }
            Err(error) if is_told(&error) => {}
            Err(error) => panic!("round {seed}: {error}"),
        }
    }
    match wild.expect("the pool is open").wait() {
        Err(error) if !is_told(&error) => panic!("round {seed}: {error}"),
        _ => right,
    }
}

#[test]
fn workers_that_run_wild_hurt_nobody_for_long() {
    let rounds = std::env::var("GRISTMILL_SCRIBBLES").map_or(100, |n| n.parse().expect("a count"));
    let pool = pool();
    let right: usize = (1..=rounds).map(|seed| round(&pool, seed)).sum();
    let rebuilds = pool.engine().hub().rebuilds;
    println!("{rounds} rounds: {right} right results, {rebuilds} rebuilds");
    assert!(right > 0 && rebuilds > 0);
    serves(&pool);
}

/// The pool can do all that it could. What was hit and not used so far may come to light now, and
/// end what is running then: once, since one look finds all of it.
fn serves(pool: &Pool) {
    let passes = (0..3).find(|_| serves_once(pool));
    assert!(passes.is_some(), "nobody is wild any more");
}

fn serves_once(pool: &Pool) -> bool {
    let tasks: Vec<_> = (0..SLOTS as u64).map(|x| honest(pool, x)).collect();
    let mut right = true;
    for (x, task) in (0..).zip(tasks) {
        match task.wait() {
            Ok(value) => assert_eq!(value.to_native(), mix(x)),
            Err(error) => {
                assert!(is_told(&error), "{error}");
                right = false;
            }
        }
    }
    match pool.par_generate(10_000, |i| i as u64).wait() {
        Ok(xs) => assert!(xs.iter().zip(0..).all(|(&x, i)| x == i)),
        Err(error) => panic!("it is tried again: {error}"),
    }
    right
}

/// A pool in which one task has struck a blow, which its workers feel while they are idle.
fn struck(blow: impl FnOnce(&Pool) -> TaskHandle<()>) {
    let pool = pool();
    honest(&pool, 1).wait().expect("nobody is wild yet");
    match blow(&pool).wait() {
        Err(error) if !is_told(&error) => panic!("{error}"),
        _ => {}
    }
    for x in 0..20 {
        match honest(&pool, x).wait() {
            Ok(value) => assert_eq!(value.to_native(), mix(x)),
            Err(error) => assert!(is_told(&error), "{error}"),
        }
    }
    serves(&pool);
}

#[test]
fn sleepers_that_seem_awake_are_woken() {
    struck(|pool| {
        let wild = pool.spawn((), |()| {
            let parking = control().parking_of(3);
            parking
                .bits()
                .take(1)
                .for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
            parking
                .bits()
                .skip(1)
                .for_each(|word| word.store(0, Ordering::Relaxed));
            parking
                .words()
                .for_each(|word| word.store(7, Ordering::Relaxed));
        });
        wild.expect("the pool is open")
    });
}

#[test]
fn a_claim_in_the_name_of_an_idle_worker_is_noticed() {
    struck(|pool| {
        let wild = pool.spawn((), |()| {
            const READY: u8 = 2;
            const CLAIMED: u8 = 3;
            let words = control().ring().words();
            // Until there is a task that nobody has begun; not for ever, should others be faster.
            for _ in 0..1000 {
                for word in &words[..SLOTS] {
                    let bits = word.load(Ordering::Relaxed);
                    let seen = Word::from_bits(bits);
                    if seen.state() == READY {
                        let forged = Word::new(CLAIMED, Owner::new(2, 0), seen.generation());
                        let (now, then) = (Ordering::Relaxed, Ordering::Relaxed);
                        if word
                            .compare_exchange(bits, forged.to_bits(), now, then)
                            .is_ok()
                        {
                            return;
                        }
                    }
                }
            }
        });
        // Enough of them that some are waiting.
        (0..200).for_each(|x| honest(pool, x).detach());
        wild.expect("the pool is open")
    });
}

#[test]
fn a_pool_that_is_rebuilt_in_vain_gives_up() {
    let pool = pool();
    // Each attempt overwrites free slots, and is ended with all others for it.
    let task = pool.task((), |()| {
        let words = control().ring().words();
        words[100..SLOTS]
            .iter()
            .for_each(|word| word.store(7, Ordering::Relaxed));
        loop {
            std::thread::park();
        }
    });
    let task: TaskHandle<()> = task.attempts(1000).spawn().expect("the pool is open");
    match task.wait() {
        Err(TaskError::DamagedTooOften { rebuilds, .. }) => assert_eq!(rebuilds, 5),
        other => panic!("{other:?}"),
    }
    assert!(matches!(pool.spawn(1_u8, |x| *x), Err(Error::PoolClosed)));
}

#[test]
fn work_that_nobody_had_begun_outlives_a_rebuild() {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    let wild = pool.spawn((), |()| {
        let words = control().ring().words();
        words[100..SLOTS]
            .iter()
            .for_each(|word| word.store(7, Ordering::Relaxed));
        std::process::abort()
    });
    let wild: TaskHandle<()> = wild.expect("the pool is open");
    // Behind it in the queue, and not hit: each is done, once the pool has been rebuilt.
    let waiting: Vec<_> = (0..50).map(|x| honest(&pool, x)).collect();
    // Somebody may have looked before it aborted; mostly nobody has.
    let end = wild.wait().expect_err("it ends badly");
    assert!(is_told(&end), "{end}");
    for (x, task) in (0..).zip(waiting) {
        assert_eq!(task.wait().expect("it had not begun").to_native(), mix(x));
    }
    assert_eq!(pool.engine().hub().rebuilds, 1);
}

#[test]
fn a_waker_that_is_stopped_half_way_leaves_nobody_asleep() {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    for x in 0..3 {
        let parking = pool.engine().parking();
        until(|| parking.is_asleep(0));
        // The first half of a wake-up. The second, the call of the kernel, does not come.
        const AWAKE: u32 = 0;
        parking
            .words()
            .for_each(|word| word.store(AWAKE, Ordering::Relaxed));
        let value = honest(&pool, x).wait().expect("nobody is wild");
        assert_eq!(value.to_native(), mix(x));
    }
    assert_eq!(pool.engine().hub().rebuilds, 0, "there was no damage");
}

#[test]
fn the_supervisor_sleeps_when_nothing_is_pending() {
    let pool = pool();
    let task = pool.spawn((), |()| {
        std::thread::sleep(std::time::Duration::from_millis(1))
    });
    task.expect("the pool is open")
        .wait()
        .expect("nobody is wild");
    until(|| !pool.engine().is_watched());
}

#[cfg(feature = "tokio")]
#[test]
fn a_sleeper_that_holds_futures_is_no_damage() {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    let mut futures: Vec<_> = (0..5_u64)
        .map(|x| {
            pool.spawn_async(x, async |x: &rkyv::rend::u64_le| {
                // Until it is cancelled.
                std::future::pending::<()>().await;
                x.to_native()
            })
        })
        .collect::<Result<_, _>>()
        .expect("the pool is open");
    let engine = pool.engine();
    let begun = || {
        let words = engine.control().ring().words();
        let states = words[..SLOTS].iter();
        let states = states.map(|word| Word::from_bits(word.load(Ordering::Relaxed)).state());
        const CLAIMED: u8 = 3;
        states.filter(|&state| state == CLAIMED).count()
    };
    while begun() < futures.len() || !engine.parking().is_asleep(0) {
        std::thread::yield_now();
    }
    for _ in 0..3 {
        // Each look wakes it; what it finds is seen again by the next one.
        assert_eq!(engine.look_over(), []);
        while !engine.parking().is_asleep(0) {
            std::thread::yield_now();
        }
    }
    for future in &mut futures {
        future.cancel();
    }
    honest(&pool, 1).wait().expect("nobody is wild");
    assert_eq!(pool.engine().hub().rebuilds, 0, "there was no damage");
}

#[test]
fn a_pool_that_recycles_workers_is_rebuilt_with_all_of_them() {
    let pool = Pool::builder().workers(2).max_tasks_per_worker(4);
    let pool = pool.build().expect("a pool");
    for _ in 0..3 {
        (0..10).for_each(|x| {
            honest(&pool, x).wait().expect("nobody is wild");
        });
        let wild = pool.spawn((), |()| {
            let words = control().ring().words();
            words[100..SLOTS]
                .iter()
                .for_each(|word| word.store(7, Ordering::Relaxed));
            std::process::abort()
        });
        let wild: TaskHandle<()> = wild.expect("the pool is open");
        assert!(is_told(&wild.wait().expect_err("it ends badly")));
        serves(&pool);
    }
    assert!(pool.engine().hub().rebuilds > 0, "there was damage");
    // As many serve as before: two that wait for each other both run.
    let met = |pool: &Pool| pool.spawn((), |()| std::process::id());
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        let pids = [met(&pool), met(&pool)].map(|task| task.expect("open").wait());
        seen.extend(pids.map(|pid| pid.expect("nobody is wild").to_native()));
    }
}

#[test]
fn a_look_at_everything_keeps_the_places_of_nobody_asleep() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(1000);
    let pool = pool.build().expect("a pool");
    let engine = pool.engine();
    honest(&pool, 1).wait().expect("nobody is wild");
    assert!(engine.places() > 1, "there are places for successors");
    engine.look_over();
    while !engine.parking().is_asleep(0) {
        std::thread::yield_now();
    }
    // Only if all places count as asleep is the one who is woken.
    let parked = engine.parking().bits().nth(1).expect("bits of the parked");
    while parked.load(Ordering::Relaxed).count_ones() < engine.places() as u32 {
        std::thread::yield_now();
    }
    honest(&pool, 2).wait().expect("nobody is wild");
}
