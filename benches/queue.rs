//! Queues beside what threads use: messages of 64 bytes, one sender and one receiver, and of 1 MiB
//! beside a plain copy. In turns, so that a slower machine is slower for all.
//!
//! Prints the median and the quartiles of as many rounds as are given (`-- 9`). Unfair to ours: the
//! rivals' channels are between threads, and survive nobody's death.
//! Unfair to the rivals: their channels hand over ownership of any value, ours copies plain bytes.

use std::hint::black_box;
use std::sync::mpsc;
use std::time::Instant;

use gristmill::{Handle, Process, Queue, Region};

type Message = [u64; 8];

const CAPACITY: usize = 1024;
const LARGE: usize = 1 << 20;

/// Sends `count` numbered messages through whatever it is and checks each; gives millions a second.
fn rate(count: u64, send: impl Fn(Message) + Send, receive: impl Fn() -> Message + Send) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..count).for_each(|number| send([number; 8])));
        scope.spawn(move || {
            (0..count).for_each(|number| assert_eq!(black_box(receive()), [number; 8]));
        });
    });
    count as f64 / began.elapsed().as_secs_f64() / 1e6
}

fn ours(count: u64, region: &Region) -> f64 {
    let queue = Queue::<Message>::new(region, CAPACITY).expect("room");
    rate(
        count,
        |message| queue.send_blocking(message).expect("it is open"),
        || queue.recv_blocking().expect("it is open"),
    )
}

/// The same, received in another process, which answers when it has all.
fn between_processes(count: u64, region: &Region) -> f64 {
    let queue = Queue::<Message>::new(region, CAPACITY).expect("room");
    let answers = Queue::<u64>::new(region, 1).expect("room");
    let names = (queue.handle().words(), answers.handle().words());
    let process = Process::builder().region(region);
    let process = process.spawn((names, count), |arguments| {
        let (names, count) = (&arguments.0, arguments.1);
        let words = |name: &rkyv::Archived<[u64; 2]>| [name[0].into(), name[1].into()];
        let queue: Queue<Message> = Handle::from_words(words(&names.0)).open().expect("a queue");
        let answers: Queue<u64> = Handle::from_words(words(&names.1)).open().expect("a queue");
        answers.send_blocking(0).expect("it is open");
        for number in 0..count.to_native() {
            let message = queue.recv_blocking().expect("it is open");
            assert_eq!(black_box(message), [number; 8]);
        }
        answers
            .send_blocking(count.to_native())
            .expect("it is open");
    });
    let process = process.expect("a process");
    assert_eq!(answers.recv_blocking().expect("it is there"), 0);
    let began = Instant::now();
    (0..count).for_each(|number| queue.send_blocking([number; 8]).expect("it is open"));
    assert_eq!(answers.recv_blocking().expect("it is there"), count);
    let rate = count as f64 / began.elapsed().as_secs_f64() / 1e6;
    process.wait().expect("it ends well");
    rate
}

fn std_channel(count: u64) -> f64 {
    let (sender, receiver) = mpsc::sync_channel::<Message>(CAPACITY);
    rate(
        count,
        move |message| sender.send(message).expect("a receiver"),
        move || receiver.recv().expect("a sender"),
    )
}

fn tokio_channel(count: u64) -> f64 {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Message>(CAPACITY);
    let receiver = std::sync::Mutex::new(receiver);
    rate(
        count,
        move |message| sender.blocking_send(message).expect("a receiver"),
        move || {
            let mut receiver = receiver.lock().expect("nobody panicked");
            receiver.blocking_recv().expect("a sender")
        },
    )
}

/// Gives GB/s of messages that are sent, and read once where they lie.
fn large(count: u64, region: &Region) -> f64 {
    let queue = Queue::<[u8]>::new(region, 4).expect("room");
    let message = vec![7_u8; LARGE];
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..count).for_each(|_| queue.send_blocking(&message).expect("it is open"));
        });
        scope.spawn(|| {
            for _ in 0..count {
                let received = queue.recv_blocking().expect("it is open");
                assert_eq!((received.len(), received[LARGE / 2]), (LARGE, 7));
            }
        });
    });
    (count * LARGE as u64) as f64 / began.elapsed().as_secs_f64() / 1e9
}

/// The same bytes by one thread's `copy_from_slice`.
fn copy(count: u64) -> f64 {
    let from = vec![7_u8; LARGE];
    let mut to = vec![0_u8; LARGE];
    let began = Instant::now();
    for _ in 0..count {
        to.copy_from_slice(black_box(&from));
        assert_eq!(black_box(&to)[LARGE / 2], 7);
    }
    (count * LARGE as u64) as f64 / began.elapsed().as_secs_f64() / 1e9
}

fn say(name: &str, unit: &str, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    let at = |quarter: usize| rates[(rates.len() - 1) * quarter / 4];
    println!(
        "{name:<28} {:7.2} [{:.2}, {:.2}] {unit}",
        at(2),
        at(1),
        at(3)
    );
}

fn main() {
    let is_test = std::env::args().any(|word| word == "--test");
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(if is_test { 1 } else { 9 });
    let (small_count, large_count) = if is_test {
        (1000, 4)
    } else {
        (1_000_000, 1000)
    };
    let region = Region::new(64 << 20).expect("memory");
    let mut rates: [Vec<f64>; 6] = Default::default();
    for _ in 0..rounds {
        rates[0].push(ours(small_count, &region));
        rates[1].push(std_channel(small_count));
        rates[2].push(tokio_channel(small_count / 10));
        rates[3].push(large(large_count, &region));
        rates[4].push(copy(large_count));
        rates[5].push(between_processes(small_count, &region));
    }
    let [small, std, tokio, large, copy, between] = rates;
    say("64 bytes, two processes", "M/s", between);
    say("64 bytes, two threads", "M/s", small);
    say("64 bytes, std sync_channel", "M/s", std);
    say("64 bytes, tokio mpsc", "M/s", tokio);
    say("1 MiB, two threads", "GB/s", large);
    say("1 MiB, plain copy", "GB/s", copy);
}
