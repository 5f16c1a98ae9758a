//! Queues between processes of several kinds, and what their deaths leave.

use std::time::Duration;

use gristmill::{
    Error, Handle, Mutex, OnDeath, Pool, Process, Queue, RecvError, Region, RegionError, Rkyv,
    Worker,
};

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn open<T: gristmill::Object>(words: [u64; 2]) -> T {
    Handle::from_words(words).open().unwrap()
}

fn two(words: &rkyv::Archived<[u64; 2]>) -> [u64; 2] {
    [words[0].into(), words[1].into()]
}

#[test]
fn workers_send_and_the_program_receives() {
    let region = Region::new(16 << 20).unwrap();
    let queue = Queue::<u64>::new(&region, 64).unwrap();
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let tasks: Vec<_> = (0..20_u64)
        .map(|number| {
            let arguments = (queue.handle().words(), number);
            let task = pool.spawn(arguments, |arguments| {
                let queue: Queue<u64> = open(two(&arguments.0));
                for step in 0..100 {
                    let item = arguments.1.to_native() * 100 + step;
                    queue.send_blocking(item).unwrap();
                }
            });
            task.unwrap()
        })
        .collect();
    let mut got: Vec<_> = (0..2000)
        .map(|_| queue.recv_timeout(PATIENCE).unwrap())
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    got.sort_unstable();
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
    assert!(queue.is_empty());
}

#[test]
fn a_context_takes_a_handle_to_every_chunk() {
    let region = Region::new(4 << 20).unwrap();
    let queue = Queue::<u32>::new(&region, 4096).unwrap();
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let input = pool.alloc_from_fn(1000, |i| i as u32).unwrap().freeze();
    let output = pool
        .par_map_with(queue.handle(), &input, |queue, x| {
            if x % 100 == 0 {
                queue.open().unwrap().send_blocking(*x).unwrap();
            }
            *x
        })
        .wait()
        .unwrap();
    assert_eq!(*output, *input);
    let mut marks: Vec<_> = queue.drain().map(Result::unwrap).collect();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks, (0..10).map(|i| i * 100).collect::<Vec<_>>());
}

#[test]
fn archives_cross_in_blocks_and_are_read_in_place() {
    let region = Region::new(16 << 20).unwrap();
    let queue = Queue::<Rkyv<Vec<String>>>::new(&region, 8).unwrap();
    let sender = Process::builder().region(&region);
    let words = queue.handle().words();
    let process = sender
        .spawn(words, |words| {
            let queue: Queue<Rkyv<Vec<String>>> = open(two(words));
            for len in [1, 100, 20_000] {
                queue.send_blocking(&vec!["grist".to_owned(); len]).unwrap();
            }
        })
        .unwrap();
    for len in [1, 100, 20_000] {
        let item = queue.recv_timeout(PATIENCE).unwrap();
        assert_eq!(item.len(), len);
        assert!(item.iter().all(|word| word == "grist"));
    }
    process.wait().unwrap();
}

#[test]
fn what_a_dead_receiver_held_comes_back_and_its_blocks_with_it() {
    let region = Region::new(16 << 20).unwrap();
    let queue = Queue::<[u8]>::builder(8)
        .on_death(OnDeath::ComesBack)
        .build(&region)
        .unwrap();
    let item = vec![7_u8; 3 << 20];
    for _ in 0..12 {
        queue.send_blocking(&item).unwrap();
        let words = queue.handle().words();
        let process = Process::builder().region(&region);
        let process = process
            .spawn(words, |words| {
                let queue: Queue<[u8]> = open(two(words));
                let held = queue.recv_blocking().unwrap();
                assert_eq!(held.len(), 3 << 20);
                std::process::abort();
            })
            .unwrap();
        assert!(process.wait().is_err());
        let back = queue.recv_timeout(PATIENCE).unwrap();
        assert_eq!(*back, *item);
    }
    assert_eq!(queue.lost(), 0);
}

#[test]
fn a_handle_leads_nowhere_once_its_queue_has_gone() {
    let region = Region::new(4 << 20).unwrap();
    let queue = Queue::<u8>::new(&region, 4).unwrap();
    let handle = queue.handle();
    assert!(handle.open().is_ok());
    drop(queue);
    let gone = handle.open().unwrap_err();
    assert!(matches!(gone, Error::Region(RegionError::Gone)), "{gone}");
    // Nor in a process that was not given the region.
    let kept = Queue::<u8>::new(&region, 4).unwrap();
    let stranger = Worker::spawn(kept.handle().words(), |words| {
        let handle = Handle::<Queue<u8>>::from_words(two(words));
        matches!(
            handle.open(),
            Err(Error::Region(RegionError::Unknown { .. }))
        )
    });
    assert!(*stranger.unwrap().wait().unwrap());
    // Nor does it lead to a queue of other items.
    let odd = Handle::<Queue<u64>>::from_words(kept.handle().words());
    assert!(matches!(
        odd.open(),
        Err(Error::Region(RegionError::Foreign { .. }))
    ));
}

#[test]
fn an_object_lives_as_long_as_its_last_handle_in_any_process() {
    let region = Region::new(4 << 20).unwrap();
    let orders = Queue::<u64>::new(&region, 4).unwrap();
    let answers = Queue::<u64>::new(&region, 4).unwrap();
    for ends_by_death in [false, true] {
        let mutex = Mutex::new(&region, 5_u64).unwrap();
        let handle = mutex.handle();
        let names = [
            handle.words(),
            orders.handle().words(),
            answers.handle().words(),
        ];
        let process = Process::builder().region(&region);
        let process = process.spawn((names, ends_by_death), |arguments| {
            let name = |index: usize| two(&arguments.0[index]);
            let (orders, answers): (Queue<u64>, Queue<u64>) = (open(name(1)), open(name(2)));
            let mutex: Mutex<u64> = open(name(0));
            answers
                .send_blocking(*mutex.lock_blocking().unwrap())
                .unwrap();
            orders.recv_blocking().unwrap();
            if arguments.1 {
                std::process::abort();
            }
            drop(mutex);
            answers.send_blocking(0).unwrap();
            orders.recv_blocking().unwrap();
        });
        let process = process.unwrap();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), 5);
        drop(mutex);
        // The other one has it, so it is there, and the same.
        *handle.open().unwrap().lock_timeout(PATIENCE).unwrap() += 1;
        assert_eq!(*handle.open().unwrap().lock_timeout(PATIENCE).unwrap(), 6);
        orders.send_blocking(1).unwrap();
        if !ends_by_death {
            assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), 0);
            let gone = handle.open().unwrap_err();
            assert!(matches!(gone, Error::Region(RegionError::Gone)), "{gone}");
            orders.send_blocking(1).unwrap();
        }
        assert_eq!(process.wait().is_err(), ends_by_death);
        // What a dead process had goes once its death was seen, which nobody here waits for.
        while handle.open().is_ok() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn receivers_learn_that_a_queue_was_closed_elsewhere() {
    let region = Region::new(4 << 20).unwrap();
    let queue = Queue::<u8>::new(&region, 4).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(queue.handle().words(), |words| {
            let queue: Queue<u8> = open(two(words));
            queue.send_blocking(1).unwrap();
            queue.close();
        })
        .unwrap();
    assert_eq!(queue.recv_timeout(PATIENCE).unwrap(), 1);
    assert!(matches!(
        queue.recv_timeout(PATIENCE),
        Err(RecvError::Closed)
    ));
    process.wait().unwrap();
}
