//! What programs that have met share: a region, and what has a name in it.

mod meet_support;

use std::fs;
use std::thread;
use std::time::Duration;

use gristmill::{
    Array, Barrier, BoundedSemaphore, Client, Condvar, Connection, Error, Event, Listener, Manager,
    MeetError, Mutex, Process, Queue, ReentrantMutex, Region, RegionError, ReleaseError, RwLock,
    Semaphore, SharedList, SharedMap, Value,
};

use meet_support::Place;

/// More than any machine takes, and less than a test may hang.
const LONG: Duration = Duration::from_secs(60);

/// Both ends, in this process.
fn meet(place: &Place) -> (Listener, Connection, Connection) {
    let listener = Listener::bind(place.path()).unwrap();
    let path = place.path();
    let client = thread::spawn(move || Client::builder().connect_timeout(path, LONG).unwrap());
    let accepted = listener.accept_timeout(LONG).unwrap();
    (listener, accepted, client.join().unwrap())
}

/// A process that connects, takes the region, and finds its manager.
fn join(path: &str) -> (Connection, Manager) {
    let connection = Client::builder().connect_timeout(path, LONG).unwrap();
    let region = connection.recv_region_timeout(LONG).unwrap();
    (connection, Manager::new(&region).unwrap())
}

#[test]
fn aio_manager_without_a_server_unrelated_processes_share_by_name() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let region = Region::new(16 << 20).unwrap();
    let manager = Manager::new(&region).unwrap();
    let dict = SharedMap::<String, u64>::new(&region, 100, 1 << 16).unwrap();
    let list = SharedList::<u64>::new(&region, 100, 1 << 16).unwrap();
    let queue = Queue::<u64>::new(&region, 16).unwrap();
    let value = Value::new(&region, 0_u64).unwrap();
    manager.insert("dict", &dict).unwrap();
    manager.insert("list", &list).unwrap();
    manager.insert("queue", &queue).unwrap();
    manager.insert("value", &value).unwrap();
    let others: Vec<_> = (0..3_u64)
        .map(|number| {
            let path = place.path().to_str().unwrap().to_owned();
            Process::spawn((path, number), |task| {
                let (_connection, manager) = join(task.0.as_str());
                let number = task.1.to_native();
                let dict: SharedMap<String, u64> = manager.get("dict").unwrap().unwrap();
                let list: SharedList<u64> = manager.get("list").unwrap().unwrap();
                let queue: Queue<u64> = manager.get("queue").unwrap().unwrap();
                let value: Value<u64> = manager.get("value").unwrap().unwrap();
                dict.insert(&format!("key {number}"), &number).unwrap();
                list.push(&number).unwrap();
                value.update(|sum| *sum += number).unwrap();
                queue.send_blocking(number).unwrap();
            })
            .unwrap()
        })
        .collect();
    let mut received: Vec<u64> = (0..3)
        .map(|_| {
            let guest = listener.accept_timeout(LONG).unwrap();
            guest.send_region(&region).unwrap();
            queue.recv_blocking().unwrap()
        })
        .collect();
    received.sort_unstable();
    assert_eq!(received, [0, 1, 2]);
    for other in others {
        other.wait().unwrap();
    }
    assert_eq!((dict.len(), list.len(), value.get().unwrap()), (3, 3, 3));
    assert_eq!(manager.names().unwrap(), ["dict", "list", "queue", "value"]);
}

/// Theirs cannot wait for a condition of a manager at all.
#[test]
fn aio_manager_lock_rlock_and_condition_are_found_by_name_and_work() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let region = Region::new(4 << 20).unwrap();
    let manager = Manager::new(&region).unwrap();
    let turn = Mutex::new(&region, 0_u64).unwrap();
    let changed = Condvar::new(&region).unwrap();
    let sum = ReentrantMutex::new(&region, 0_u64).unwrap();
    let table = RwLock::new(&region, [0_u64; 4]).unwrap();
    manager.insert("turn", &turn).unwrap();
    manager.insert("changed", &changed).unwrap();
    manager.insert("sum", &sum).unwrap();
    manager.insert("table", &table).unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    let other = Process::spawn(path, |path| {
        let (_connection, manager) = join(path.as_str());
        let turn: Mutex<u64> = manager.get("turn").unwrap().unwrap();
        let changed: Condvar = manager.get("changed").unwrap().unwrap();
        let sum: ReentrantMutex<u64> = manager.get("sum").unwrap().unwrap();
        let table: RwLock<[u64; 4]> = manager.get("table").unwrap().unwrap();
        for round in 0..10 {
            let guard = turn.lock_blocking().unwrap();
            let is_theirs = |turn: &mut u64| *turn != 2 * round + 1;
            let mut guard = changed.wait_while_blocking(guard, is_theirs).unwrap();
            *guard += 1;
            let outer = sum.lock_blocking().unwrap();
            sum.lock_blocking().unwrap().update(|sum| *sum += round);
            drop(outer);
            *table.write_blocking().unwrap() = [round; 4];
            changed.notify_all().unwrap();
        }
    })
    .unwrap();
    let guest = listener.accept_timeout(LONG).unwrap();
    guest.send_region(&region).unwrap();
    // Awaited here, blocked on there.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        for round in 0..10 {
            let guard = turn.lock().await.unwrap();
            let is_theirs = |turn: &mut u64| *turn != 2 * round;
            let mut guard = changed.wait_while(guard, is_theirs).await.unwrap();
            *guard += 1;
            let seen = *table.read().await.unwrap();
            assert_eq!(seen, [seen[0]; 4]);
            changed.notify_all().unwrap();
        }
    });
    other.wait().unwrap();
    assert_eq!(sum.lock_blocking().unwrap().get(), 45);
    assert_eq!(*table.read_blocking().unwrap(), [9; 4]);
}

