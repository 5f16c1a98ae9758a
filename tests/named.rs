//! Regions that programs find by name, and the arrays in them.

#![expect(unsafe_code, reason = "drops values twice, once in a forked child")]

mod meet_support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use gristmill::{NameError, NamedRegion, NamedVec, Process, TaskError, Worker};
use proptest::prelude::*;

/// A name that no other test has.
fn name(of: &str) -> String {
    format!("named-{}-{of}", std::process::id())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(format!("gristmill.{name}"))
}

#[test]
fn another_process_finds_the_arrays_and_reads_them_where_they_lie() {
    let name = name("arrays");
    let region = NamedRegion::create(&name, 1 << 20).unwrap();
    let mut squares = region.alloc::<u64>("squares", 1000).unwrap();
    for (index, square) in squares.iter_mut().enumerate() {
        *square = (index * index) as u64;
    }
    // Until it is published nobody has it, and nobody else can have its key.
    let hidden = region.slice::<u64>("squares").unwrap_err();
    assert!(matches!(hidden, NameError::NoSuchKey { .. }));
    assert!(region.keys().is_empty());
    let taken = region.alloc::<u64>("squares", 1).unwrap_err();
    assert!(matches!(taken, NameError::KeyExists { .. }));
    let squares = squares.publish().unwrap();
    assert_eq!(region.keys(), ["squares"]);

    let other = Worker::spawn(name.clone(), |name| {
        let region = NamedRegion::open(name.as_str()).unwrap();
        let squares = region.slice::<u64>("squares").unwrap();
        let mut answer = region.alloc::<f64>("answer", 1).unwrap();
        answer[0] = squares.iter().sum::<u64>() as f64;
        drop(answer.publish().unwrap());
        squares.offset()
    });
    let offset = other.unwrap().wait().unwrap();
    assert_eq!(offset.to_native(), squares.offset());
    let answer = region.slice::<f64>("answer").unwrap();
    assert_eq!(answer[0] as u64, squares.iter().sum::<u64>());
    // A handle keeps the region, and its name.
    drop(region);
    assert!(path(&name).exists());
    assert_eq!(squares.clone()[3], 9);
    drop((squares, answer));
    assert!(!path(&name).exists());
}

#[test]
fn arrays_of_processes_that_died_are_given_up() {
    let name = name("dying");
    let region = NamedRegion::create(&name, 1 << 20).unwrap();
    let fill = |name: &str| {
        let other = Process::spawn(name.to_owned(), |name| {
            let region = NamedRegion::open(name.as_str()).unwrap();
            let mut array = region.alloc::<u8>("half done", 1 << 19).unwrap();
            array.fill(7);
            std::process::abort()
        });
        assert!(other.unwrap().wait().is_err());
    };
    for _ in 0..3 {
        // Each takes half of the region: there is room because the one before is given up.
        fill(&name);
        let found = region.slice::<u8>("half done").unwrap_err();
        assert!(matches!(found, NameError::NoSuchKey { .. }));
    }
    let mut array = region.alloc::<u8>("half done", 1 << 19).unwrap();
    assert!(
        array.iter().all(|&byte| byte == 0),
        "what the dead wrote is not seen"
    );
    array[0] = 1;
    drop(array);
    drop(region.alloc::<u8>("another", 1 << 20).unwrap());
}

#[test]
fn programs_that_are_killed_at_any_time_leave_a_region_that_works() {
    let name = name("killed");
    let region = NamedRegion::create(&name, 1 << 20).unwrap();
    for round in 0..20_u32 {
        let busy = Process::spawn((name.clone(), round), |task| {
            let region = NamedRegion::open(task.0.as_str()).unwrap();
            for number in 0_u64.. {
                let key = format!("{}-{}", task.1, number % 3);
                let array: Result<NamedVec<u64>, _> = region.alloc(&key, 100);
                drop(array);
            }
        })
        .unwrap();
        // However far it is by then; it is inside the lock for most of its time.
        let mut done = 0;
        while done < 50 {
            done += u32::from(region.alloc::<u64>("ours", 100).is_ok());
        }
        busy.kill().unwrap();
        assert!(busy.wait().is_err());
        // It held the lock, or an array, or neither.
        drop(region.alloc::<u64>("ours", 100).unwrap());
    }
    assert!(region.keys().is_empty());
}

#[test]
fn of_many_that_take_the_same_key_one_gets_it() {
    let name = name("keys");
    let region = NamedRegion::create(&name, 1 << 20).unwrap();
    for round in 0..20 {
        let key = format!("key {round}");
        let got: Vec<_> = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| region.alloc::<u32>(&key, 10)));
            threads
                .into_iter()
                .filter_map(|each| each.join().unwrap().ok())
                .collect()
        });
        assert_eq!(got.len(), 1);
        got.into_iter()
            .for_each(|array| drop(array.publish().unwrap()));
    }
    assert_eq!(region.keys().len(), 20);
}

