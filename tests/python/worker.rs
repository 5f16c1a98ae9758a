//! `Worker`: call by call, as far as tests/process.rs does not show it.

use gristmill::{TaskError, Worker};

use crate::runtime;

#[test]
fn a_panic_is_an_error_and_never_a_value() {
    let worker: Worker<String> = Worker::spawn((), |()| panic!("as planned")).expect("started");
    let awaited = runtime().block_on(worker.join());
    for outcome in [
        awaited,
        worker.wait(),
        worker.result().expect("it has ended"),
    ] {
        match outcome {
            Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "as planned"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_worker_that_was_killed_has_no_value() {
    let worker: Worker<Option<u32>> = Worker::spawn((), |()| {
        loop {
            std::thread::park();
        }
    })
    .expect("started");
    assert!(worker.result().is_none(), "not yet");
    worker.kill().expect("sent");
    // There it is `None`, which might be a result as well.
    let died = |outcome| matches!(outcome, Err(TaskError::WorkerDied(_)));
    assert!(died(worker.wait()) && died(worker.result().expect("it has ended")));
}

#[test]
fn a_result_is_there_as_often_as_it_is_asked_for() {
    let worker = Worker::spawn_async(20_u32, async |n| n.to_native() + 1).expect("started");
    runtime().block_on(async {
        for _ in 0..3 {
            assert_eq!(*(&worker).await.expect("it ends well"), 21);
        }
    });
    assert_eq!(*worker.wait().expect("it ends well"), 21);
    assert_eq!(*worker.result().expect("ended").expect("well"), 21);
}
