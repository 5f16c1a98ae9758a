//! Whoever waits, for whatever it is, uses no processor: a process in which a thread waits for each
//! kind of thing, and a task for most.

mod signal_support;

use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::thread;
use std::time::Instant;

use gristmill::{
    Array, Barrier, ByteReader, ByteWriter, Condvar, Event, JoinableQueue, Mutex, PipeReceiver,
    Process, Queue, ReentrantMutex, Region, RwLock, Semaphore, byte_simplex, simplex,
};
use signal_support::{PATIENCE, at_rest, open, region, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Far below what a region holds; the pipe's ring is full with it.
const RING: usize = 64;

/// All that nobody in this test ever lets go on, but by the end of the process that waits.
struct Things {
    mutex: Mutex<u64>,
    reentrant: ReentrantMutex<u64>,
    rwlock: RwLock<u64>,
    array: Array<u64>,
    condvar: Condvar,
    none: Semaphore,
    event: Event,
    barrier: Barrier,
    empty: Queue<u64>,
    full: Queue<u64>,
    unfinished: JoinableQueue<u64>,
    messages: PipeReceiver<u64>,
    readers: [ByteReader; 2],
    writers: [ByteWriter; 2],
}

type Names = Vec<[u64; 2]>;

impl Things {
    /// Those things, with whatever must not go.
    fn new(region: &Region) -> (Self, Box<dyn std::any::Any>) {
        let full = Queue::new(region, 1).unwrap();
        full.try_send(1).unwrap();
        let unfinished = JoinableQueue::new(region, 1).unwrap();
        unfinished.try_send(1).unwrap();
        let (sender, messages) = simplex::<u64>(region, 1).unwrap();
        let (empty_end, reader) = byte_simplex(region, RING).unwrap();
        let (mut writer, full_end) = byte_simplex(region, RING).unwrap();
        Write::write_all(&mut writer, &[1; RING]).unwrap();
        let things = Self {
            mutex: Mutex::new(region, 0).unwrap(),
            reentrant: ReentrantMutex::new(region, 0).unwrap(),
            rwlock: RwLock::new(region, 0).unwrap(),
            array: Array::new(region, &[0]).unwrap(),
            condvar: Condvar::new(region).unwrap(),
            none: Semaphore::new(region, 0).unwrap(),
            event: Event::new(region).unwrap(),
            barrier: Barrier::new(region, 100).unwrap(),
            empty: Queue::new(region, 1).unwrap(),
            full,
            unfinished,
            messages,
            readers: [reader.clone(), reader],
            writers: [writer.clone(), writer],
        };
        (things, Box::new((sender, empty_end, full_end)))
    }

    fn names(&self) -> Names {
        vec![
            self.mutex.handle().words(),
            self.reentrant.handle().words(),
            self.rwlock.handle().words(),
            self.array.handle().words(),
            self.condvar.handle().words(),
            self.none.handle().words(),
            self.event.handle().words(),
            self.barrier.handle().words(),
            self.empty.handle().words(),
            self.full.handle().words(),
            self.unfinished.handle().words(),
            self.messages.handle().words(),
            self.readers[0].handle().words(),
            self.writers[0].handle().words(),
        ]
    }

    fn open(names: &rkyv::Archived<Names>) -> Self {
        let reader: ByteReader = open(&names[12]);
        let writer: ByteWriter = open(&names[13]);
        Self {
            mutex: open(&names[0]),
            reentrant: open(&names[1]),
            rwlock: open(&names[2]),
            array: open(&names[3]),
            condvar: open(&names[4]),
            none: open(&names[5]),
            event: open(&names[6]),
            barrier: open(&names[7]),
            empty: open(&names[8]),
            full: open(&names[9]),
            unfinished: open(&names[10]),
            messages: open(&names[11]),
            readers: [reader.clone(), reader],
            writers: [writer.clone(), writer],
        }
    }
}

/// A thread for each, and two for what several may wait for in one place.
fn block(things: Things) -> ! {
    let other = Box::leak(Box::new(Mutex::new(&region(), 0_u64).unwrap()));
    let things = Box::leak(Box::new(things));
    let Things {
        readers, writers, ..
    } = things;
    for reader in readers {
        thread::spawn(|| Read::read(reader, &mut [0]).unwrap());
    }
    for writer in writers {
        thread::spawn(|| Write::write(writer, &[0]).unwrap());
    }
    thread::spawn(|| drop(things.mutex.lock_blocking()));
    thread::spawn(|| drop(things.reentrant.lock_blocking()));
    thread::spawn(|| drop(things.rwlock.read_blocking()));
    thread::spawn(|| drop(things.rwlock.write_blocking()));
    thread::spawn(|| drop(things.array.lock()));
    thread::spawn(|| drop(things.condvar.wait_blocking(other.lock_blocking().unwrap())));
    thread::spawn(|| drop(things.none.acquire_blocking()));
    thread::spawn(|| drop(things.event.wait_blocking()));
    thread::spawn(|| drop(things.barrier.wait_blocking()));
    thread::spawn(|| drop(things.empty.recv_blocking()));
    thread::spawn(|| drop(things.full.send_blocking(1)));
    thread::spawn(|| drop(things.unfinished.join().wait()));
    thread::spawn(|| drop(things.messages.recv().wait()));
    loop {
        thread::park();
    }
}

/// A task for each, all of one thread.
fn wait(things: Things) -> ! {
    let things = Box::leak(Box::new(things));
    let Things {
        readers, writers, ..
    } = things;
    let mut waits: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for reader in readers {
        waits.push(Box::pin(async { drop(reader.read_u8().await) }));
    }
    for writer in writers {
        waits.push(Box::pin(async { drop(writer.write_u8(0).await) }));
    }
    waits.push(Box::pin(async { drop(things.mutex.lock().await) }));
    waits.push(Box::pin(async { drop(things.rwlock.read().await) }));
    waits.push(Box::pin(async { drop(things.rwlock.write().await) }));
    waits.push(Box::pin(async { drop(things.array.lock_async().await) }));
    waits.push(Box::pin(async { drop(things.none.acquire().await) }));
    waits.push(Box::pin(async { drop(things.event.wait().await) }));
    waits.push(Box::pin(async { drop(things.barrier.wait().await) }));
    waits.push(Box::pin(async { drop(things.empty.recv().await) }));
    waits.push(Box::pin(async { drop(things.full.send(1).await) }));
    waits.push(Box::pin(async { drop(things.unfinished.join().await) }));
    waits.push(Box::pin(async { drop(things.messages.recv().await) }));
    runtime().block_on(async {
        futures_util::future::join_all(waits).await;
    });
    unreachable!("nobody lets them go on");
}

/// They are at rest once they wait; one that looks again and again never is.
fn rests(are_tasks: bool, least_threads: usize) {
    let region = region();
    let (things, kept) = Things::new(&region);
    let _held = (
        things.mutex.try_lock().unwrap(),
        things.reentrant.try_lock().unwrap(),
        things.rwlock.try_write().unwrap(),
        things.array.lock().unwrap(),
    );
    let ready = Event::new(&region).unwrap();
    let process = Process::builder().region(&region).kill_on_drop(true);
    let names = (things.names(), ready.handle().words(), are_tasks);
    let process = process.spawn(names, |names| {
        let ready: Event = open(&names.1);
        let things = Things::open(&names.0);
        ready.set().unwrap();
        match names.2 {
            true => wait(things),
            false => block(things),
        }
    });
    let process = process.unwrap();
    assert!(ready.wait_timeout(PATIENCE).unwrap(), "it never begins");
    let began = Instant::now();
    let threads = loop {
        let threads = at_rest(process.pid());
        if threads.all >= least_threads {
            break threads;
        }
        assert!(began.elapsed() < PATIENCE, "some never begin: {threads:?}");
    };
    println!("{threads:?}");
    process.kill().unwrap();
    drop((process.wait().unwrap_err(), kept));
}

#[test]
fn threads_that_wait_for_anything_at_all_sleep() {
    rests(false, 18);
}

#[test]
fn tasks_that_wait_for_anything_at_all_sleep() {
    rests(true, 1);
}
