//! (h) How long a pool takes to be there, and to be whole again.

#![allow(unsafe_code, reason = "a pool that forks is unsafe to build")]

use std::sync::Arc;
use std::time::Duration;

use gristmill::{Builder, Pool, StartMethod, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contest::{Kind, Row, Turn, WIDTH, Work, timed};
use crate::crew::Crew;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 2] = [("h/start", start), ("h/respawn", respawn)];

/// Names of the children that start pools: whatever this program has mapped by then would be copied
/// with it.
pub(crate) const FORKED: &str = "start/fork";
pub(crate) const ANEW: &str = "start/anew";

const PROCSPAWN: &str = "procspawn";

fn builder(workers: usize) -> Builder {
    Pool::builder().workers(workers).memory_budget(256 << 20)
}

fn forking() -> Builder {
    // SAFETY: the workers call a closure that takes no lock.
    unsafe { builder(WIDTH).fork() }
}

/// From nothing to an answer by a pool; its end is not counted.
fn turn(builder: Builder) -> impl FnMut(bool) -> Turn {
    move |_: bool| {
        let (pool, time) = timed(|| {
            let pool = builder.clone().build().expect("a pool");
            let task = pool.spawn(1_u32, |n| n.to_native() + 1).expect("room");
            (task.wait().is_ok_and(|two| *two == 2), pool)
        });
        Turn::new(time, pool.0)
    }
}

/// The work of a child that starts pools.
pub(crate) fn remote_start(name: &str) -> Option<Work> {
    match name {
        FORKED => Some(Box::new(turn(forking()))),
        ANEW => Some(Box::new(turn(builder(WIDTH)))),
        _ => None,
    }
}

/// A pool of two.
fn start(_: &Crew) -> Row {
    Row::new(
        "h/start",
        "a pool of two workers, from nothing to its first answer",
    )
    .ahead_of(PROCSPAWN, 1.0)
    .enter(Kind::Ours, "gristmill", turn(builder(WIDTH)))
    .enter(
        Kind::Ours,
        "gristmill, fork server",
        turn(builder(WIDTH).start_method(StartMethod::ForkServer)),
    )
    .enter(Kind::Ours, "gristmill, fork", turn(forking()))
    .enter(Kind::Processes, PROCSPAWN, |_| {
        let (pool, time) = timed(|| {
            let pool = procspawn::Pool::new(WIDTH).expect("a pool");
            let answer = pool.spawn(1_u64, |n| n + 1).join();
            (answer.is_ok_and(|two| two == 2), pool)
        });
        pool.1.kill();
        Turn::new(time, pool.0)
    })
}

/// The only worker is killed; the time until the next answer.
fn respawn(_: &Crew) -> Row {
    let turn = |builder: Builder| {
        let pool = Arc::new(builder.build().expect("a pool"));
        move |_: bool| {
            let pids = pool.worker_pids();
            let ((died, two), time) = timed(|| {
                for pid in &pids {
                    // Whether it worked, the next line tells.
                    let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
                }
                let task: TaskHandle<u32> = pool
                    .task(1_u32, |n| n.to_native() + 1)
                    .idempotent()
                    .spawn()
                    .expect("room");
                let two = task.wait();
                (pool.worker_pids() != pids, two)
            });
            Turn::new(time, died && two.is_ok_and(|two| *two == 2))
        }
    };
    // SAFETY: the workers call a closure that takes no lock.
    let forking = unsafe { builder(1).fork() };
    let pool = procspawn::Pool::new(1);
    Row::new(
        "h/respawn",
        "the only worker is killed; until the next answer",
    )
    .ahead_of(PROCSPAWN, 1.0)
    .enter(Kind::Ours, "gristmill", turn(builder(1)))
    .enter(
        Kind::Ours,
        "gristmill, fork server",
        turn(builder(1).start_method(StartMethod::ForkServer)),
    )
    .enter(Kind::Ours, "gristmill, fork", turn(forking))
    .invite(
        Kind::Processes,
        PROCSPAWN,
        pool.map_err(|error| error.to_string()).map(|pool| {
            let work = move |_: bool| {
                let mut task = pool.spawn(3600, |seconds: u64| {
                    std::thread::sleep(Duration::from_secs(seconds));
                });
                // It can only kill a worker by the task that runs there.
                std::thread::sleep(Duration::from_millis(10));
                let (right, time) = timed(|| {
                    let died = task.kill().is_ok() && task.join().is_err();
                    let answer = pool.spawn(1_u64, |n| n + 1).join();
                    died && answer.is_ok_and(|two| two == 2)
                });
                Turn::new(time, right)
            };
            let work: Work = Box::new(work);
            work
        }),
    )
}
