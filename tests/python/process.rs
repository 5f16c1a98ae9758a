//! `Process`: call by call, as far as tests/process.rs does not show it.

use std::time::Duration;

use gristmill::{Cause, Process, Worker};

use crate::{LIMIT, children, lives, runtime};

/// Ends by a signal only.
fn forever(_: &()) {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_needs_no_helper_process() {
    // In a process of its own, which nobody else starts processes in.
    let counts = Worker::spawn((), |()| {
        let process = Process::spawn((), forever).expect("started");
        let only = children() == [process.pid()];
        process.kill().expect("sent");
        let _ = process.wait();
        (only, children().len() as u32)
    });
    let counts = counts.expect("started").wait().expect("it ends well");
    assert_eq!((counts.0, counts.1.to_native()), (true, 0));
}

#[test]
fn it_takes_functions_that_are_async_or_not() {
    runtime().block_on(async {
        Process::spawn(1_u32, |n| assert_eq!(n.to_native(), 1))
            .expect("started")
            .await
            .expect("well");
        let process = Process::spawn_async(1_u32, async |n| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(n.to_native(), 1);
        });
        process.expect("started").await.expect("well");
    });
}

#[test]
fn join_with_a_timeout_of_the_runtime_leaves_it_running() {
    let process = Process::spawn((), forever).expect("started");
    runtime().block_on(async {
        let limit = Duration::from_millis(1);
        assert!(tokio::time::timeout(limit, process.join()).await.is_err());
        assert!(process.is_alive());
        process.kill().expect("sent");
        let joined = tokio::time::timeout(LIMIT, process.join()).await;
        assert!(joined.expect("in time").is_err());
    });
    assert_eq!(process.exit_code(), Some(Cause::Signal(9)));
}

#[test]
fn everything_may_be_asked_after_the_end() {
    let process = Process::builder()
        .name("asked")
        .spawn((), |()| ())
        .expect("started");
    process.wait().expect("it ends well");
    // There it is a `ValueError` once it is closed.
    assert_eq!(process.exit_code(), Some(Cause::Exit(0)));
    assert_eq!(
        (process.name(), process.is_alive(), process.is_daemon()),
        ("asked", false, true)
    );
    assert!(process.pid() > 0 && !lives(process.pid()));
    process
        .terminate()
        .and(process.kill())
        .expect("nobody is meant any more");
    process.wait().expect("as before");
}
