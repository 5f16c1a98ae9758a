//! Regions with a name, and objects of every kind in them.

mod meet_support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;

use gristmill::{
    Array, Client, Error, Handle, JoinableQueue, Listener, Manager, NameError, NamedRegion, Pool,
    Process, Region, RegionError, SharedMap, Value,
};

/// A name that no other test has.
fn name(of: &str) -> String {
    format!("named-region-{}-{of}", std::process::id())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(format!("gristmill.{name}"))
}

/// The name goes with the last that has the region: that may be the thread that just takes care of
/// a process that has ended.
fn goes(name: &str) {
    while path(name).exists() {
        thread::yield_now();
    }
}

/// Everything that a region can hold has a name in a region that has one.
#[test]
fn objects_of_every_kind_are_found_in_a_region_by_name() {
    let name = name("objects");
    let region = Region::create_named(&name, 4 << 20).unwrap();
    let manager = Manager::new(&region).unwrap();
    let jobs = JoinableQueue::<u64>::new(&region, 16).unwrap();
    let done = SharedMap::<u64, u64>::new(&region, 100, 1 << 12).unwrap();
    assert!(manager.insert("jobs", &jobs).unwrap());
    assert!(manager.insert("done", &done).unwrap());
    let other = Process::spawn(name.clone(), |name| {
        let manager = Manager::new(&Region::open_named(name.as_str()).unwrap()).unwrap();
        let jobs: JoinableQueue<u64> = manager.get("jobs").unwrap().unwrap();
        let done: SharedMap<u64, u64> = manager.get("done").unwrap().unwrap();
        while let Ok(job) = jobs.recv_blocking() {
            done.insert(&job, &(job * job)).unwrap();
            jobs.task_done().unwrap();
        }
    })
    .unwrap();
    for job in 0..50 {
        jobs.send_blocking(job).unwrap();
    }
    jobs.join().wait().unwrap();
    jobs.close();
    other.wait().unwrap();
    assert_eq!(done.len(), 50);
    assert_eq!(done.get(&7).unwrap().unwrap().to_native(), 49);
    // This process has one region, however often it opens it; its objects keep that and its name.
    let same = Region::open_named(&name).unwrap();
    let again: SharedMap<u64, u64> = Manager::new(&same).unwrap().get("done").unwrap().unwrap();
    drop((region, manager, jobs, done, same));
    assert!(path(&name).exists());
    assert_eq!(again.len(), 50);
    drop(again);
    goes(&name);
}

#[test]
fn whoever_comes_first_makes_the_region_and_what_is_in_it() {
    let name = name("together");
    let join = |name: &str| -> Value<u64> {
        let region = Region::open_or_create_named(name, 4 << 20).unwrap();
        let manager = Manager::new(&region).unwrap();
        let make = |region: &Region| Value::new(region, 0_u64);
        manager.get_or_create("count", make).unwrap()
    };
    let others: Vec<_> = (0..3)
        .map(|_| {
            Process::spawn(name.clone(), move |name| {
                let count = join(name.as_str());
                count.update(|count| *count += 1).unwrap();
                // Until the others have it, too.
                while count.get().unwrap() < 4 {
                    thread::yield_now();
                }
            })
            .unwrap()
        })
        .collect();
    let count = join(&name);
    count.update(|count| *count += 1).unwrap();
    for other in others {
        other.wait().unwrap();
    }
    assert_eq!(count.get().unwrap(), 4);
}

