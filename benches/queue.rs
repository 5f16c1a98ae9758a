//! Queues beside what others have: messages of 64 bytes from one sender to one receiver, and of
//! 1 MiB beside a plain copy. In turns, so that a slower machine is slower for all.
//!
//! ```text
//! cargo bench --bench queue            nine rounds
//! cargo bench --bench queue -- 5 64    five rounds, of what has "64" in its name
//! ```
//!
//! Prints the median and the quartiles. Every message is checked: its number, and of large ones
//! the sum of all bytes, by ours and by all others but Python.
//!
//! Unfair to ours: the rivals' channels are between threads, and survive nobody's death.
//! Unfair to the rivals: theirs hand over ownership of any value, ours copies plain bytes; Python's
//! numbers contain its interpreter.

use std::hint::black_box;
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

use gristmill::{Handle, Item, Process, Queue, Region};

type Message = [u64; 8];

const CAPACITY: usize = 1024;
const LARGE: usize = 1 << 20;
const WORDS: usize = LARGE / 8;
/// Messages that are sent or received at once, where that is what is measured.
const MANY: usize = 64;

fn message(number: u64) -> Message {
    [number; 8]
}

fn check(number: u64, message: &Message) {
    assert_eq!(black_box(message), &[number; 8]);
}

fn rate(count: u64, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Sends and receives in two threads; gives millions a second.
fn threads(
    count: u64,
    send: impl Fn(u64, Message) + Send,
    receive: impl Fn(u64) -> Message + Send,
) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..count).for_each(|number| send(number, message(number))));
        scope.spawn(move || (0..count).for_each(|number| check(number, &receive(number))));
    });
    rate(count, began)
}

fn ours_threads(count: u64) -> f64 {
    let region = Region::new(64 << 20).expect("memory");
    let queue = Queue::<Message>::new(&region, CAPACITY).expect("room");
    threads(
        count,
        |_, message| queue.send_blocking(message).expect("it is open"),
        |_| queue.recv_blocking().expect("it is open"),
    )
}

/// A queue whose receiver is `receive` in another process, which answers when it has all.
fn processes<T: Item + ?Sized + 'static>(
    capacity: usize,
    count: u64,
    receive: impl Fn(&Queue<T>, u64) + Copy + Send + Sync + 'static,
    send: impl Fn(&Queue<T>, u64),
) -> Instant {
    let region = Region::new(64 << 20).expect("memory");
    let queue = Queue::<T>::new(&region, capacity).expect("room");
    let answers = Queue::<u64>::new(&region, 1).expect("room");
    let names = (queue.handle().words(), answers.handle().words());
    let process = Process::builder().region(&region);
    let process = process.spawn((names, count), move |arguments| {
        let (names, count) = (&arguments.0, arguments.1.to_native());
        let words = |name: &rkyv::Archived<[u64; 2]>| [name[0].into(), name[1].into()];
        let queue = Handle::<Queue<T>>::from_words(words(&names.0));
        let answers = Handle::<Queue<u64>>::from_words(words(&names.1));
        let queue = queue.open().expect("a queue");
        let answers = answers.open().expect("a queue");
        answers.send_blocking(0).expect("it is open");
        receive(&queue, count);
        answers.send_blocking(count).expect("it is open");
    });
    let process = process.expect("a process");
    assert_eq!(answers.recv_blocking().expect("it is there"), 0);
    let began = Instant::now();
    send(&queue, count);
    assert_eq!(answers.recv_blocking().expect("it is there"), count);
    let took = began.elapsed();
    process.wait().expect("it ends well");
    // As if it had begun so much earlier than now.
    Instant::now() - took
}

fn ours(count: u64) -> f64 {
    let began = processes::<Message>(
        CAPACITY,
        count,
        |queue, count| {
            for number in 0..count {
                check(number, &queue.recv_blocking().expect("it is open"));
            }
        },
        |queue, count| {
            for number in 0..count {
                queue.send_blocking(message(number)).expect("it is open");
            }
        },
    );
    rate(count, began)
}

fn ours_many(count: u64) -> f64 {
    let began = processes::<Message>(
        CAPACITY,
        count,
        |queue, count| {
            let mut number = 0;
            let mut received = Vec::with_capacity(MANY);
            while number < count {
                let many = queue.recv_many(&mut received, MANY).wait();
                many.expect("it is open");
                for message in received.drain(..) {
                    check(number, &message);
                    number += 1;
                }
            }
        },
        |queue, count| {
            let mut messages = Vec::with_capacity(MANY);
            for start in (0..count).step_by(MANY) {
                messages.clear();
                messages.extend((start..count.min(start + MANY as u64)).map(message));
                let mut rest = &messages[..];
                while !rest.is_empty() {
                    let sent = queue.send_many(rest).wait().expect("it is open");
                    rest = &rest[sent..];
                }
            }
        },
    );
    rate(count, began)
}

fn std_channel(count: u64) -> f64 {
    let (sender, receiver) = mpsc::sync_channel::<Message>(CAPACITY);
    threads(
        count,
        move |_, message| sender.send(message).expect("a receiver"),
        move |_| receiver.recv().expect("a sender"),
    )
}

fn crossbeam(count: u64) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(CAPACITY);
    threads(
        count,
        move |_, message| sender.send(message).expect("a receiver"),
        move |_| receiver.recv().expect("a sender"),
    )
}

fn tokio_channel(count: u64) -> f64 {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Message>(CAPACITY);
    let receiver = std::sync::Mutex::new(receiver);
    threads(
        count,
        move |_, message| sender.blocking_send(message).expect("a receiver"),
        move |_| {
            let mut receiver = receiver.lock().expect("nobody panicked");
            receiver.blocking_recv().expect("a sender")
        },
    )
}

