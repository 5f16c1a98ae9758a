//! What a worker in a sandbox shares with the program: regions that it was given.

use std::time::Duration;

use gristmill::{Handle, Pool, Queue, RecvError, Region, Sandbox, Violation};

type Numbers = Queue<u64>;

fn open(words: &rkyv::Archived<[u64; 2]>) -> Numbers {
    let handle: Handle<Numbers> = Handle::from_words([words[0].into(), words[1].into()]);
    handle.open().unwrap()
}

#[test]
fn a_confined_worker_receives_and_sends_in_a_region_that_it_was_given() {
    for violation in [Violation::Deny, Violation::Kill] {
        receives_and_sends(Sandbox::compute_only().on_violation(violation));
    }
}

fn receives_and_sends(sandbox: Sandbox) {
    let region = Region::new(16 << 20).unwrap();
    let (there, back) = (
        Numbers::new(&region, 8).unwrap(),
        Numbers::new(&region, 8).unwrap(),
    );
    let pool = Pool::builder().workers(2).region(&region).sandbox(sandbox);
    let pool = pool.build().unwrap();
    let reach = pool.spawn(there.handle().words(), |name| {
        let _ = open(name);
    });
    reach.unwrap().wait().expect("a region that can be reached");
    let names = (there.handle().words(), back.handle().words());
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let task = pool.spawn(names, |names| {
                let (there, back) = (open(&names.0), open(&names.1));
                let mut count = 0_u64;
                loop {
                    match there.recv_blocking() {
                        Ok(n) => back.send_blocking(n * n).unwrap(),
                        Err(RecvError::Closed) => return count,
                        Err(error) => panic!("{error}"),
                    }
                    count += 1;
                }
            });
            task.unwrap()
        })
        .collect();
    let mut sum = 0;
    for n in 0..500 {
        there.send_blocking(n).unwrap();
        sum += back.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert_eq!(sum, (0..500).map(|n| n * n).sum::<u64>());
    there.close();
    let counts: u64 = tasks
        .into_iter()
        .map(|task| task.wait().unwrap().to_native())
        .sum();
    assert_eq!(counts, 500);
}
