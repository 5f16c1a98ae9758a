//! What a worker in a sandbox can do: compute, and nothing else. Each attempt at something else is
//! made by a worker without a sandbox as well, so that a test that tries nothing fails.

#![expect(unsafe_code, reason = "tries system calls that have no safe form")]

mod attempt;
mod inside;
mod kernel;
mod methods;
mod paths;
mod regions;

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::{Cause, Pool, Sandbox, TaskError, Violation};

use attempt::{ACTS, LOOKS, NOT_FOR_ALL, Target, attempt};

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const SIGSYS: i32 = 31;

fn confined(sandbox: Sandbox) -> Pool {
    Pool::builder().workers(2).sandbox(sandbox).build().unwrap()
}

/// Something to attack: a file, a port, and a word of this process.
struct Bait {
    directory: tempdir::Directory,
    listener: TcpListener,
    word: Box<AtomicU64>,
}

impl Bait {
    fn new() -> Self {
        let directory = tempdir::Directory::new();
        fs::write(directory.path().join("file"), "untouched").unwrap();
        Self {
            directory,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            word: Box::new(AtomicU64::new(7)),
        }
    }

    fn target(&self) -> Target {
        Target {
            file: self.directory.path().join("file").display().to_string(),
            port: self.listener.local_addr().unwrap().port(),
            parent: std::process::id(),
            word: (&raw const *self.word).expose_provenance() as u64,
        }
    }

    #[track_caller]
    fn is_untouched(&self) {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        assert_eq!(entries.count(), 1, "a file was made or removed");
        let text = fs::read_to_string(self.directory.path().join("file")).unwrap();
        assert_eq!(text, "untouched");
        assert_eq!(self.word.load(Ordering::Relaxed), 7, "memory was written");
    }
}

/// A directory of a test's own, removed with it.
mod tempdir {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("gristmill-sandbox-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn try_in(pool: &Pool, what: &str, bait: &Bait) -> Result<i32, TaskError> {
    let task = pool.spawn((what.to_owned(), bait.target()), |arguments| {
        attempt(&arguments.0, &arguments.1)
    });
    task.unwrap().wait().map(|errno| errno.to_native())
}

#[test]
fn without_a_sandbox_they_succeed() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let bait = Bait::new();
    for what in LOOKS.iter().chain(ACTS) {
        if NOT_FOR_ALL.contains(what) {
            continue;
        }
        assert_eq!(try_in(&pool, what, &bait).unwrap(), 0, "{what}");
    }
    assert_ne!(bait.word.load(Ordering::Relaxed), 7);
}

#[test]
fn what_is_denied_is_an_error_and_the_worker_goes_on() {
    let pool = confined(Sandbox::compute_only());
    let bait = Bait::new();
    let workers = pool.worker_pids();
    for what in LOOKS.iter().chain(ACTS) {
        let errno = try_in(&pool, what, &bait).unwrap();
        assert!([EPERM, EACCES].contains(&errno), "{what}: {errno}");
    }
    bait.is_untouched();
    assert_eq!(pool.worker_pids(), workers);
}

#[test]
fn what_kills_is_told_and_the_pool_goes_on() {
    let pool = confined(Sandbox::compute_only().on_violation(Violation::Kill));
    let bait = Bait::new();
    for what in LOOKS {
        let errno = try_in(&pool, what, &bait).unwrap();
        assert!([EPERM, EACCES].contains(&errno), "{what}: {errno}");
    }
    for what in ACTS {
        match try_in(&pool, what, &bait) {
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!(death.cause, Cause::Signal(SIGSYS), "{what}");
                assert!(death.to_string().contains("sandbox"), "{death}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    bait.is_untouched();
    // By replacements, which are confined as well.
    assert_eq!(*pool.spawn(20_u8, |x| x + 1).unwrap().wait().unwrap(), 21);
}
