//! Queues and pipes between processes that die, and one that was forked.

#![expect(unsafe_code, reason = "forks")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::Pin;
use std::time::Duration;

use gristmill::{
    ByteReader, ByteWriter, Error, Handle, JoinableQueue, PipeReceiver, PipeSender, Pool, Process,
    Queue, RecvError, Region, Rkyv, SendError, byte_pipe, byte_simplex, simplex,
};
use tokio::io::{AsyncRead, ReadBuf};

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn open<T: gristmill::Object>(words: &rkyv::Archived<[u64; 2]>) -> T {
    Handle::from_words([words[0].into(), words[1].into()])
        .open()
        .unwrap()
}

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

#[test]
fn aiopipe_end_of_file_by_death() {
    let region = region();
    let (sender, receiver) = simplex::<Rkyv<String>>(&region, 4).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(sender.handle().words(), |words| {
            let sender: PipeSender<Rkyv<String>> = open(words);
            sender.send(&"last words".to_owned()).wait().unwrap();
            std::process::abort();
        })
        .unwrap();
    let words = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(*words, *"last words");
    // Ours goes, and the other one by itself.
    drop(sender);
    assert!(matches!(
        receiver.recv_timeout(PATIENCE),
        Err(RecvError::Closed)
    ));
    assert!(process.wait().is_err());
}

#[test]
fn aiopipe_end_of_file_by_a_killed_process() {
    let region = region();
    let (sender, receiver) = simplex::<u64>(&region, 4).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(sender.handle().words(), |words| {
            let sender: PipeSender<u64> = open(words);
            sender.send(1).wait().unwrap();
            loop {
                std::thread::park();
            }
        })
        .unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), 1);
    drop(sender);
    process.kill().unwrap();
    assert!(matches!(
        receiver.recv_timeout(PATIENCE),
        Err(RecvError::Closed)
    ));
    assert!(process.wait().is_err());
}

#[test]
fn aiopipe_end_of_file_by_a_killed_worker() {
    let region = region();
    let pool = Pool::builder().workers(1).region(&region).build().unwrap();
    let (mut ours, theirs) = byte_simplex(&region, 64).map(|(w, r)| (r, w)).unwrap();
    let (sender, receiver) = simplex::<Rkyv<String>>(&region, 4).unwrap();
    let names = (sender.handle().words(), theirs.handle().words());
    let task = pool
        .spawn(names, |names| {
            let sender: PipeSender<Rkyv<String>> = open(&names.0);
            let mut writer: ByteWriter = open(&names.1);
            writer.write_all(b"bytes").unwrap();
            sender.send(&"and words".to_owned()).wait().unwrap();
            // SAFETY: a system call, of a process upon itself.
            unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
        })
        .unwrap();
    assert_eq!(*receiver.recv_timeout(PATIENCE).unwrap(), *"and words");
    drop((sender, theirs));
    assert!(task.wait().is_err());
    let mut got = Vec::new();
    ours.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"bytes");
    assert!(matches!(
        receiver.recv_timeout(PATIENCE),
        Err(RecvError::Closed)
    ));
}

#[test]
fn aiopipe_a_sender_learns_that_the_receiver_died() {
    let region = region();
    let (sender, receiver) = simplex::<u64>(&region, 1).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(receiver.handle().words(), |words| {
            let receiver: PipeReceiver<u64> = open(words);
            receiver.recv().wait().unwrap();
            std::process::abort();
        })
        .unwrap();
    sender.send(1).wait().unwrap();
    // There is room for one, so it has the pipe open; now ours can go.
    sender.send(2).wait().unwrap();
    drop(receiver);
    loop {
        match sender.send(3).wait_timeout(PATIENCE) {
            Ok(()) => {}
            Err(SendError::Closed(3)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(sender.is_closed());
    assert!(process.wait().is_err());
}

#[test]
fn aioconnection_bytes_between_processes() {
    let region = region();
    let (ours, theirs) = byte_pipe(&region, 100).unwrap();
    let (reader, writer) = theirs.split();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(
            (reader.handle().words(), writer.handle().words()),
            |words| {
                let mut reader: ByteReader = open(&words.0);
                let mut writer: ByteWriter = open(&words.1);
                let mut text = Vec::new();
                // What it was told to expect, then what there is to the end.
                let mut size = [0; 8];
                reader.read_exact(&mut size).unwrap();
                text.resize(u64::from_le_bytes(size) as usize, 0);
                reader.read_exact(&mut text).unwrap();
                text.reverse();
                writer.write_all(&text).unwrap();
            },
        )
        .unwrap();
    let (mut ours_in, mut ours_out) = ours.split();
    let text: Vec<u8> = (0..50_000_u32).map(|at| at as u8).collect();
    ours_out
        .write_all(&(text.len() as u64).to_le_bytes())
        .unwrap();
    ours_out.write_all(&text).unwrap();
    // It has both by now.
    drop((reader, writer));
    let mut got = Vec::new();
    ours_in.read_to_end(&mut got).unwrap();
    got.reverse();
    assert!(got == text);
    process.wait().unwrap();
    let broken = ours_out.write(b"x").unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn an_awaited_end_of_file_by_death() {
    let region = region();
    let (writer, mut reader) = byte_simplex(&region, 64).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(writer.handle().words(), |words| {
            let mut writer: ByteWriter = open(words);
            writer.write_all(b"bye").unwrap();
            std::process::abort();
        })
        .unwrap();
    let mut got = Vec::new();
    let mut writer = Some(writer);
    loop {
        let mut bytes = [0; 10];
        let mut into = ReadBuf::new(&mut bytes);
        let read = poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut into));
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        if into.filled().is_empty() {
            break;
        }
        got.extend_from_slice(into.filled());
        // It has the pipe open, so ours can go.
        drop(writer.take());
    }
    assert_eq!(got, b"bye");
    assert!(process.await.is_err());
}

#[test]
fn aiojoinablequeue_join_does_not_wait_for_the_dead() {
    let region = region();
    let queue = JoinableQueue::<u64>::new(&region, 8).unwrap();
    queue.try_send(1).unwrap();
    let process = Process::builder().region(&region);
    let process = process
        .spawn(queue.handle().words(), |words| {
            let queue: JoinableQueue<u64> = open(words);
            assert_eq!(queue.recv_blocking().unwrap(), 1);
            std::process::abort();
        })
        .unwrap();
    assert!(queue.join().wait_timeout(PATIENCE).unwrap());
    assert!(process.wait().is_err());
}

#[test]
fn a_forked_child_is_refused_and_takes_nothing_with_it() {
    let queue = Queue::<[u8]>::new(&region(), 4).unwrap();
    let (sender, receiver) = simplex::<u64>(&region(), 4).unwrap();
    queue.try_send(&[7; 1000]).unwrap();
    let held = queue.try_recv().unwrap();
    // SAFETY: the child only looks at its own memory, and leaves without unwinding.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = matches!(queue.try_send(&[1]), Err(SendError::Region(Error::Forked)))
            && matches!(queue.try_recv(), Err(RecvError::Region(Error::Forked)));
        drop((held, queue, sender, receiver));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!refused)) }
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert_eq!(*held, [7; 1000]);
    sender.try_send(1).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), 1);
    queue.try_send(&[2]).unwrap();
    assert_eq!(*queue.try_recv().unwrap(), [2]);
}

