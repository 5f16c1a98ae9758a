//! Processes and tokio: awaited here, and running async functions there.

#![cfg(feature = "tokio")]

use std::time::Duration;

use gristmill::{Cause, Process, TaskError, Worker};

async fn awaits() {
    let worker = Worker::spawn(vec![1_u64, 2], |xs| {
        xs.iter().map(|x| x.to_native()).sum::<u64>()
    });
    let worker = worker.expect("started");
    let (one, other) = tokio::join!(worker.join(), worker.join());
    assert_eq!(
        (*one.expect("well"), *other.expect("well")),
        (3.into(), 3.into())
    );

    let process = Process::spawn((), |()| {
        loop {
            std::thread::park();
        }
    });
    let process = process.expect("started");
    let waited = tokio::time::timeout(Duration::from_millis(20), &process).await;
    assert!(waited.is_err() && process.is_alive());
    process.kill().expect("sent");
    assert!(matches!(process.await, Err(TaskError::WorkerDied(_))));
}

#[tokio::test(flavor = "current_thread")]
async fn await_on_one_thread() {
    awaits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn await_on_several_threads() {
    let all: Vec<_> = (0..8).map(|_| tokio::spawn(awaits())).collect();
    for one in all {
        one.await.expect("no panic");
    }
}

#[test]
fn an_async_function_has_io_and_time() {
    let worker = Worker::spawn_async(String::from("ping"), async |text| {
        let (one, other) = tokio::net::UnixStream::pair().expect("a pair");
        let text = text.as_str().to_owned();
        let (sent, read) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                one.writable()
                    .await
                    .and_then(|()| one.try_write(text.as_bytes()))
            },
            async {
                let mut buffer = [0; 16];
                other.readable().await.expect("readable");
                let size = other.try_read(&mut buffer).expect("there is something");
                String::from_utf8_lossy(&buffer[..size]).into_owned()
            }
        );
        assert_eq!(sent.expect("sent"), 4);
        read
    });
    assert_eq!(
        *worker.expect("started").wait().expect("it ends well"),
        *"ping"
    );
}

#[test]
fn an_async_panic_is_told() {
    let worker: Worker<u64> = Worker::spawn_async((), async |()| {
        tokio::task::yield_now().await;
        panic!("as planned")
    })
    .expect("started");
    match worker.wait() {
        Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "as planned"),
        other => panic!("{other:?}"),
    }
    assert_eq!(worker.exit_code(), Some(Cause::Exit(101)));
}

#[test]
fn the_runtime_may_be_another() {
    let several = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
    };
    let worker = Process::builder().runtime(several);
    let worker = worker.spawn_worker_async((), async |()| {
        let there = tokio::spawn(async { std::thread::current().id() }).await;
        u64::from(there.expect("no panic") != std::thread::current().id())
    });
    assert_eq!(*worker.expect("started").wait().expect("it ends well"), 1);

    let refuses = || Err(std::io::Error::other("none today"));
    let process = Process::builder().runtime(refuses);
    let process = process.spawn_async((), async |()| ()).expect("started");
    match process.wait() {
        Err(TaskError::Panicked { message, .. }) => assert!(message.contains("none today")),
        other => panic!("{other:?}"),
    }
}
