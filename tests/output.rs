//! What workers print: by line, with its source, whoever reads or does not, however they end.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use gristmill::{OutputLines, OutputStream, Pool, TaskHandle, WorkerLine};

fn pool(lines: usize) -> Pool {
    Pool::builder()
        .workers(1)
        .capture_output(lines)
        .build()
        .unwrap()
}

fn next(lines: &mut OutputLines) -> WorkerLine {
    Iterator::next(lines).unwrap()
}

#[test]
fn lines_come_with_process_and_stream() {
    let pool = pool(100);
    let mut lines = pool.output_lines();
    let task = pool.spawn((), |()| {
        println!("one");
        eprintln!("two");
        println!();
        std::process::id()
    });
    let pid = task.unwrap().wait().unwrap().to_native();
    let mut found: Vec<_> = (0..3)
        .map(|_| {
            let line = next(&mut lines);
            assert_eq!((line.pid, line.worker, line.is_whole), (pid, 0, true));
            assert_eq!(line.missed, 0);
            (line.stream == OutputStream::Stderr, line.text)
        })
        .collect();
    // The two streams are two pipes.
    found.sort_by_key(|(is_error, _)| *is_error);
    let expected = [(false, "one"), (false, ""), (true, "two")];
    assert_eq!(
        found,
        expected.map(|(error, text)| (error, text.to_owned()))
    );
}

#[test]
fn what_a_worker_began_before_its_death_is_there_when_the_death_is_told() {
    let pool = pool(100);
    let mut lines = pool.output_lines();
    let task: TaskHandle<()> = pool
        .spawn((), |()| {
            let mut out = std::io::stderr();
            out.write_all(b"whole\nlast wor").unwrap();
            std::process::abort()
        })
        .unwrap();
    task.wait().unwrap_err();
    let found: Vec<_> = std::iter::from_fn(|| lines.try_next())
        .map(|line| (line.text, line.is_whole))
        .collect();
    assert_eq!(found, [("whole".into(), true), ("last wor".into(), false)]);
    // The replacement is heard as well.
    pool.spawn((), |()| println!("again"))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(next(&mut lines).text, "again");
}

#[test]
fn nobody_reads_and_no_worker_waits() {
    let pool = pool(3);
    // Far more than a pipe holds.
    let task = pool.spawn((), |()| {
        let mut out = std::io::stdout().lock();
        for number in 0..100_000_u32 {
            writeln!(out, "line {number:050}").unwrap();
        }
    });
    task.unwrap().wait().unwrap();
    let mut lines = pool.output_lines();
    drop(pool);
    let left: Vec<WorkerLine> = Iterator::collect(&mut lines);
    assert_eq!(left.len(), 3);
    assert_eq!(left[0].missed, 100_000 - 3);
    assert!(left[2].text.ends_with("99999"), "{}", left[2].text);
}

#[test]
fn a_stream_waits_without_a_runtime_and_ends_with_the_pool() {
    let pool = pool(10);
    let mut lines = pool.output_lines();
    let mut context = Context::from_waker(Waker::noop());
    assert!(
        pin!(StreamExt::next(&mut lines))
            .poll(&mut context)
            .is_pending()
    );
    pool.spawn((), |()| println!("x")).unwrap().wait().unwrap();
    drop(pool);
    let taken = pin!(StreamExt::next(&mut lines)).poll(&mut context);
    assert!(matches!(taken, Poll::Ready(Some(line)) if line.text == "x"));
    let taken = pin!(StreamExt::next(&mut lines)).poll(&mut context);
    assert_eq!(taken, Poll::Ready(None));
}

#[test]
fn without_capture_there_are_no_lines() {
    let pool = Pool::builder().workers(1).build().unwrap();
    assert_eq!(Iterator::next(&mut pool.output_lines()), None);
}
