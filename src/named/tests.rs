//! Names come and go as they should, whoever dies; what is not ours stays.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::place::{Found, Held, clean, list, remove};
use crate::error::NameError;
use crate::sys::shm::{self, Named};

/// A name that no other test has.
fn name(of: &str) -> String {
    format!("test-{}-{of}", std::process::id())
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(shm::DIRECTORY).join(format!("gristmill.{name}"))
}

fn fill(file: &Named) -> Result<(), NameError> {
    let file = fs::File::from(file.file()?);
    file.write_all_at(b"whole", 0).unwrap();
    Ok(())
}

/// Runs `body` in a forked child, which ends with its code, or by the signal that it sends itself.
#[expect(unsafe_code, reason = "forks")]
fn in_a_child(body: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: the child allocates, which the C library allows, waits for no thread of this process
    // and ends without unwinding.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = body();
            // SAFETY: ends the child without running the test harness's handlers.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
    }
}

fn die() -> ! {
    kill(Pid::this(), Signal::SIGKILL).unwrap();
    unreachable!("nobody survives that")
}

#[test]
fn a_name_is_there_whole_or_not_at_all_and_goes_with_its_last_holder() {
    let name = name("life");
    let made = Held::create(&name, 1 << 20, fill).unwrap();
    assert_eq!(made.file_name(), format!("gristmill.{name}"));
    let mode = fs::metadata(file(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let found = Found {
        name: name.clone(),
        size: 1 << 20,
    };
    assert!(list().unwrap().contains(&found));
    let opened = Held::open(&name).unwrap();
    assert_eq!(opened.name(), name);
    assert_eq!(&fs::read(file(&name)).unwrap()[..5], b"whole");
    let again = Held::create(&name, 1 << 20, fill).unwrap_err();
    assert_eq!(again, NameError::Exists { name: name.clone() });
    drop(made);
    assert!(file(&name).exists(), "somebody has it");
    drop(opened);
    assert!(!file(&name).exists());
    let gone = Held::open(&name).unwrap_err();
    assert_eq!(gone, NameError::NotFound { name });
}

#[test]
fn every_byte_has_memory() {
    use std::os::unix::fs::MetadataExt;
    let name = name("reserved");
    let made = Held::create(&name, 3 << 20, fill).unwrap();
    assert!(fs::metadata(file(&name)).unwrap().blocks() * 512 >= 3 << 20);
    drop(made);
}

#[test]
fn the_names_of_the_dead_are_removed_by_whoever_comes_by() {
    let name = name("dead");
    let status = in_a_child(|| {
        std::mem::forget(Held::create(&name, 4096, fill).unwrap());
        die()
    });
    assert!(matches!(status, WaitStatus::Signaled(..)));
    // It was there for as long as its maker; now it is somebody else's to take.
    let made = Held::create(&name, 8192, fill).unwrap();
    assert_eq!(fs::metadata(file(&name)).unwrap().len(), 8192);
    // A child that opens it and dies takes nothing with it.
    let status = in_a_child(|| {
        std::mem::forget(Held::open(&name).unwrap());
        die()
    });
    assert!(matches!(status, WaitStatus::Signaled(..)));
    clean().unwrap();
    assert!(file(&name).exists());
    drop(made);
    assert!(!file(&name).exists());
}

#[test]
fn one_that_dies_while_it_makes_a_region_leaves_no_name() {
    let name = name("unfinished");
    let status = in_a_child(|| {
        let _ = Held::create(&name, 4096, |_| die());
        1
    });
    assert!(matches!(status, WaitStatus::Signaled(..)));
    let making = || {
        shm::names()
            .unwrap()
            .into_iter()
            .filter(|name| name.starts_with("gristmill-new."))
    };
    // Ours may be making one at the same time, in another test: those stay.
    clean().unwrap();
    let pid = format!(".{}.", std::process::id());
    assert_eq!(making().find(|name| !name.contains(&pid)), None);
    assert!(!file(&name).exists());
}

#[test]
fn an_error_while_it_is_filled_leaves_no_name() {
    let name = name("refused");
    let bad = || NameError::NotFound { name: name.clone() };
    assert_eq!(
        Held::create(&name, 4096, |_| Err(bad())).unwrap_err(),
        bad()
    );
    assert!(!file(&name).exists());
}

#[test]
fn a_forked_child_that_drops_it_removes_nothing() {
    let name = name("forked");
    let made = Held::create(&name, 4096, fill).unwrap();
    let code = in_a_child(|| {
        // SAFETY: the child never uses it again.
        #[expect(unsafe_code, reason = "drops it once more, in a child")]
        drop(unsafe { std::ptr::read(&raw const made) });
        0
    });
    assert!(matches!(code, WaitStatus::Exited(_, 0)));
    clean().unwrap();
    assert!(file(&name).exists());
    drop(made);
    assert!(!file(&name).exists());
}

#[test]
fn of_many_that_make_the_same_name_one_does() {
    let name = name("race");
    for _ in 0..20 {
        let made: Vec<Held> = std::thread::scope(|scope| {
            let make = || Held::create(&name, 4096, fill);
            let threads = [(); 4].map(|()| scope.spawn(make));
            let made = threads.into_iter().map(|each| each.join().unwrap());
            made.filter_map(|made| match made {
                Ok(made) => Some(made),
                Err(NameError::Exists { .. }) => None,
                Err(error) => panic!("{error}"),
            })
            .collect()
        });
        assert_eq!(made.len(), 1);
    }
    assert!(!file(&name).exists());
}

#[test]
fn opening_and_giving_back_at_once_never_gives_a_region_without_a_name() {
    let name = name("churn");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let held = Held::create(&name, 4096, fill).or_else(|_| Held::open(&name));
                    match held {
                        Ok(held) => {
                            // While we hold it, it is there and is this one.
                            let facts = held.file().facts().unwrap();
                            assert!(facts.is_named && shm::is_called(&facts, &held.file_name()));
                        }
                        Err(NameError::NotFound { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(!file(&name).exists());
}

#[test]
fn removing_takes_the_name_and_leaves_the_memory() {
    let name = name("removed");
    let made = Held::create(&name, 4096, fill).unwrap();
    assert!(remove(&name).unwrap());
    assert!(!remove(&name).unwrap());
    let other = Held::create(&name, 8192, fill).unwrap();
    drop(made);
    assert!(file(&name).exists(), "it is another's by now");
    drop(other);
    assert!(!file(&name).exists());
}

#[test]
fn what_is_not_ours_is_refused_and_stays() {
    let name = name("foreign");
    symlink("/dev/null", file(&name)).unwrap();
    assert!(matches!(Held::open(&name), Err(NameError::Foreign { .. })));
    assert!(matches!(
        Held::create(&name, 4096, fill),
        Err(NameError::Exists { .. })
    ));
    clean().unwrap();
    fs::remove_file(file(&name)).expect("it was left alone");
    fs::create_dir(file(&name)).unwrap();
    assert!(matches!(Held::open(&name), Err(NameError::Foreign { .. })));
    clean().unwrap();
    fs::remove_dir(file(&name)).expect("it was left alone");
}

#[test]
fn bad_names_and_sizes_are_refused_with_the_reason() {
    for name in ["", "a/b", "../x", "a\0b", &"x".repeat(246)] {
        assert!(matches!(Held::open(name), Err(NameError::BadName { .. })));
        let made = Held::create(name, 4096, fill);
        assert!(matches!(made, Err(NameError::BadName { .. })));
        assert!(matches!(remove(name), Err(NameError::BadName { .. })));
    }
    for size in [0, u64::MAX, 1 << 63] {
        let made = Held::create(&name("size"), size, fill);
        assert!(matches!(made, Err(NameError::BadSize { .. })), "{size}");
    }
}

/// On a file system of one MiB, in a mount namespace that goes with the child.
#[test]
fn a_full_file_system_is_an_error_and_not_a_signal() {
    use nix::sched::{CloneFlags, unshare};
    const SKIPPED: i32 = 77;
    #[expect(unsafe_code, reason = "mounts, for a child alone")]
    fn mount(
        kind: &std::ffi::CStr,
        at: &std::ffi::CStr,
        flags: u64,
        data: &std::ffi::CStr,
    ) -> bool {
        let (kind, data) = (kind.as_ptr(), data.as_ptr().cast());
        // SAFETY: four strings that end in a zero, and flags.
        unsafe { libc::mount(kind, at.as_ptr(), kind, flags, data) == 0 }
    }
    let status = in_a_child(|| {
        let apart = unshare(CloneFlags::CLONE_NEWNS).is_ok()
            && mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")
            && mount(c"tmpfs", c"/dev/shm", 0, c"size=1m");
        if !apart {
            return SKIPPED;
        }
        let full = Held::create("full", 2 << 20, |_| Ok(()));
        if !matches!(
            full,
            Err(NameError::NoRoom {
                wanted: 2_097_152,
                ..
            })
        ) {
            return 1;
        }
        if !shm::names().is_ok_and(|names| names.is_empty()) {
            return 2;
        }
        let fits = Held::create("fits", 1 << 19, fill);
        let Ok(fits) = fits else { return 3 };
        drop(fits);
        0
    });
    match status {
        WaitStatus::Exited(_, SKIPPED) => eprintln!("skipped: mounting takes root"),
        status => assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}"),
    }
}
