//! Bad input to what processes share, of every kind: nothing where there must be something, more
//! than fits, a handle without its region. A clear error each, and nothing is lost.

#[path = "bad_shared_input/kinds.rs"]
mod kinds;

use gristmill::{
    Array, Barrier, BoundedSemaphore, Error, Event, JoinableQueue, Mutex, Queue, ReentrantMutex,
    Region, RegionError, Rkyv, RwLock, Semaphore, SendError, ShareError, SharedList, SharedMap,
    SimpleQueue, Value, byte_pipe, byte_simplex, pipe, simplex,
};

use kinds::{All, handles};

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
    for (refused, name) in [
        (
            SharedMap::<u8, u8>::new(&region, 0, 100).err(),
            "size of a shared map or list",
        ),
        (
            SharedMap::<u8, u8>::new(&region, 4, 0).err(),
            "size of a shared map or list",
        ),
        (
            SharedList::<u8>::new(&region, 0, 100).err(),
            "size of a shared map or list",
        ),
        (
            SharedList::<u8>::new(&region, 4, 0).err(),
            "size of a shared map or list",
        ),
        (Array::<u64>::new(&region, &[]).err(), "length of an array"),
    ] {
        match refused {
            Some(ShareError::Region(error)) => assert_names(Err::<(), _>(*error), name),
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

/// Plain data of 8 MiB. Optimised or not, a call may have it on its stack several times.
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
        .stack_size(512 << 20)
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
