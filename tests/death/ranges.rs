//! Workers killed in the middle of each range verb.

use core::ops::Range;

use gristmill::{Error, Job, Pool, SharedSlice};
use nix::sys::signal::Signal;

use crate::witness::{self, Place};
use crate::{KILLED, death, pool, replaced, signal, ways};

const LEN: usize = 60_000;
const ROUNDS: u64 = 12;

/// The same numbers in each run, spread evenly.
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Costs about as much as a kernel that is worth a pool.
fn work(x: u64) -> u64 {
    (0..50).fold(x, |x, _| mix(x))
}

/// Runs a job while one worker, or all, are killed, at a point that depends on the round; how many
/// workers were killed before the job had ended.
fn run_and_kill<O>(pool: &Pool, round: u64, job: Job<'_, O>) -> (Result<O, Error>, usize) {
    let job = job.start().expect("room for the output");
    let pids = replaced(pool, &[]);
    let point = mix(round);
    let all = round.is_multiple_of(3);
    witness::until("the point", || {
        let done = match job.progress() {
            Some(progress) => progress.done * 100 >= progress.total * (point % 100),
            // It has ended, or is between two steps.
            None => true,
        };
        done.then_some(())
    });
    let in_time = !job.is_finished();
    let victims = if all {
        &pids[..]
    } else {
        &pids[point as usize % pids.len()..][..1]
    };
    for &pid in victims {
        signal(pid, Signal::SIGKILL);
    }
    let outcome = job.wait();
    replaced(pool, victims);
    (outcome, if in_time { victims.len() } else { 0 })
}

