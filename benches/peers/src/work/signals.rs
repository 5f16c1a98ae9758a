//! (l) Permits, events, conditions and barriers.

use std::hint::black_box;
use std::sync::{Arc, Condvar as StdCondvar, Mutex as StdMutex};
use std::thread;

use gristmill::{Barrier, Condvar, Event, Mutex, Region, Semaphore};
use tokio::sync::{Notify, Semaphore as TokioSemaphore};

use crate::contest::{Kind, Row, Turn, Work, timed};
use crate::crew::{Crew, one_thread, two_threads};
use crate::peer::partner::{Name, Partner, Served, named};
use crate::peer::python;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 6] = [
    ("l/semaphore/alone", alone),
    ("l/semaphore/tasks", tasks),
    ("l/semaphore/exchange", exchange),
    ("l/event/crowd", crowd),
    ("l/condvar/exchange", condition),
    ("l/barrier/round", barrier),
];

/// These have `python` in their names.
pub(crate) const PYTHON_ROWS: [(&str, Setup); 5] = [
    ("l/python/semaphore/alone", python_alone),
    ("l/python/semaphore/exchange", python_exchange),
    ("l/python/event/crowd", python_crowd),
    ("l/python/condvar/exchange", python_condition),
    ("l/python/barrier/round", python_barrier),
];

fn region() -> Region {
    Region::new(4 << 20).expect("memory")
}

fn turn(count: usize, work: impl FnOnce() -> bool) -> Turn {
    let (right, time) = timed(work);
    Turn::new(time / count as f64, right)
}

fn ours_alone(crew: &Crew) -> Work {
    let count = crew.pick(500_000, 1000);
    let semaphore = Semaphore::new(&region(), 2).expect("room");
    Box::new(move |_| {
        turn(count, || {
            for _ in 0..count {
                drop(black_box(semaphore.try_acquire().expect("a permit")));
            }
            semaphore.available() == 2
        })
    })
}

fn alone(crew: &Crew) -> Row {
    let count = crew.pick(500_000, 1000);
    let what = "a permit is acquired and released, with nobody else there";
    let row = Row::new("l/semaphore/alone", what);
    let row = row.invite(Kind::Ours, "gristmill Semaphore", Ok(ours_alone(crew)));
    let semaphore = Arc::new(TokioSemaphore::new(2));
    let owned = Arc::clone(&semaphore);
    let row = row.enter(Kind::Threads, "tokio Semaphore, owned permit", move |_| {
        turn(count, || {
            for _ in 0..count {
                let permit = Arc::clone(&owned).try_acquire_owned();
                drop(black_box(permit.expect("a permit")));
            }
            owned.available_permits() == 2
        })
    });
    row.enter(Kind::Threads, "tokio Semaphore", move |_| {
        turn(count, || {
            for _ in 0..count {
                drop(black_box(semaphore.try_acquire().expect("a permit")));
            }
            semaphore.available_permits() == 2
        })
    })
}