/// Python's queue between two processes, of bytes that it checks the length of.
fn python(count: u64, size: usize) -> Option<f64> {
    const PROGRAM: &str = "
import multiprocessing as mp, sys, time
count, size = int(sys.argv[1]), int(sys.argv[2])
def receive(queue, answers):
    answers.put(0)
    for _ in range(count):
        assert len(queue.get()) == size
    answers.put(count)
context = mp.get_context('fork')
queue, answers = context.Queue(1024), context.Queue()
process = context.Process(target=receive, args=(queue, answers))
process.start()
answers.get()
message = bytes(size)
began = time.perf_counter()
for _ in range(count):
    queue.put(message)
answers.get()
print(time.perf_counter() - began)
process.join()
";
    let arguments = ["-c", PROGRAM, &count.to_string(), &size.to_string()];
    let output = Command::new("python3").args(arguments).output().ok()?;
    let seconds: f64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(count as f64 / seconds)
}

fn large_message(number: u64, into: &mut [u64]) {
    into[0] = number;
    into[WORDS - 1] = !number;
}

/// Whether these are the bytes of that message: all of them are looked at.
fn check_large(number: u64, bytes: &[u8]) {
    assert_eq!(bytes.len(), LARGE);
    let words: &[u64] = bytemuck::cast_slice(bytes);
    let sum = words
        .iter()
        .fold(0_u64, |sum, word| sum.wrapping_add(*word));
    assert_eq!((words[0], sum), (number, u64::MAX));
}

fn gigabytes(count: u64, began: Instant) -> f64 {
    (count * LARGE as u64) as f64 / began.elapsed().as_secs_f64() / 1e9
}

fn large(count: u64) -> f64 {
    let began = processes::<[u8]>(
        4,
        count,
        |queue, count| {
            for number in 0..count {
                check_large(number, &queue.recv_blocking().expect("it is open"));
            }
        },
        |queue, count| {
            let mut message = vec![0_u64; WORDS];
            for number in 0..count {
                large_message(number, &mut message);
                let bytes = bytemuck::cast_slice(&message);
                queue.send_blocking(bytes).expect("it is open");
            }
        },
    );
    gigabytes(count, began)
}

/// Between threads, where the message is allocated and copied, too, so that its sender may go on.
fn large_crossbeam(count: u64) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u64>>(4);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut message = vec![0_u64; WORDS];
            for number in 0..count {
                large_message(number, &mut message);
                sender.send(message.clone()).expect("a receiver");
            }
        });
        scope.spawn(move || {
            for number in 0..count {
                let message = receiver.recv().expect("a sender");
                check_large(number, bytemuck::cast_slice(&message));
            }
        });
    });
    gigabytes(count, began)
}

/// The same bytes by one thread's `copy_from_slice`, and nobody reads them.
fn copy(count: u64) -> f64 {
    let mut from = vec![0_u64; WORDS];
    let mut to = vec![0_u64; WORDS];
    let began = Instant::now();
    for number in 0..count {
        large_message(number, &mut from);
        to.copy_from_slice(black_box(&from));
        assert_eq!(black_box(&to)[0], number);
    }
    check_large(count - 1, bytemuck::cast_slice(&to));
    gigabytes(count, began)
}

struct Row {
    name: &'static str,
    unit: &'static str,
    /// Messages in a round, of all that are measured; the share is one in so many.
    share: u64,
    run: fn(u64) -> f64,
}

fn rows() -> Vec<Row> {
    let small = |name, share, run| Row {
        name,
        unit: "M/s",
        share,
        run,
    };
    let large_row = |name, share, run| Row {
        name,
        unit: "GB/s",
        share,
        run,
    };
    let python_small = |count| python(count, 64).unwrap_or(f64::NAN) / 1e6;
    let python_large = |count| python(count, LARGE).unwrap_or(f64::NAN) * LARGE as f64 / 1e9;
    vec![
        small("64 bytes, two processes", 1, ours),
        small("64 bytes, two processes, by 64", 1, ours_many),
        small("64 bytes, two threads", 1, ours_threads),
        small("64 bytes, crossbeam, threads", 1, crossbeam),
        small("64 bytes, std, threads", 1, std_channel),
        small("64 bytes, tokio, threads", 10, tokio_channel),
        small("64 bytes, Python, processes", 50, python_small),
        large_row("1 MiB, two processes", 1000, large),
        large_row("1 MiB, plain copy", 1000, copy),
        large_row("1 MiB, crossbeam, threads", 1000, large_crossbeam),
        large_row("1 MiB, Python, processes", 10_000, python_large),
    ]
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let is_test = words.iter().any(|word| word == "--test");
    words.retain(|word| !word.starts_with("--"));
    let rounds = words.first().and_then(|word| word.parse().ok());
    let wanted = words.split_off(words.len().min(usize::from(rounds.is_some())));
    let rounds: usize = rounds.unwrap_or(if is_test { 1 } else { 9 });
    let count = if is_test { 10_000 } else { 1_000_000 };
    let mut rows: Vec<(Row, Vec<f64>)> = rows().into_iter().map(|row| (row, Vec::new())).collect();
    rows.retain(|(row, _)| wanted.is_empty() || wanted.iter().any(|word| row.name.contains(word)));
    for _ in 0..rounds {
        for (row, rates) in &mut rows {
            rates.push((row.run)((count / row.share).max(1)));
        }
    }
    for (row, mut rates) in rows {
        rates.sort_by(f64::total_cmp);
        let at = |quarter: usize| rates[(rates.len() - 1) * quarter / 4];
        let [median, low, high] = [2, 1, 3].map(at);
        println!(
            "{:<32} {median:7.2} [{low:.2}, {high:.2}] {}",
            row.name, row.unit
        );
    }
}
