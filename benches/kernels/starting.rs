//! The contests of starting: a worker that replaces one that died, and a process for one function.

#![allow(unsafe_code, reason = "a pool that forks is unsafe to build")]

use std::process::Command;

use gristmill::{Builder, Pool, StartMethod, TaskHandle, Worker};

use crate::contest::{Bound, Contest, sample};

/// The contests of starting.
pub(crate) fn starts() -> Vec<Contest> {
    vec![replacement(), process()]
}

fn builder() -> Builder {
    Pool::builder().workers(1).memory_budget(256 << 20)
}

/// A task that ends the only worker, and the first result of the one that replaces it: an exit, a
/// reaping, a start. (When the death is *told* depends on who is awake, so it is no mark.)
fn replacement() -> Contest {
    let turn = |builder: Builder| {
        let pool = builder.build().expect("a pool");
        move |check| {
            let both = || {
                let dies = pool.spawn((), |()| std::process::exit(7));
                let dies: TaskHandle<()> = dies.expect("room for a task");
                dies.wait().expect_err("it has died");
                let task = pool.spawn(1_u32, |n| n.to_native() + 1);
                task.expect("room for a task").wait()
            };
            sample(check, both, |two| two.as_ref().is_ok_and(|two| **two == 2))
        }
    };
    // SAFETY: the workers call two closures that take no lock.
    let forking = unsafe { builder().fork() };
    Contest::new("start/replacement", Bound::None)
        .enter(
            "fork server",
            turn(builder().start_method(StartMethod::ForkServer)),
        )
        .enter("spawn", turn(builder()))
        .enter("fork", turn(forking))
}

/// One function in a process of its own, and an empty program by the standard library.
fn process() -> Contest {
    Contest::new("start/process", Bound::None)
        .enter("Worker::spawn, wait", |check| {
            let whole = || Worker::spawn(1_u32, |n| n.to_native() + 1).map(|it| it.wait());
            sample(check, whole, |two| matches!(two, Ok(Ok(two)) if **two == 2))
        })
        .enter("Command::status of `true`", |check| {
            sample(
                check,
                || Command::new("true").status(),
                |status| status.as_ref().is_ok_and(|status| status.success()),
            )
        })
}
