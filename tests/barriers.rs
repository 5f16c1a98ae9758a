//! Barriers between tasks, threads and processes.

mod signal_support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{Barrier, BarrierError, Error, Event, Handle, Process, Queue, RegionError};
use signal_support::{MOMENT, PATIENCE, open, region, runtime};

fn is_broken<T>(outcome: &Result<T, BarrierError>) -> bool {
    matches!(outcome, Err(BarrierError::Broken))
}

/// Waits until so many have come.
fn until_waiting(barrier: &Barrier, count: u32) {
    while barrier.n_waiting() < count {
        thread::yield_now();
    }
}

#[test]
fn aiobarrier_wait_gives_each_party_an_index_and_one_the_lead() {
    let barrier = Barrier::new(&region(), 4).unwrap();
    assert_eq!((barrier.parties(), barrier.n_waiting()), (4, 0));
    for _ in 0..20 {
        let rounds = thread::scope(|scope| {
            let threads = [0, 1, 2].map(|_| scope.spawn(|| barrier.wait_timeout(PATIENCE)));
            let ours = runtime().block_on(barrier.wait());
            let mut rounds: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            rounds.push(ours);
            rounds
        });
        let rounds: Vec<_> = rounds.into_iter().map(Result::unwrap).collect();
        let mut indices: Vec<_> = rounds.iter().map(|round| round.index()).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 3]);
        assert_eq!(rounds.iter().filter(|round| round.is_leader()).count(), 1);
    }
    assert!(!barrier.is_broken() && format!("{barrier:?}").contains("parties: 4"));
}

#[test]
fn a_barrier_for_one_lets_everybody_through() {
    let barrier = Barrier::new(&region(), 1).unwrap();
    for _ in 0..3 {
        let round = barrier.wait().now_or_never().unwrap().unwrap();
        assert!(round.index() == 0 && round.is_leader());
    }
}

#[test]
fn numbers_of_parties_out_of_range_are_refused() {
    let region = region();
    for parties in [0, Barrier::MAX_PARTIES + 1, u32::MAX] {
        let refused = Barrier::new(&region, parties).unwrap_err();
        let is_it = matches!(refused, Error::InvalidArgument { .. });
        assert!(
            is_it && refused.to_string().contains("parties"),
            "{refused}"
        );
    }
    let large = Barrier::new(&region, Barrier::MAX_PARTIES).unwrap();
    assert_eq!(large.parties(), 4095);
}

#[test]
fn aiobarrier_action_runs_once_before_anybody_is_let_through() {
    let barrier = Barrier::new(&region(), 3).unwrap();
    let (acted, seen) = (AtomicU32::new(0), AtomicU32::new(0));
    let pass = || {
        let action = || {
            thread::sleep(Duration::from_millis(1));
            acted.fetch_add(1, Ordering::Relaxed);
        };
        barrier.wait_with(action).wait_timeout(PATIENCE).unwrap();
        seen.fetch_add(acted.load(Ordering::Relaxed), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        scope.spawn(pass);
        scope.spawn(pass);
        pass();
    });
    assert_eq!((acted.into_inner(), seen.into_inner()), (1, 3));
}

#[test]
fn an_action_that_panics_breaks_the_barrier() {
    let barrier = Barrier::new(&region(), 2).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait_timeout(PATIENCE));
        until_waiting(&barrier, 1);
        let panicking = || barrier.wait_with(|| panic!("as it is meant to")).wait();
        catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
        assert!(is_broken(&waiter.join().unwrap()));
    });
    assert!(barrier.is_broken());
}

/// `BrokenBarrierError` on a timeout, for all.
#[test]
fn aiobarrier_wait_that_times_out_breaks_it_for_all() {
    let barrier = Barrier::new(&region(), 3).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait_timeout(PATIENCE));
        until_waiting(&barrier, 1);
        let late = barrier.wait_timeout(MOMENT).unwrap_err();
        assert!(matches!(late, BarrierError::TimedOut), "{late}");
        assert!(is_broken(&waiter.join().unwrap()));
    });
    assert!(barrier.is_broken() && is_broken(&barrier.wait_blocking()));
    let later = barrier.wait().now_or_never().unwrap();
    assert!(is_broken(&later));
}