/// Tasks of one runtime that wait for the one permit in turns.
fn tasks(crew: &Crew) -> Row {
    const TASKS: usize = 4;
    let count = crew.pick(20_000, 100);
    let what = "four tasks of one thread take the one permit in turns, each while others wait";
    let row = Row::new("l/semaphore/tasks", what);
    let (semaphore, runtime) = (Semaphore::new(&region(), 1).expect("room"), one_thread());
    let row = row.enter(Kind::Ours, "gristmill Semaphore", move |_| {
        turn(count, || {
            let tasks = (0..TASKS).map(|_| {
                let semaphore = semaphore.clone();
                runtime.spawn(async move {
                    for _ in 0..count / TASKS {
                        let permit = semaphore.acquire().await.expect("not forked");
                        tokio::task::yield_now().await;
                        drop(permit);
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut ends = tasks.into_iter().map(|task| runtime.block_on(task));
            ends.all(|end| end.is_ok()) && semaphore.available() == 1
        })
    });
    let (semaphore, runtime) = (Arc::new(TokioSemaphore::new(1)), one_thread());
    row.enter(Kind::Threads, "tokio Semaphore", move |_| {
        turn(count, || {
            let tasks = (0..TASKS).map(|_| {
                let semaphore = Arc::clone(&semaphore);
                runtime.spawn(async move {
                    for _ in 0..count / TASKS {
                        let permit = semaphore.acquire().await.expect("it is open");
                        tokio::task::yield_now().await;
                        drop(permit);
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut ends = tasks.into_iter().map(|task| runtime.block_on(task));
            ends.all(|end| end.is_ok()) && semaphore.available_permits() == 1
        })
    })
}

/// Turns of an exchange with another process: `there` serves it, `step` is this side's part.
fn with_partner(
    region: &Region,
    names: Vec<Name>,
    count: usize,
    there: impl Fn(Vec<Name>) -> Served + Copy + Send + Sync + 'static,
    mut step: impl FnMut() -> bool + 'static,
) -> Result<Work, String> {
    let partner = Partner::start(region, names, there)?;
    let count = count as u64;
    Ok(Box::new(move |_| {
        if partner.begin(count).is_none() {
            return Turn::new(f64::NAN, false);
        }
        let (right, time) = timed(|| (0..count).all(|_| step()));
        let right = right && partner.end() == Some(count);
        Turn::new(time / count as f64, right)
    }))
}

/// The same between two threads of this process.
fn with_thread(
    count: usize,
    there: impl Fn() + Send + Sync + 'static,
    here: impl Fn() + 'static,
) -> Work {
    Box::new(move |_| {
        turn(count, || {
            thread::scope(|scope| {
                scope.spawn(|| (0..count).for_each(|_| there()));
                (0..count).for_each(|_| here());
            });
            true
        })
    })
}

fn ours_exchange(crew: &Crew) -> Result<Work, String> {
    let region = region();
    let [there, back] = [0, 0].map(|none| Semaphore::new(&region, none).expect("room"));
    let names = vec![there.handle().words(), back.handle().words()];
    let serve = |names: Vec<Name>| -> Served {
        let [there, back] = [0, 1].map(|index| {
            let handle = named::<Semaphore>(&names, index);
            handle.open().expect("a semaphore")
        });
        Box::new(move |count| {
            for _ in 0..count {
                there.acquire_blocking().expect("not forked").forget();
                back.release(1).expect("few");
            }
            count
        })
    };
    with_partner(&region, names, crew.pick(10_000, 100), serve, move || {
        let sent = there.release(1).is_ok();
        sent && back
            .acquire_blocking()
            .map(|permit| permit.forget())
            .is_ok()
    })
}

fn exchange(crew: &Crew) -> Row {
    let count = crew.pick(10_000, 100);
    let what = "a permit is released for another process and one of its comes back";
    let row = Row::new("l/semaphore/exchange", what);
    let row = row.invite(Kind::Ours, "gristmill Semaphore", ours_exchange(crew));
    let runtime = two_threads();
    row.enter(Kind::Threads, "tokio Semaphore, tasks", move |_| {
        turn(count, || {
            let [there, back] = [0, 0].map(|none| Arc::new(TokioSemaphore::new(none)));
            let (their_there, their_back) = (Arc::clone(&there), Arc::clone(&back));
            let serve = runtime.spawn(async move {
                for _ in 0..count {
                    their_there.acquire().await.expect("it is open").forget();
                    their_back.add_permits(1);
                }
            });
            let ask = runtime.spawn(async move {
                for _ in 0..count {
                    there.add_permits(1);
                    back.acquire().await.expect("it is open").forget();
                }
            });
            runtime.block_on(async { ask.await.is_ok() && serve.await.is_ok() })
        })
    })
}

fn ours_crowd(crew: &Crew) -> Work {
    let count = crew.pick(10_000, 100);
    let (event, runtime) = (Event::new(&region()).expect("room"), one_thread());
    Box::new(move |_| {
        event.clear().expect("not forked");
        turn(count, || {
            runtime.block_on(async {
                let tasks = (0..count).map(|_| {
                    let event = event.clone();
                    tokio::spawn(async move { event.wait().await.is_ok() })
                });
                let tasks: Vec<_> = tasks.collect();
                tokio::task::yield_now().await;
                let mut right = event.set().is_ok();
                for task in tasks {
                    right &= task.await.is_ok_and(|right| right);
                }
                right
            })
        })
    })
}

fn crowd(crew: &Crew) -> Row {
    let count = crew.pick(10_000, 100);
    let what = "a task waits for an event with 10,000 others, and all are let through at once";
    let row = Row::new("l/event/crowd", what);
    let row = row.invite(Kind::Ours, "gristmill Event", Ok(ours_crowd(crew)));
    let (notify, runtime) = (Arc::new(Notify::new()), one_thread());
    row.enter(Kind::Threads, "tokio Notify", move |_| {
        turn(count, || {
            runtime.block_on(async {
                // Each hears of what comes after it was made, polled or not.
                let tasks = (0..count).map(|_| tokio::spawn(Arc::clone(&notify).notified_owned()));
                let tasks: Vec<_> = tasks.collect();
                tokio::task::yield_now().await;
                notify.notify_waiters();
                let mut right = true;
                for task in tasks {
                    right &= task.await.is_ok();
                }
                right
            })
        })
    })
}

/// A number that both sides make one more in turns: ours when it is even, theirs when it is odd.
fn ours_condition(crew: &Crew) -> Result<Work, String> {
    let region = region();
    let number = Mutex::new(&region, 0_u64).expect("room");
    let condition = Condvar::new(&region).expect("room");
    let names = vec![number.handle().words(), condition.handle().words()];
    let step = |number: &Mutex<u64>, condition: &Condvar, parity: u64| {
        let guard = number.lock_blocking().ok()?;
        let mine = condition.wait_while_blocking(guard, |number| *number % 2 != parity);
        *mine.ok()? += 1;
        condition.notify_one().ok()
    };
    let serve = move |names: Vec<Name>| -> Served {
        let number = named::<Mutex<u64>>(&names, 0).open().expect("a mutex");
        let condition = named::<Condvar>(&names, 1).open().expect("a condition");
        Box::new(move |count| {
            let steps = (0..count).map(|_| step(&number, &condition, 1));
            steps.flatten().count() as u64
        })
    };
    with_partner(&region, names, crew.pick(5000, 100), serve, move || {
        step(&number, &condition, 0).is_some()
    })
}

fn condition(crew: &Crew) -> Row {
    let count = crew.pick(5000, 100);
    let what = "two wait for each other's change of a number under a lock, a change each";
    let row = Row::new("l/condvar/exchange", what);
    let row = row.invite(Kind::Ours, "gristmill Condvar", ours_condition(crew));
    let pair = Arc::new((StdMutex::new(0_u64), StdCondvar::new()));
    let step = |pair: &(StdMutex<u64>, StdCondvar), parity: u64| {
        let guard = pair.0.lock().expect("it is whole");
        let mine = pair.1.wait_while(guard, |number| *number % 2 != parity);
        *mine.expect("it is whole") += 1;
        pair.1.notify_one();
    };
    let theirs = Arc::clone(&pair);
    let std = with_thread(count, move || step(&theirs, 1), move || step(&pair, 0));
    let row = row.invite(Kind::Threads, "std Condvar, threads", Ok(std));
    let runtime = two_threads();
    row.enter(Kind::Threads, "tokio Notify, tasks", move |_| {
        turn(count, || {
            let [there, back] = [(), ()].map(|()| Arc::new(Notify::new()));
            let (their_there, their_back) = (Arc::clone(&there), Arc::clone(&back));
            let serve = runtime.spawn(async move {
                for _ in 0..count {
                    their_there.notified().await;
                    their_back.notify_one();
                }
            });
            let ask = runtime.spawn(async move {
                for _ in 0..count {
                    there.notify_one();
                    back.notified().await;
                }
            });
            runtime.block_on(async { ask.await.is_ok() && serve.await.is_ok() })
        })
    })
}

fn ours_barrier(crew: &Crew) -> Result<Work, String> {
    let region = region();
    let barrier = Barrier::new(&region, 2).expect("room");
    let names = vec![barrier.handle().words()];
    let serve = |names: Vec<Name>| -> Served {
        let barrier = named::<Barrier>(&names, 0).open().expect("a barrier");
        Box::new(move |count| {
            let rounds = (0..count).map(|_| barrier.wait_blocking());
            rounds.filter(Result::is_ok).count() as u64
        })
    };
    with_partner(&region, names, crew.pick(5000, 100), serve, move || {
        barrier.wait_blocking().is_ok()
    })
}

fn barrier(crew: &Crew) -> Row {
    let count = crew.pick(5000, 100);
    let row = Row::new(
        "l/barrier/round",
        "two meet at a barrier, round after round",
    );
    let row = row.invite(Kind::Ours, "gristmill Barrier", ours_barrier(crew));
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let theirs = Arc::clone(&barrier);
    let std = with_thread(count, move || _ = theirs.wait(), move || _ = barrier.wait());
    let row = row.invite(Kind::Threads, "std Barrier, threads", Ok(std));
    let runtime = two_threads();
    row.enter(Kind::Threads, "tokio Barrier, tasks", move |_| {
        turn(count, || {
            let barrier = Arc::new(tokio::sync::Barrier::new(2));
            let meet = |barrier: Arc<tokio::sync::Barrier>| async move {
                for _ in 0..count {
                    barrier.wait().await;
                }
            };
            let tasks = [(); 2].map(|()| runtime.spawn(meet(Arc::clone(&barrier))));
            tasks.into_iter().all(|task| runtime.block_on(task).is_ok())
        })
    })
}

/// A row with ours and Python's: who, and how many steps in a turn.
fn python_row(
    (name, what): (&str, &str),
    ours: (&str, Result<Work, String>),
    work: &str,
    peers: &[(&str, usize)],
    crew: &Crew,
) -> Row {
    let row = Row::new(name, what).invite(Kind::Ours, ours.0, ours.1);
    peers.iter().fold(row, |row, &(peer, count)| {
        let work = format!("{work}/{}", crew.pick(count, count.min(50)));
        row.invite(Kind::Python, peer, python::shared(peer, &work, 0))
    })
}

fn python_alone(crew: &Crew) -> Row {
    let what = "a permit is acquired and released, with nobody else there, beside Python's";
    let peers = [
        ("multiprocessing.Semaphore", 50_000),
        ("AioSemaphore", 1000),
    ];
    let ours = ("gristmill Semaphore", Ok(ours_alone(crew)));
    python_row(
        ("l/python/semaphore/alone", what),
        ours,
        "lock",
        &peers,
        crew,
    )
}

fn python_exchange(crew: &Crew) -> Row {
    let what = "a permit is released for another process and one comes back, beside Python's";
    let ours = ("gristmill Semaphore", ours_exchange(crew));
    let peers = [("multiprocessing.Semaphore", 500)];
    python_row(
        ("l/python/semaphore/exchange", what),
        ours,
        "exchange",
        &peers,
        crew,
    )
}

fn python_crowd(crew: &Crew) -> Row {
    let what = "a task waits for an event with 10,000 others of one process, beside Python's";
    let peers = [("AioEvent", 10_000)];
    let ours = ("gristmill Event", Ok(ours_crowd(crew)));
    python_row(("l/python/event/crowd", what), ours, "crowd", &peers, crew)
}

fn python_condition(crew: &Crew) -> Row {
    let what = "two processes wait for each other's change under a lock, beside Python's";
    let ours = ("gristmill Condvar", ours_condition(crew));
    let peers = [("multiprocessing.Condition", 300)];
    python_row(
        ("l/python/condvar/exchange", what),
        ours,
        "condition",
        &peers,
        crew,
    )
}

fn python_barrier(crew: &Crew) -> Row {
    let what = "two processes meet at a barrier, round after round, beside Python's";
    let ours = ("gristmill Barrier", ours_barrier(crew));
    let peers = [("multiprocessing.Barrier", 300)];
    python_row(
        ("l/python/barrier/round", what),
        ours,
        "barrier",
        &peers,
        crew,
    )
}