#[test]
fn a_region_with_a_name_goes_to_workers_and_not_over_a_connection() {
    let name = name("workers");
    let region = Region::create_named(&name, 4 << 20).unwrap();
    let count = Value::new(&region, 0_u64).unwrap();
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let tasks = (0..10_u64).map(|number| {
        let words = count.handle().words();
        pool.spawn((words, number), |task| {
            let words = [task.0[0].to_native(), task.0[1].to_native()];
            let count: Value<u64> = Handle::from_words(words).open().unwrap();
            let number = task.1.to_native();
            count.update(|count| *count += number).unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.unwrap().wait().unwrap();
    }
    assert_eq!(count.get().unwrap(), 45);
    // Whoever was not started by us might be lied to by a file that can become shorter.
    let place = meet_support::Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let to = place.path();
    let client = thread::spawn(move || Client::connect(to).unwrap());
    let here = listener.accept().unwrap();
    here.send_region(&region).unwrap();
    let refused = client.join().unwrap().recv_region().unwrap_err();
    assert!(
        matches!(refused, Error::Region(RegionError::Foreign { .. })),
        "{refused}"
    );
}

#[test]
fn a_member_of_a_region_with_a_name_is_killed_and_nobody_waits_for_it() {
    let name = name("killed-member");
    let region = Region::create_named(&name, 4 << 20).unwrap();
    let array = Array::new(&region, &[0_u32; 4]).unwrap();
    let manager = Manager::new(&region).unwrap();
    manager.insert("array", &array).unwrap();
    let dying = Process::spawn(name.clone(), |name| {
        let region = Region::open_named(name.as_str()).unwrap();
        let array: Array<u32> = Manager::new(&region)
            .unwrap()
            .get("array")
            .unwrap()
            .unwrap();
        std::mem::forget(array.lock().unwrap());
        std::process::abort()
    });
    assert!(dying.unwrap().wait().is_err());
    assert!(array.lock().unwrap().is_poisoned());
    drop((region, array, manager));
    goes(&name);
    // The last of all is killed: the name is free, and so is the region's memory.
    let dying = Process::spawn(name.clone(), |name| {
        std::mem::forget(Region::create_named(name.as_str(), 4 << 20).unwrap());
        std::process::abort()
    });
    assert!(dying.unwrap().wait().is_err());
    drop(Region::create_named(&name, 2 << 20).unwrap());
}

#[test]
fn a_region_of_another_format_or_size_is_refused_with_a_sentence() {
    let name = name("formats");
    for size in [0, (32 << 30) + 1] {
        let made = Region::create_named(&name, size).unwrap_err();
        assert!(matches!(made, Error::InvalidArgument { .. }), "{made}");
    }
    assert!(matches!(
        Region::open_named(&name),
        Err(Error::Name(NameError::NotFound { .. }))
    ));
    // One of arrays is none of objects, nor the other way round.
    let arrays = NamedRegion::create(&name, 1).unwrap();
    let foreign = |outcome: Error| match outcome {
        Error::Name(NameError::Foreign { reason, .. }) => assert!(reason.len() > 10, "{reason}"),
        other => panic!("{other}"),
    };
    foreign(Region::open_named(&name).unwrap_err());
    drop(arrays);
    let objects = Region::create_named(&name, 1).unwrap();
    foreign(NamedRegion::open(&name).unwrap_err().into());
    assert!(matches!(
        Region::create_named(&name, 1),
        Err(Error::Name(NameError::Exists { .. }))
    ));
    // Its first words are those of another version, or it was cut off.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path(&name))
        .unwrap();
    for at in [0, 8, 16] {
        let mut word = [0; 8];
        let reading = fs::File::open(path(&name)).unwrap();
        reading.read_exact_at(&mut word, at).unwrap();
        file.write_all_at(&[0xff; 8], at).unwrap();
        foreign(Region::open_named(&name).unwrap_err());
        file.write_all_at(&word, at).unwrap();
    }
    assert!(Region::open_named(&name).is_ok());
    drop(objects);
    for bytes in [&b""[..], b"short", &[0; 4096]] {
        fs::write(path(&name), bytes).unwrap();
        foreign(Region::open_named(&name).unwrap_err());
    }
    // Nobody holds what was refused: it is of the dead.
    NamedRegion::clean().unwrap();
    assert!(!path(&name).exists());
}