#[test]
fn aio_manager_semaphores_event_and_barrier_are_found_by_name_and_work() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let region = Region::new(4 << 20).unwrap();
    let manager = Manager::new(&region).unwrap();
    let some = Semaphore::new(&region, 0).unwrap();
    let bounded = BoundedSemaphore::new(&region, 1).unwrap();
    let event = Event::new(&region).unwrap();
    let barrier = Barrier::new(&region, 2).unwrap();
    manager.insert("some", &some).unwrap();
    manager.insert("bounded", &bounded).unwrap();
    manager.insert("event", &event).unwrap();
    manager.insert("barrier", &barrier).unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    let other = Process::spawn(path, |path| {
        let (_connection, manager) = join(path.as_str());
        let some: Semaphore = manager.get("some").unwrap().unwrap();
        let bounded: BoundedSemaphore = manager.get("bounded").unwrap().unwrap();
        let event: Event = manager.get("event").unwrap().unwrap();
        let barrier: Barrier = manager.get("barrier").unwrap().unwrap();
        let held = bounded.acquire_blocking().unwrap();
        some.release(2).unwrap();
        event.wait_blocking().unwrap();
        drop(held);
        barrier.wait_blocking().unwrap();
    });
    let guest = listener.accept_timeout(LONG).unwrap();
    guest.send_region(&region).unwrap();
    // Awaited here, blocked on there.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        drop(some.acquire_many(2).await.unwrap());
        assert_eq!(bounded.available(), 0);
        event.set().unwrap();
        drop(bounded.acquire().await.unwrap());
        barrier.wait().await.unwrap();
    });
    other.unwrap().wait().unwrap();
    let too_many = bounded.release(1).unwrap_err();
    assert!(
        matches!(too_many, ReleaseError::TooMany { .. }),
        "{too_many}"
    );
}

#[test]
fn the_death_of_an_unrelated_process_is_found_and_nobody_waits_for_it() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let region = Region::new(4 << 20).unwrap();
    let manager = Manager::new(&region).unwrap();
    let array = Array::new(&region, &[0_u64; 8]).unwrap();
    manager.insert("array", &array).unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    let other = Process::spawn(path, |path| {
        let (connection, manager) = join(path.as_str());
        let array: Array<u64> = manager.get("array").unwrap().unwrap();
        let mut guard = array.lock().unwrap();
        guard[0] = 1;
        connection.send(b"locked").unwrap();
        std::mem::forget(guard);
        std::process::abort()
    })
    .unwrap();
    let guest = listener.accept_timeout(LONG).unwrap();
    guest.send_region(&region).unwrap();
    assert_eq!(guest.recv_timeout(LONG).unwrap(), b"locked");
    // Nobody of this program is told; its pidfd says so.
    let guard = array.lock_timeout(LONG).unwrap();
    assert!(guard.is_poisoned() && guard[0] == 1);
    assert!(other.wait().is_err());
}

#[test]
fn an_object_crosses_with_its_region_and_is_the_same() {
    let place = Place::new();
    let (_listener, here, there) = meet(&place);
    let region = Region::new(4 << 20).unwrap();
    let value = Value::new(&region, 5_u32).unwrap();
    here.send_object(&region, &value).unwrap();
    let same: Value<u32> = there.recv_object_timeout(LONG).unwrap();
    same.set(6).unwrap();
    assert_eq!(value.get().unwrap(), 6);
    // Of another kind, gone, no region, and no descriptor at all.
    here.send_object(&region, &value).unwrap();
    let other = there.recv_object::<SharedList<u32>>();
    assert!(matches!(
        other,
        Err(Error::Region(RegionError::OtherKind { .. }))
    ));
    here.send_object(&region, &value).unwrap();
    drop((value, same));
    let gone = there.recv_object::<Value<u32>>();
    assert!(matches!(gone, Err(Error::Region(RegionError::Gone))));
    here.send_descriptor(b"gristmill region", fs::File::open("/dev/null").unwrap())
        .unwrap();
    assert!(there.recv_region().is_err());
    here.send(b"no region").unwrap();
    assert!(matches!(
        there.recv_region(),
        Err(Error::Meet(MeetError::Unexpected { .. }))
    ));
    here.send_region(&region).unwrap();
    assert!(there.recv_object::<Value<u32>>().is_err());
    assert!(there.try_recv_region().unwrap().is_none());
}
