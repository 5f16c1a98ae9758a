//! The kernel kills a worker because memory ran out: for real, in a control group that has little.
//!
//! Needs the right to make a control group, as root has where the file system is writable; else it
//! says so and tests nothing. The group is removed again.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Cause, OomKill, Pool, TaskError, WorkerDeath};

/// Tells the test in the group where that is.
const GROUP: &str = "GRISTMILL_TEST_GROUP";
/// What a test process and its workers need, several times; and far less than `HOARD`.
const LIMIT: u64 = 192 << 20;
const HOARD: u64 = 1 << 30;

/// A control group that is removed with this value.
struct Group(PathBuf);

impl Group {
    /// The nearest place above this process where there can be one with a limit.
    fn new() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut reasons = Vec::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let (root, limit, swap) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
                list if list.split(',').any(|one| one == "memory") => {
                    let swap = "memory.memsw.limit_in_bytes";
                    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", swap)
                }
                _ => continue,
            };
            let name = format!("gristmill-test-{}", std::process::id());
            for above in Path::new(path.trim_start_matches('/')).ancestors() {
                let directory = Path::new(root).join(above).join(&name);
                match Self::at(&directory, limit, swap) {
                    Ok(group) => return Ok(group),
                    Err(error) => reasons.push(format!("{}: {error}", directory.display())),
                }
            }
        }
        Err(reasons.join("; "))
    }

    fn at(directory: &Path, limit: &str, swap: &str) -> io::Result<Self> {
        fs::create_dir(directory)?;
        let group = Self(directory.to_owned());
        let set = |file: &str| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(directory.join(file))?;
            file.write_all(LIMIT.to_string().as_bytes())
        };
        set(limit)?;
        // Where swap is not counted there is none, or there is enough of it not to be killed: then
        // the test fails and says what it saw.
        let _ = set(swap);
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Workers of a test that failed may still be on their way out.
        let began = Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
    }
}

#[test]
fn the_kernel_kills_for_memory_and_the_pool_goes_on() {
    if let Some(group) = env::var_os(GROUP) {
        return inside(Path::new(&group));
    }
    let group = match Group::new() {
        Ok(group) => group,
        Err(reason) => {
            // Past the capture of the test harness, so that it is seen.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: no control group can be made: {reason}"
            );
            return;
        }
    };
    let child = Command::new("/proc/self/exe")
        .args([
            "--exact",
            "the_kernel_kills_for_memory_and_the_pool_goes_on",
            "--nocapture",
        ])
        .env(GROUP, &group.0)
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let path = group.0.clone();
    drop(group);
    assert!(!path.exists(), "{} is left", path.display());
}

#[track_caller]
fn is_oom(death: &WorkerDeath) {
    assert_eq!(death.cause, Cause::Signal(9), "{death}");
    assert_eq!(death.oom_kill, OomKill::Likely, "{death}");
    let peak = death.peak_memory.expect("the kernel says so");
    assert!((LIMIT / 4..HOARD).contains(&peak), "{death}");
    assert!(
        death.to_string().contains("memory probably ran out"),
        "{death}"
    );
}

/// The test, in a process of its own that may use little memory.
fn inside(group: &Path) {
    fs::write(group.join("cgroup.procs"), "0").unwrap();
    let pool = Pool::builder()
        .workers(2)
        .memory_budget(16 << 20)
        .build()
        .unwrap();
    let hoard = |&(): &()| -> u64 {
        let hoard = vec![1_u8; HOARD as usize];
        hoard.iter().map(|&byte| u64::from(byte)).sum()
    };
    for _ in 0..2 {
        match pool.spawn((), hoard).unwrap().wait() {
            Err(TaskError::WorkerDied(death)) => is_oom(&death),
            other => panic!("{other:?}"),
        }
        assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
    }
    // In a job: the element is found, and all others have their results.
    let xs = pool.alloc_from_fn(10_000, |i| i as u64).unwrap().freeze();
    let job = pool.par_map(&xs, |&x| match x {
        4_321 => std::hint::black_box(vec![1_u8; HOARD as usize]).len() as u64,
        x => x + 1,
    });
    let isolated = job.isolate().wait().unwrap();
    assert_eq!(isolated.failures.len(), 1);
    assert_eq!(isolated.failures[0].elements, 4_321..4_322);
    match &isolated.failures[0].error {
        TaskError::WorkerDied(death) => is_oom(death),
        other => panic!("{other}"),
    }
    assert_eq!(isolated.values[9_999], 10_000);
    // One that is killed by somebody else meanwhile is told from them.
    let task = pool.spawn((), |()| {
        nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap()
    });
    match task.map(|task| task.wait()) {
        Ok(Err(TaskError::WorkerDied(death))) => assert_ne!(death.oom_kill, OomKill::Likely),
        other => panic!("{other:?}"),
    }
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}