#[test]
fn aiobarrier_abort_and_reset() {
    let barrier = Barrier::new(&region(), 2).unwrap();
    let broken = |end: &(dyn Fn() + Sync)| {
        thread::scope(|scope| {
            let thread = scope.spawn(|| barrier.wait_blocking());
            until_waiting(&barrier, 1);
            end();
            assert!(is_broken(&thread.join().unwrap()));
        });
    };
    broken(&|| barrier.abort().unwrap());
    assert!(barrier.is_broken());
    barrier.abort().unwrap();
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
    broken(&|| barrier.reset().unwrap());
    assert!(!barrier.is_broken());
    thread::scope(|scope| {
        let thread = scope.spawn(|| barrier.wait_blocking());
        barrier.wait_timeout(PATIENCE).unwrap();
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn a_wait_that_was_dropped_has_not_come_and_breaks_nothing() {
    let barrier = Barrier::new(&region(), 2).unwrap();
    for _ in 0..3 {
        let mut waiting = Box::pin(barrier.wait());
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(barrier.n_waiting(), 1);
        drop(waiting);
        assert!(barrier.n_waiting() == 0 && !barrier.is_broken());
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| barrier.wait_timeout(PATIENCE));
        barrier.wait_timeout(PATIENCE).unwrap();
        thread.join().unwrap().unwrap();
    });
    // Dropped after all had come, it goes with them; and its place is the next one's.
    let mut waiting = Box::pin(barrier.wait());
    assert!((&mut waiting).now_or_never().is_none());
    barrier.wait_timeout(PATIENCE).unwrap();
    let mut next = Box::pin(barrier.wait());
    assert!((&mut next).now_or_never().is_none());
    let mut after = Box::pin(barrier.wait());
    assert!(
        (&mut after).now_or_never().is_none(),
        "it has a place only when one has left"
    );
    drop(waiting);
    runtime().block_on(async {
        let (next, after) = tokio::join!(next, after);
        assert_ne!(next.unwrap().index(), after.unwrap().index());
    });
}

#[test]
fn more_tasks_than_parties_go_through_in_rounds() {
    let barrier = Barrier::new(&region(), 3).unwrap();
    let builder = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build();
    builder.unwrap().block_on(async {
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let barrier = barrier.clone();
                tokio::spawn(async move { barrier.wait().await.unwrap().is_leader() })
            })
            .collect();
        let mut leaders = 0;
        for task in tasks {
            leaders += u32::from(task.await.unwrap());
        }
        assert_eq!(leaders, 10);
    });
    assert_eq!(barrier.n_waiting(), 0);
}

#[test]
fn processes_meet_round_after_round() {
    let region = region();
    let barrier = Barrier::new(&region, 3).unwrap();
    let steps = Queue::<u32>::new(&region, 64).unwrap();
    let processes = [0, 1].map(|_| {
        let process = Process::builder().region(&region);
        let names = (barrier.handle().words(), steps.handle().words());
        let process = process.spawn(names, |names| {
            let (barrier, steps): (Barrier, Queue<u32>) = (open(&names.0), open(&names.1));
            for step in 0..20 {
                steps.send_blocking(step).unwrap();
                barrier.wait_blocking().unwrap();
            }
        });
        process.unwrap()
    });
    for step in 0..20 {
        barrier.wait_timeout(PATIENCE).unwrap();
        let sent = [(); 2].map(|()| steps.try_recv().unwrap());
        assert_eq!(sent, [step, step]);
    }
    for process in processes {
        process.wait().unwrap();
    }
}

#[test]
fn a_party_that_dies_while_it_waits_breaks_the_barrier() {
    let region = region();
    let barrier = Barrier::new(&region, 3).unwrap();
    let process = Process::builder().region(&region);
    let process = process.spawn(barrier.handle().words(), |name| {
        let barrier: Barrier = open(name);
        let _ = barrier.wait_blocking();
    });
    let process = process.unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait_timeout(PATIENCE));
        until_waiting(&barrier, 2);
        process.kill().unwrap();
        assert!(is_broken(&waiter.join().unwrap()));
    });
    process.wait().unwrap_err();
    // Nothing of it is left after a reset.
    barrier.reset().unwrap();
    thread::scope(|scope| {
        let others = [0, 1].map(|_| scope.spawn(|| barrier.wait_timeout(PATIENCE)));
        barrier.wait_timeout(PATIENCE).unwrap();
        for other in others {
            other.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_leader_that_dies_in_its_action_breaks_the_barrier() {
    let region = region();
    let (barrier, acting) = (
        Barrier::new(&region, 2).unwrap(),
        Event::new(&region).unwrap(),
    );
    let names = (barrier.handle().words(), acting.handle().words());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait_timeout(PATIENCE));
        until_waiting(&barrier, 1);
        let process = Process::builder().region(&region);
        let process = process.spawn(names, |names| {
            let (barrier, acting): (Barrier, Event) = (open(&names.0), open(&names.1));
            let act = || {
                acting.set().unwrap();
                std::process::abort();
            };
            let _ = barrier.wait_with(act).wait();
        });
        assert!(acting.wait_timeout(PATIENCE).unwrap());
        assert!(is_broken(&waiter.join().unwrap()));
        process.unwrap().wait().unwrap_err();
    });
}

#[test]
fn a_party_that_dies_elsewhere_breaks_nothing() {
    let region = region();
    let barrier = Barrier::new(&region, 2).unwrap();
    for _ in 0..3 {
        let process = Process::builder().region(&region);
        let process = process.spawn(barrier.handle().words(), |name| {
            let barrier: Barrier = open(name);
            barrier.wait_blocking().unwrap();
            std::process::abort();
        });
        barrier.wait_timeout(PATIENCE).unwrap();
        process.unwrap().wait().unwrap_err();
    }
    assert!(!barrier.is_broken());
    let odd = Handle::<Event>::from_words(barrier.handle().words());
    let refused = odd.open().unwrap_err();
    let is_other = matches!(refused, Error::Region(RegionError::OtherKind { .. }));
    assert!(is_other, "{refused}");
}