/// Compares with the oracle in many rounds, with a kill in each.
fn same_result<O>(pool: &Pool, verb: impl Fn() -> Job<'static, O>, is_right: impl Fn(&O) -> bool) {
    let mut kills = 0;
    for round in 0..ROUNDS {
        let (outcome, in_time) = run_and_kill(pool, round, verb());
        kills += in_time;
        match outcome {
            Ok(output) => assert!(is_right(&output), "round {round}"),
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert!(kills > 0, "no job was running when its worker was killed");
}

fn numbers(pool: &Pool, len: usize) -> SharedSlice<u64> {
    pool.alloc_from_fn(len, |i| mix(i as u64))
        .expect("room")
        .freeze()
}

#[test]
fn par_map_survives() {
    let pool = pool(3);
    let xs = numbers(&pool, LEN);
    let oracle: Vec<u64> = xs.iter().map(|&x| work(x)).collect();
    same_result(
        &pool,
        || pool.par_map(&xs, |&x| work(x)),
        |ys| **ys == oracle,
    );
}

#[test]
fn par_map_with_survives() {
    let pool = pool(3);
    let xs = numbers(&pool, LEN);
    let table = numbers(&pool, 256);
    let oracle: Vec<u64> = xs
        .iter()
        .map(|&x| work(x) ^ table[x as usize % 256] ^ 5)
        .collect();
    let verb = || {
        pool.par_map_with((5_u64, table.clone()), &xs, |(five, table), &x| {
            work(x) ^ table[x as usize % 256] ^ five
        })
    };
    same_result(&pool, verb, |ys| **ys == oracle);
}

#[test]
fn par_map_into_survives_and_gives_the_buffer_back() {
    let pool = pool(3);
    let xs = numbers(&pool, LEN);
    let oracle: Vec<u64> = xs.iter().map(|&x| work(x)).collect();
    let mut ys = pool.alloc_zeroed::<u64>(LEN).expect("room");
    for round in 0..ROUNDS {
        ys.fill(0);
        let (outcome, _) =
            run_and_kill(&pool, round, pool.par_map_into(&xs, &mut ys, |&x| work(x)));
        outcome.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(*ys == oracle, "round {round}");
    }
}

#[test]
fn par_generate_survives() {
    let pool = pool(3);
    let oracle: Vec<u64> = (0..LEN).map(|i| work(i as u64)).collect();
    same_result(
        &pool,
        || pool.par_generate(LEN, |i| work(i as u64)),
        |ys| **ys == oracle,
    );
}

#[test]
fn par_zip_map_survives() {
    let pool = pool(3);
    let xs = numbers(&pool, LEN);
    let ys = pool
        .alloc_from_fn(LEN, |i| i as u32)
        .expect("room")
        .freeze();
    let oracle: Vec<u64> = xs.iter().zip(0..).map(|(&x, y)| work(x ^ y)).collect();
    let verb = || pool.par_zip_map(&xs, &ys, |&x, &y| work(x ^ u64::from(y)));
    same_result(&pool, verb, |zs| **zs == oracle);
}

#[test]
fn par_chunks_survives() {
    let pool = pool(3);
    let xs = numbers(&pool, LEN);
    let oracle: Vec<u64> = xs.iter().map(|&x| work(x)).collect();
    let verb = || {
        pool.par_chunks(&xs, |input: &[u64], output: &mut [u64]| {
            for (y, x) in output.iter_mut().zip(input) {
                *y = work(*x);
            }
        })
    };
    same_result(&pool, verb, |ys| **ys == oracle);
}

#[test]
fn reductions_survive_to_the_bit() {
    let pool = pool(3);
    let xs = pool
        .alloc_from_fn(LEN, |i| 1.0 / (1.0 + i as f64))
        .expect("room")
        .freeze();
    let sum = || pool.par_reduce(&xs, || 0.0_f64, |a, &x| a + slowly(x), |a, b| a + b);
    let undisturbed = sum().wait().expect("nobody dies");
    same_result(&pool, sum, |found| found.to_bits() == undisturbed.to_bits());
}

fn slowly(x: f64) -> f64 {
    (0..100).fold(x, |x, _| core::hint::black_box(x))
}

#[test]
fn statistics_survive_to_the_bit() {
    let pool = pool(3);
    let xs = pool
        .alloc_from_fn(1 << 21, |i| mix(i as u64) as f64)
        .expect("room")
        .freeze();
    let sum = pool.par_sum(&xs).wait().expect("nobody dies").to_bits();
    let least = xs.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = xs.iter().copied().fold(0.0, f64::max);
    same_result(&pool, || pool.par_sum(&xs), |found| found.to_bits() == sum);
    same_result(&pool, || pool.par_min(&xs), |found| *found == Some(least));
    same_result(
        &pool,
        || pool.par_max(&xs),
        |found| *found == Some(greatest),
    );
}

/// An element that tells whether somebody stopped half-way.
type Words = [u64; 8];

fn all_of(x: u64) -> Words {
    [x; 8]
}

#[test]
fn in_place_jobs_tell_what_is_undefined() {
    let pool = pool(3);
    let len = 20_000;
    let (mut failures, mut several) = (0, 0);
    for round in 0..2 * ROUNDS {
        let mut data = pool.alloc_from_fn(len, |i| all_of(i as u64)).expect("room");
        let job = pool.par_for_each_mut(&mut data, |words: &mut Words| {
            for word in words.iter_mut() {
                *word = work(*word);
            }
        });
        let pids = pool.worker_pids();
        let (outcome, _) = run_and_kill(&pool, round, job);
        assert_eq!(data.len(), len, "the buffer is back");
        let undefined = match outcome {
            Ok(()) => Vec::new(),
            outcome => {
                let death = death(outcome);
                assert_eq!((death.cause, death.attempts), (KILLED, 1), "round {round}");
                assert!(pids.contains(&death.pid), "round {round}: {death}");
                let elements = death.elements.clone().expect("a range job");
                let told =
                    |range: &Range<u64>| range.start <= elements.start && range.end >= elements.end;
                assert!(death.undefined.iter().any(told), "round {round}: {death}");
                let ascending = death
                    .undefined
                    .windows(2)
                    .all(|two| two[0].end < two[1].start);
                assert!(ascending, "round {round}: {death}");
                failures += 1;
                several += u32::from(death.undefined.len() > 1);
                death.undefined
            }
        };
        for (i, words) in (0_u64..).zip(&*data) {
            let known = *words == all_of(i) || *words == all_of(work(i));
            let excused = undefined.iter().any(|range| range.contains(&i));
            assert!(known || excused, "round {round}: element {i} is {words:?}");
            if undefined.is_empty() {
                assert_eq!(*words, all_of(work(i)), "round {round}: element {i}");
            }
        }
    }
    assert!(failures > 0, "nobody was killed in time");
    assert!(
        several > 0,
        "of several deaths in one job all ranges were to be told"
    );
}

#[test]
fn attempts_are_counted_and_others_keep_flowing() {
    for attempts in 1..=4 {
        let place = Place::new(&format!("attempts-{attempts}"));
        let builder = Pool::builder().workers(2).attempts(attempts);
        let pool = builder.memory_budget(1 << 28).build().expect("a pool");
        let xs = numbers(&pool, 10_000);
        let context = (xs[7_777], gristmill::Rkyv(place.file("tries")));
        let poisoned = pool.par_map_with(context, &xs, |(fatal, file), x| {
            if x == fatal {
                witness::say(file, "tried");
                ways::die(8);
            }
            work(*x)
        });
        let poisoned = poisoned.start().expect("room");
        let oracle: Vec<u64> = xs.iter().map(|&x| work(x)).collect();
        while !poisoned.is_finished() {
            let ys = pool
                .par_map(&xs, |&x| work(x))
                .wait()
                .expect("no fault of this job's");
            assert!(*ys == oracle);
        }
        let death = death(poisoned.wait());
        assert_eq!((death.attempts, death.cause), (attempts, KILLED));
        let elements = death.elements.expect("a range job");
        assert!(elements.contains(&7_777));
        let tries = std::fs::read_to_string(place.file("tries")).expect("it was tried");
        let tries = tries.lines().count();
        if attempts == 1 {
            assert_eq!(tries, 1, "nothing is run twice");
        } else {
            assert_eq!(elements, 7_777..7_778, "the element itself is found");
            assert!(tries > attempts as usize, "{tries}");
        }
    }
}

#[test]
fn a_stopped_worker_is_waited_for_and_a_killed_one_is_not() {
    let pool = pool(2);
    let xs = numbers(&pool, LEN);
    let oracle: Vec<u64> = xs.iter().map(|&x| work(x)).collect();
    for victim in [0, 1, 0] {
        let job = pool.par_map(&xs, |&x| work(x)).start().expect("room");
        let pid = replaced(&pool, &[])[victim];
        signal(pid, Signal::SIGSTOP);
        witness::until("the stop", || {
            witness::state(pid).filter(|&state| state == 'T')
        });
        assert!(pool.worker_pids().contains(&pid), "stopped is not dead");
        // The other one goes on meanwhile.
        let answer = pool
            .spawn(1_u64, |x| x.to_native() + 1)
            .expect("submitted")
            .wait();
        assert_eq!(answer.expect("a worker is left").to_native(), 2);
        signal(pid, Signal::SIGKILL);
        assert!(*job.wait().expect("the rest is done by others") == oracle);
        replaced(&pool, &[pid]);
    }
}
