//! Every kind of object that processes share, and a handle to each.

#![allow(dead_code, reason = "each test uses a part of it")]

use gristmill::{
    Array, Barrier, BoundedSemaphore, ByteReader, ByteWriter, Condvar, Error, Event, Handle,
    JoinableQueue, Mutex, Object, PipeEnd, PipeReceiver, PipeSender, Queue, ReentrantMutex, Region,
    RwLock, Semaphore, SharedList, SharedMap, SimpleQueue, Value, byte_simplex, pipe, simplex,
};

/// One of each kind, in a region.
pub(crate) struct All {
    pub(crate) mutex: Mutex<u64>,
    pub(crate) reentrant: ReentrantMutex<u64>,
    pub(crate) rwlock: RwLock<u64>,
    pub(crate) condvar: Condvar,
    pub(crate) semaphore: Semaphore,
    pub(crate) bounded: BoundedSemaphore,
    pub(crate) event: Event,
    pub(crate) barrier: Barrier,
    pub(crate) queue: Queue<u64>,
    pub(crate) joinable: JoinableQueue<u64>,
    pub(crate) simple: SimpleQueue<u64>,
    pub(crate) pipe: (PipeEnd<u64>, PipeEnd<u64>),
    pub(crate) simplex: (PipeSender<u64>, PipeReceiver<u64>),
    pub(crate) bytes: (ByteWriter, ByteReader),
    pub(crate) map: SharedMap<u8, u8>,
    pub(crate) list: SharedList<u8>,
    pub(crate) value: Value<u64>,
    pub(crate) array: Array<u64>,
}

impl All {
    pub(crate) fn new(region: &Region) -> Self {
        Self {
            mutex: Mutex::new(region, 1).unwrap(),
            reentrant: ReentrantMutex::new(region, 1).unwrap(),
            rwlock: RwLock::new(region, 1).unwrap(),
            condvar: Condvar::new(region).unwrap(),
            semaphore: Semaphore::new(region, 1).unwrap(),
            bounded: BoundedSemaphore::new(region, 1).unwrap(),
            event: Event::new(region).unwrap(),
            barrier: Barrier::new(region, 2).unwrap(),
            queue: Queue::new(region, 2).unwrap(),
            joinable: JoinableQueue::new(region, 2).unwrap(),
            simple: SimpleQueue::new(region).unwrap(),
            pipe: pipe(region, 2).unwrap(),
            simplex: simplex(region, 2).unwrap(),
            bytes: byte_simplex(region, 16).unwrap(),
            map: SharedMap::new(region, 2, 200).unwrap(),
            list: SharedList::new(region, 2, 200).unwrap(),
            value: Value::new(region, 1).unwrap(),
            array: Array::new(region, &[1]).unwrap(),
        }
    }
}

/// Opens what these words are a handle to.
pub(crate) type Open = fn([u64; 2]) -> Result<(), Error>;

/// Every handle of them, as words, with a way to open it.
pub(crate) fn handles(all: &All) -> Vec<(&'static str, [u64; 2], Open)> {
    fn open<T: Object>(words: [u64; 2]) -> Result<(), Error> {
        Handle::<T>::from_words(words).open().map(drop)
    }
    vec![
        ("mutex", all.mutex.handle().words(), open::<Mutex<u64>>),
        (
            "reentrant",
            all.reentrant.handle().words(),
            open::<ReentrantMutex<u64>>,
        ),
        ("rwlock", all.rwlock.handle().words(), open::<RwLock<u64>>),
        ("condvar", all.condvar.handle().words(), open::<Condvar>),
        (
            "semaphore",
            all.semaphore.handle().words(),
            open::<Semaphore>,
        ),
        (
            "bounded",
            all.bounded.handle().words(),
            open::<BoundedSemaphore>,
        ),
        ("event", all.event.handle().words(), open::<Event>),
        ("barrier", all.barrier.handle().words(), open::<Barrier>),
        ("queue", all.queue.handle().words(), open::<Queue<u64>>),
        (
            "joinable",
            all.joinable.handle().words(),
            open::<JoinableQueue<u64>>,
        ),
        (
            "simple",
            all.simple.handle().words(),
            open::<SimpleQueue<u64>>,
        ),
        (
            "sender",
            all.simplex.0.handle().words(),
            open::<PipeSender<u64>>,
        ),
        (
            "receiver",
            all.simplex.1.handle().words(),
            open::<PipeReceiver<u64>>,
        ),
        ("writer", all.bytes.0.handle().words(), open::<ByteWriter>),
        ("reader", all.bytes.1.handle().words(), open::<ByteReader>),
        ("map", all.map.handle().words(), open::<SharedMap<u8, u8>>),
        ("list", all.list.handle().words(), open::<SharedList<u8>>),
        ("value", all.value.handle().words(), open::<Value<u64>>),
        ("array", all.array.handle().words(), open::<Array<u64>>),
    ]
}
