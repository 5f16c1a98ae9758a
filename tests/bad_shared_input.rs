//! Bad input to what processes share, of every kind: nothing where there must be something, more
//! than fits, a handle without its region, a forked child. A clear error each, and nothing is lost.

#![expect(unsafe_code, reason = "forks")]

use std::io::{Read, Write};

use gristmill::{
    Array, Barrier, BoundedSemaphore, ByteReader, ByteWriter, Condvar, Error, Event, Handle,
    JoinableQueue, LockError, Mutex, Object, PipeEnd, PipeReceiver, PipeSender, Queue, RecvError,
    ReentrantMutex, Region, RegionError, Rkyv, RwLock, Semaphore, SendError, ShareError,
    SharedList, SharedMap, SimpleQueue, Value, byte_pipe, byte_simplex, pipe, simplex,
};

fn region() -> Region {
    Region::new(4 << 20).unwrap()
}

/// An argument was refused by its name.
#[track_caller]
fn assert_names<T>(made: Result<T, Error>, name: &str) {
    let refused = made.err().expect("it is refused");
    let is_it = matches!(refused, Error::InvalidArgument { .. });
    assert!(is_it && refused.to_string().contains(name), "{refused}");
}

/// There is no room for it, and both numbers are told.
#[track_caller]
fn assert_no_room<T>(made: Result<T, Error>) {
    match made.err().expect("it does not fit") {
        Error::Region(RegionError::NoRoom { wanted, available }) => assert!(wanted > available),
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_where_there_must_be_something_is_refused_by_its_name() {
    let region = region();
    assert_names(Queue::<u64>::new(&region, 0), "capacity");
    assert_names(Queue::<[u8]>::new(&region, 0), "capacity");
    assert_names(JoinableQueue::<Rkyv<String>>::new(&region, 0), "capacity");
    assert_names(pipe::<u64>(&region, 0), "capacity");
    assert_names(simplex::<[u8]>(&region, 0), "capacity");
    assert_names(byte_pipe(&region, 0), "size");
    assert_names(byte_simplex(&region, 0), "size");
    assert_names(BoundedSemaphore::new(&region, 0), "permits");
    assert_names(Barrier::new(&region, 0), "parties");
    for refused in [
        SharedMap::<u8, u8>::new(&region, 0, 100).err(),
        SharedMap::<u8, u8>::new(&region, 4, 0).err(),
        SharedList::<u8>::new(&region, 0, 100).err(),
        SharedList::<u8>::new(&region, 4, 0).err(),
        Array::<u64>::new(&region, &[]).err(),
    ] {
        match refused {
            Some(ShareError::Region(error)) => assert_names(Err::<(), _>(*error), ""),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_where_there_may_be_nothing_is_nothing() {
    let region = region();
    // No permits: somebody will release some.
    assert_eq!(Semaphore::new(&region, 0).unwrap().available(), 0);
    let queue = Queue::<[u8]>::new(&region, 1).unwrap();
    queue.try_send(&[]).unwrap();
    assert!(queue.try_recv().unwrap().is_empty());
    let nothing = Mutex::new(&region, ()).unwrap();
    assert_eq!(*nothing.try_lock().unwrap(), ());
}

/// More than any region here has.
const LARGE: usize = 8 << 20;
type Large = [u64; LARGE / 8];

/// Plain data of 8 MiB, which no stack has to hold: the call is refused before it is looked at.
fn large() -> Box<Large> {
    vec![0_u64; LARGE / 8].try_into().unwrap()
}

#[test]
fn what_is_larger_than_its_region_is_refused_and_nothing_is_lost() {
    let region = region();
    let bytes = vec![1_u8; LARGE];
    let text = "x".repeat(LARGE);

    // Objects that are larger themselves.
    assert_no_room(Queue::<[u64; 1024]>::new(&region, 1024));
    assert_no_room(byte_pipe(&region, LARGE));
    let array = Array::new(&region, &bytes);
    assert!(matches!(array, Err(ShareError::Region(_))), "{array:?}");
    let map = SharedMap::<u8, u8>::new(&region, 1, LARGE);
    assert!(matches!(map, Err(ShareError::Region(_))), "{map:?}");
    let list = SharedList::<u8>::new(&region, 1, LARGE);
    assert!(matches!(list, Err(ShareError::Region(_))), "{list:?}");
    std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn({
            let region = region.clone();
            move || {
                assert_no_room(Mutex::new(&region, *large()));
                assert_no_room(RwLock::new(&region, *large()));
                assert_no_room(ReentrantMutex::new(&region, *large()));
                let value = Value::new(&region, *large());
                assert!(matches!(value, Err(ShareError::Region(_))));
            }
        })
        .unwrap()
        .join()
        .unwrap();

    // Items: they come back, and what was there before is there.
    let queue = Queue::<[u8]>::new(&region, 4).unwrap();
    let (sender, receiver) = simplex::<Rkyv<String>>(&region, 4).unwrap();
    let simple = SimpleQueue::<[u8]>::new(&region).unwrap();
    queue.try_send(&[7]).unwrap();
    sender.try_send(&"seven".into()).unwrap();
    simple.try_send(&[7]).unwrap();
    for _ in 0..100 {
        let refused = queue.try_send(&bytes);
        assert!(
            matches!(refused, Err(SendError::TooLarge { item, wanted, available })
                if item.len() == LARGE && wanted > available)
        );
        let refused = queue.send(&bytes).wait();
        assert!(matches!(refused, Err(SendError::TooLarge { .. })));
        let refused = sender.try_send(&text);
        assert!(matches!(refused, Err(SendError::TooLarge { .. })));
        let refused = simple.try_send(&bytes);
        assert!(matches!(refused, Err(SendError::TooLarge { .. })));
    }
    assert_eq!(*queue.try_recv().unwrap(), [7]);
    assert_eq!(*receiver.try_recv().unwrap(), "seven");
    assert_eq!(*simple.try_recv().unwrap(), [7]);

    // Values: what was there stays.
    let map = SharedMap::<u8, String>::new(&region, 2, 1 << 10).unwrap();
    let list = SharedList::<String>::new(&region, 2, 1 << 10).unwrap();
    map.insert(&1, &"one".into()).unwrap();
    list.push(&"one".into()).unwrap();
    let refused = map.insert(&1, &text).unwrap_err();
    assert!(matches!(refused, ShareError::NoRoom { .. }), "{refused}");
    let refused = list.set(0, &text).unwrap_err();
    assert!(matches!(refused, ShareError::NoRoom { .. }), "{refused}");
    assert_eq!(**map.get(&1).unwrap().unwrap(), *"one");
    assert_eq!(**list.get(0).unwrap().unwrap(), *"one");

    // And all of the room is there still.
    drop((queue, sender, receiver, simple, map, list));
    let queue = Queue::<[u8]>::new(&region, 1).unwrap();
    queue.try_send(&bytes[..2 << 20]).unwrap();
}

/// One of each kind, in a region.
struct All {
    mutex: Mutex<u64>,
    reentrant: ReentrantMutex<u64>,
    rwlock: RwLock<u64>,
    condvar: Condvar,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    event: Event,
    barrier: Barrier,
    queue: Queue<u64>,
    joinable: JoinableQueue<u64>,
    simple: SimpleQueue<u64>,
    pipe: (PipeEnd<u64>, PipeEnd<u64>),
    simplex: (PipeSender<u64>, PipeReceiver<u64>),
    bytes: (ByteWriter, ByteReader),
    map: SharedMap<u8, u8>,
    list: SharedList<u8>,
    value: Value<u64>,
    array: Array<u64>,
}

impl All {
    fn new(region: &Region) -> Self {
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
type Open = fn([u64; 2]) -> Result<(), Error>;

/// Every handle of them, as words, with a way to open it.
fn handles(all: &All) -> Vec<(&'static str, [u64; 2], Open)> {
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

#[test]
fn a_handle_leads_nowhere_once_its_object_or_its_region_has_gone() {
    let region = region();
    let (all, other) = (All::new(&region), Event::new(&region).unwrap());
    let handles = handles(&all);
    // An object keeps the region, and works without the `Region` it was made in.
    drop(region);
    for (name, words, open) in &handles {
        assert!(open(*words).is_ok(), "{name}");
    }
    assert_eq!(*all.mutex.try_lock().unwrap(), 1);
    // The objects have gone, and the region is there.
    drop(all);
    for (name, words, open) in &handles {
        let gone = open(*words).expect_err(name);
        assert!(
            matches!(gone, Error::Region(RegionError::Gone)),
            "{name}: {gone}"
        );
    }
    // The region has gone as well.
    drop(other);
    for (name, words, open) in &handles {
        let unknown = open(*words).expect_err(name);
        let is_it = matches!(unknown, Error::Region(RegionError::Unknown { .. }));
        assert!(
            is_it && unknown.to_string().contains("was not given"),
            "{name}: {unknown}"
        );
    }
}

/// What a forked child found that was not as it should be: refused, or opened anew.
fn not_refused(all: &mut All) -> Vec<&'static str> {
    let lock = |refused: Option<Error>| matches!(refused, Some(Error::Forked));
    fn of_lock<G>(outcome: Result<G, LockError<G>>) -> Option<Error> {
        match outcome.err() {
            Some(LockError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_send<T>(outcome: Result<(), SendError<T>>) -> Option<Error> {
        match outcome.err() {
            Some(SendError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_recv<T>(outcome: Result<T, RecvError>) -> Option<Error> {
        match outcome.err() {
            Some(RecvError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_share<T>(outcome: Result<T, ShareError>) -> Option<Error> {
        match outcome.err() {
            Some(ShareError::Region(error)) => Some(*error),
            _ => None,
        }
    }
    let mut outcomes = vec![
        ("lock", lock(of_lock(all.mutex.lock_blocking()))),
        ("lock again", lock(of_lock(all.reentrant.lock_blocking()))),
        ("read", lock(of_lock(all.rwlock.read_blocking()))),
        ("write", lock(of_lock(all.rwlock.write_blocking()))),
        ("notify", lock(all.condvar.notify_all().err())),
        ("acquire", all.semaphore.acquire_blocking().is_err()),
        ("release", all.semaphore.release(1).is_err()),
        ("acquire, bounded", all.bounded.acquire_blocking().is_err()),
        ("set", lock(all.event.set().err())),
        ("wait", lock(all.event.wait_blocking().err())),
        ("meet", all.barrier.wait_blocking().is_err()),
        ("abort", lock(all.barrier.abort().err())),
        ("send", lock(of_send(all.queue.send_blocking(2)))),
        ("receive", lock(of_recv(all.queue.recv_blocking()))),
        ("put", lock(of_send(all.joinable.send_blocking(2)))),
        ("done", lock(all.joinable.task_done().err())),
        ("join", lock(all.joinable.join().wait().err())),
        ("simple", lock(of_recv(all.simple.recv().wait()))),
        ("pipe", lock(of_send(all.pipe.0.send(2).wait()))),
        ("pipe's end", lock(of_recv(all.pipe.1.recv().wait()))),
        ("simplex", lock(of_send(all.simplex.0.send(2).wait()))),
        ("simplex's end", lock(of_recv(all.simplex.1.recv().wait()))),
        ("insert", lock(of_share(all.map.insert(&2, &2)))),
        ("get", lock(of_share(all.map.get(&1)))),
        ("push", lock(of_share(all.list.push(&2)))),
        ("at", lock(of_share(all.list.get(0)))),
        ("value", lock(of_share(all.value.get()))),
        ("new value", lock(of_share(all.value.set(2)))),
        ("array", lock(of_share(all.array.lock()))),
    ];
    outcomes.push(("write bytes", all.bytes.0.write(&[1]).is_err()));
    outcomes.push(("read bytes", all.bytes.1.read(&mut [0]).is_err()));
    // Opened by its handle each is the child's own, who is a member by that.
    let opened = handles(all).into_iter();
    outcomes.extend(opened.map(|(name, words, open)| (name, open(words).is_ok())));
    let failed = outcomes.into_iter().filter(|(_, is_refused)| !is_refused);
    failed.map(|(name, _)| name).collect()
}

#[test]
fn a_forked_child_is_refused_by_every_kind_and_takes_nothing_with_it() {
    let region = region();
    let mut all = All::new(&region);
    // Something of each is held, and everything has something in it.
    all.queue.try_send(1).unwrap();
    all.joinable.try_send(1).unwrap();
    all.simple.try_send(1).unwrap();
    all.pipe.0.sender().try_send(1).unwrap();
    all.simplex.0.try_send(1).unwrap();
    all.bytes.0.write_all(&[1]).unwrap();
    all.map.insert(&1, &1).unwrap();
    all.list.push(&1).unwrap();
    let held = All {
        mutex: all.mutex.clone(),
        reentrant: all.reentrant.clone(),
        rwlock: all.rwlock.clone(),
        ..All::new(&region)
    };
    let guards = (
        held.mutex.try_lock().unwrap(),
        held.reentrant.try_lock().unwrap(),
        held.rwlock.try_read().unwrap(),
        all.semaphore.try_acquire().unwrap(),
        all.map.get(&1).unwrap().unwrap(),
        all.list.get(0).unwrap().unwrap(),
    );
    // SAFETY: the child calls what is to be refused, drops what it has, and ends without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: sets a timer of this process, which ends one that waits.
            unsafe { libc::alarm(60) };
            let failed = not_refused(&mut all);
            if !failed.is_empty() {
                // Not through the harness, which would keep it to itself.
                let said = format!("wrong: {failed:?}\n");
                // SAFETY: bytes that are there.
                unsafe { libc::write(2, said.as_ptr().cast(), said.len()) };
            }
            drop(guards);
            drop((all, region));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!failed.is_empty())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((reaped, status), (child, 0));
        }
    }
    // Nothing was released, taken, ended or freed.
    assert!(matches!(all.mutex.try_lock(), Err(LockError::WouldBlock)));
    assert!(matches!(all.rwlock.try_write(), Err(LockError::WouldBlock)));
    assert_eq!(all.semaphore.available(), 0);
    assert!(!all.event.is_set() && !all.barrier.is_broken());
    assert_eq!(all.queue.try_recv().unwrap(), 1);
    assert_eq!(all.joinable.try_recv().unwrap(), 1);
    assert_eq!(all.joinable.unfinished(), 1);
    assert_eq!(all.simple.try_recv().unwrap(), 1);
    assert_eq!(all.pipe.1.receiver().try_recv().unwrap(), 1);
    assert_eq!(all.simplex.1.try_recv().unwrap(), 1);
    let mut byte = [0];
    all.bytes.1.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1]);
    assert_eq!((*guards.4, *guards.5), (1, 1));
    assert!(all.map.get(&2).unwrap().is_none() && all.list.len() == 1);
    assert_eq!(
        (all.value.get().unwrap(), all.array.get(0).unwrap()),
        (1, 1)
    );
    drop(guards);
    assert!(all.mutex.try_lock().is_ok() && all.rwlock.try_write().is_ok());
    assert_eq!(all.semaphore.available(), 1);
    for (name, words, open) in handles(&all) {
        assert!(open(words).is_ok(), "{name}");
    }
}