#[test]
fn bad_input_is_a_clear_error() {
    let name = name("bad");
    let region = NamedRegion::create(&name, 1).unwrap();
    let exists = NamedRegion::create(&name, 1).unwrap_err();
    assert!(matches!(exists, NameError::Exists { .. }));
    assert!(matches!(
        NamedRegion::create("", 1),
        Err(NameError::BadName { .. })
    ));
    for size in [0, u64::MAX] {
        let made = NamedRegion::create(&format!("{name}-2"), size);
        assert!(matches!(made, Err(NameError::BadSize { .. })), "{size}");
    }
    let none = region.alloc::<u8>("none", 0);
    assert!(matches!(none, Err(NameError::BadSize { .. })));
    let huge = region.alloc::<u64>("huge", usize::MAX);
    assert!(matches!(huge, Err(NameError::BadSize { .. })));
    let large = region.alloc::<u8>("large", region.size() as usize);
    assert!(matches!(large, Err(NameError::Full { .. })));
    for key in ["", &"k".repeat(73)] {
        let bad = region.alloc::<u8>(key, 1);
        assert!(matches!(bad, Err(NameError::BadKey { .. })));
    }
    drop(region.alloc::<f64>("floats", 3).unwrap().publish().unwrap());
    let other = region.slice::<u64>("floats");
    assert!(matches!(other, Err(NameError::OtherType { .. })));
    for index in 0..252 {
        let key = index.to_string();
        drop(region.alloc::<u8>(&key, 1).unwrap().publish().unwrap());
    }
    let many = region.alloc::<u8>("one too many", 1);
    assert!(matches!(many, Err(NameError::Full { .. })));
}

#[test]
fn a_handle_outlives_the_name_and_says_nothing_wrong() {
    let name = name("removed");
    let region = NamedRegion::create(&name, 1 << 16).unwrap();
    let mut array = region.alloc::<u32>("kept", 4).unwrap();
    array.copy_from_slice(&[1, 2, 3, 4]);
    let array = array.publish().unwrap();
    assert!(NamedRegion::remove(&name).unwrap());
    let gone = NamedRegion::open(&name).unwrap_err();
    assert!(matches!(gone, NameError::NotFound { .. }));
    // Its memory is there for as long as its handles.
    assert_eq!(*array, [1, 2, 3, 4]);
    drop(region.alloc::<u32>("more", 4).unwrap().publish().unwrap());
    let other = NamedRegion::create(&name, 1 << 16).unwrap();
    assert!(other.keys().is_empty());
    drop((region, array));
    assert!(path(&name).exists());
}

#[test]
fn open_or_create_gives_all_of_them_the_same() {
    let name = name("together");
    let regions: Vec<NamedRegion> = thread::scope(|scope| {
        let open = || NamedRegion::open_or_create(&name, 1 << 16).unwrap();
        let threads = [(); 4].map(|()| scope.spawn(open));
        threads
            .into_iter()
            .map(|each| each.join().unwrap())
            .collect()
    });
    drop(regions[0].alloc::<u8>("x", 1).unwrap().publish().unwrap());
    assert!(regions.iter().all(|region| region.keys() == ["x"]));
    let listed = NamedRegion::list().unwrap();
    assert!(
        listed
            .iter()
            .any(|info| info.name == name && info.size == regions[0].size())
    );
}

#[test]
fn a_forked_child_takes_nothing_away() {
    let name = name("forked");
    let region = NamedRegion::create(&name, 1 << 16).unwrap();
    let mut array = region.alloc::<u32>("parents", 4).unwrap();
    array.fill(5);
    let code = meet_support::in_a_fork(|| {
        // SAFETY: once more here, in a process of its own.
        let region = unsafe { std::ptr::read(&raw const region) };
        // SAFETY: as above.
        let array = unsafe { std::ptr::read(&raw const array) };
        let refused = matches!(region.alloc::<u8>("childs", 1), Err(NameError::Forked));
        let unpublished = matches!(array.publish(), Err(NameError::Forked));
        drop(region);
        i32::from(!(refused && unpublished))
    });
    assert_eq!(code, 0);
    assert_eq!(*array.publish().unwrap(), [5; 4]);
    assert!(path(&name).exists());
}