/// Items say who sent them and which of its items they are; receipts say so of what was received.
type Pair = [u64; 2];

fn sender(region: &Region, items: &Queue<Pair>, number: u64) -> Process {
    let process = Process::builder().region(region);
    let arguments = (items.handle().words(), number);
    let process = process.spawn(arguments, |arguments| {
        let items: Queue<Pair> = open(&arguments.0);
        let me = arguments.1.to_native();
        for item in 0.. {
            if items.send_blocking([me, item]).is_err() {
                return;
            }
        }
    });
    process.unwrap()
}

fn receiver(region: &Region, items: &Queue<Pair>, receipts: &Queue<Pair>) -> Process {
    let process = Process::builder().region(region);
    let arguments = (items.handle().words(), receipts.handle().words());
    let process = process.spawn(arguments, |arguments| {
        let items: Queue<Pair> = open(&arguments.0);
        let receipts: Queue<Pair> = open(&arguments.1);
        for item in items.iter() {
            receipts.send_blocking(item.unwrap()).unwrap();
        }
    });
    process.unwrap()
}

#[test]
fn a_storm_of_killed_senders_and_receivers() {
    const KILLS: u64 = 40;
    let region = region();
    let items = Queue::<Pair>::new(&region, 3).unwrap();
    let receipts = Queue::<Pair>::new(&region, 5).unwrap();
    let mut senders = vec![sender(&region, &items, 0), sender(&region, &items, 1)];
    let mut receivers: Vec<_> = (0..2)
        .map(|_| receiver(&region, &items, &receipts))
        .collect();
    let mut seen = BTreeMap::<u64, Vec<u64>>::new();
    let mut note = |[sender, item]: Pair| seen.entry(sender).or_default().push(item);
    let mut random = 99_u64;
    let mut dead_receivers = 0;
    for kill in 0..KILLS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        for _ in 0..random >> 57 {
            note(receipts.recv_timeout(PATIENCE).unwrap());
        }
        let victim = (random >> 40) as usize & 1;
        let (dead, new) = if random >> 50 & 1 == 0 {
            (&mut senders[victim], sender(&region, &items, 2 + kill))
        } else {
            dead_receivers += 1;
            (&mut receivers[victim], receiver(&region, &items, &receipts))
        };
        let dead = std::mem::replace(dead, new);
        dead.kill().unwrap();
        assert!(dead.wait().is_err());
    }
    items.close();
    for sender in senders {
        sender.wait().unwrap();
    }
    std::thread::scope(|scope| {
        let rest = scope.spawn(|| receipts.iter().map(Result::unwrap).collect::<Vec<_>>());
        for receiver in receivers {
            receiver.wait().unwrap();
        }
        receipts.close();
        rest.join().unwrap().into_iter().for_each(&mut note);
    });
    let mut missing = 0;
    for (sender, mut items) in seen {
        items.sort_unstable();
        let count = items.len() as u64;
        items.dedup();
        assert_eq!(
            items.len() as u64,
            count,
            "sender {sender}: something came twice"
        );
        missing += items.last().map_or(0, |last| last + 1 - count);
    }
    // Each had at most one between the queue and the receipts.
    assert!(missing <= dead_receivers, "{missing} of {dead_receivers}");
}