#[test]
fn what_another_program_or_version_made_is_refused_with_a_sentence() {
    let name = name("foreign");
    let region = NamedRegion::create(&name, 1 << 16).unwrap();
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path(&name))
        .unwrap();
    let mut header = [0; 32];
    file.read_exact_at(&mut header, 0).unwrap();
    for (at, reason) in [
        (0, "another program made it"),
        (8, "build both programs"),
        (16, "was made with"),
        (24, "never completed"),
    ] {
        let mut other = header;
        other[at] ^= 0xff;
        file.write_all_at(&other, 0).unwrap();
        match NamedRegion::open(&name) {
            Err(NameError::Foreign { reason: found, .. }) => {
                assert!(found.contains(reason), "{found}");
            }
            other => panic!("{other:?}"),
        }
    }
    file.write_all_at(&header, 0).unwrap();
    assert!(NamedRegion::open(&name).is_ok());
    drop(region);
    // Too short for a header, and no region at all: it is refused, and nobody holds it.
    for bytes in [&b""[..], b"short", &[0; 4096]] {
        fs::write(path(&name), bytes).unwrap();
        let found = NamedRegion::open(&name).unwrap_err();
        assert!(matches!(found, NameError::Foreign { .. }), "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_in_the_directory_are_read_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 32_768 - 256),
        states in prop::collection::vec(0..4_u8, 253),
        offset in any::<u64>(),
    ) {
        let name = name("hostile");
        let region = NamedRegion::create(&name, 1 << 16).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path(&name)).unwrap();
        file.write_all_at(&bytes, 256).unwrap();
        for (index, state) in states.iter().enumerate() {
            // States that there are, keys that are found, and types that fit.
            let at = 256 + index as u64 * 128;
            file.write_all_at(&[*state, 0, 0, 0, 0, 0, 0, 0], at).unwrap();
            file.write_all_at(&[1, 0, 0, 0, 0, 0, 0, 0, b'a' + index as u8 % 26], at + 48).unwrap();
            file.write_all_at(&[1, 0, 0, 0, 1, 0, 1, 0], at + 40).unwrap();
            if index % 2 == 0 {
                let offset = offset >> (index % 64);
                file.write_all_at(&offset.to_le_bytes(), at + 24).unwrap();
            }
        }
        for key in region.keys() {
            if let Ok(slice) = region.slice::<u8>(&key) {
                prop_assert!(slice.offset() + slice.len() as u64 <= region.size());
                prop_assert!(slice.offset() >= 0x8000);
            }
        }
        let _ = region.alloc::<u8>("more", 100);
        let again = NamedRegion::open(&name).unwrap();
        let _ = again.alloc::<u64>("even more", 100).map(|array| array.publish());
    }
}

#[test]
fn python_reads_an_array_where_it_lies() {
    let python = ["python3.11", "python3"]
        .into_iter()
        .find(|python| Command::new(python).arg("--version").output().is_ok());
    let Some(python) = python else {
        eprintln!("skipped: there is no Python");
        return;
    };
    let name = name("python");
    let region = NamedRegion::create(&name, 1 << 16).unwrap();
    let mut roots = region.alloc::<f64>("roots", 1000).unwrap();
    for (index, root) in roots.iter_mut().enumerate() {
        *root = (index as f64).sqrt();
    }
    let roots = roots.publish().unwrap();
    // Until 3.13 a program that only attaches has to be kept from removing the name at its end.
    let script = "
import sys
from multiprocessing import resource_tracker, shared_memory
name, offset, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
memory = shared_memory.SharedMemory(name=name)
resource_tracker.unregister(memory._name, 'shared_memory')
array = memory.buf[offset:offset + 8 * count].cast('d')
print(len(array), sum(array))
array.release()
memory.close()
";
    let run = Command::new(python)
        .args(["-c", script, &region.file_name()])
        .args([roots.offset().to_string(), roots.len().to_string()])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && complaint.is_empty(), "{complaint}");
    let said = String::from_utf8(run.stdout).unwrap();
    let mut said = said.split_whitespace();
    assert_eq!(said.next(), Some("1000"));
    let sum: f64 = said.next().unwrap().parse().unwrap();
    assert!((sum - roots.iter().sum::<f64>()).abs() < 1e-6);
    // The name is still there.
    assert!(NamedRegion::open(&name).is_ok());
}

#[test]
fn a_killed_program_leaves_no_name_for_long() {
    let name = name("gone");
    let dying = Process::spawn(name.clone(), |name| {
        let region = NamedRegion::create(name.as_str(), 1 << 16).unwrap();
        drop(region.alloc::<u8>("x", 1).unwrap().publish().unwrap());
        std::mem::forget(region);
        std::process::abort()
    });
    match dying.unwrap().wait() {
        Err(TaskError::WorkerDied(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(
        NamedRegion::list()
            .unwrap()
            .iter()
            .all(|info| info.name != name)
    );
    assert!(!path(&name).exists());
}
