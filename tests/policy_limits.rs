//! What a worker may use, what it does before its first task, and a pool whose workers cannot live.

mod policy_support;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gristmill::{Builder, Cause, Error, OomKill, Pool, TaskError};
use nix::sched::sched_getaffinity;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policy_support::die;

fn builder() -> Builder {
    Pool::builder().workers(1)
}

fn refused(builder: Builder) -> (&'static str, String) {
    match builder.build() {
        Err(Error::SettingRefused { setting, reason }) => (setting, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn private_memory_has_its_limit_and_shared_memory_has_not() {
    let pool = builder().worker_memory(64 << 20).build().unwrap();
    let hoard = |size: &rkyv::rend::u64_le| {
        let hoard = vec![1_u8; size.to_native() as usize];
        hoard.iter().map(|&byte| u64::from(byte)).sum::<u64>()
    };
    let fits = pool.spawn(8_u64 << 20, hoard).unwrap().wait();
    assert_eq!(fits.unwrap().to_native(), 8 << 20);
    match pool.spawn(256_u64 << 20, hoard).unwrap().wait() {
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!(death.cause.signal_name(), Some("SIGABRT"));
            assert_eq!(death.oom_kill, OomKill::No);
        }
        other => panic!("{other:?}"),
    }
    // Input and output have the size that was too large.
    let input = pool.alloc_zeroed::<u64>(10 << 20).unwrap().freeze();
    let output = pool.par_map(&input, |x| x + 1).wait().unwrap();
    assert_eq!(output[(10 << 20) - 1], 1);
}

#[test]
fn processor_time_has_its_limit() {
    let pool = builder().worker_cpu_time(Duration::from_millis(300));
    let pool = pool.build().unwrap();
    let task = pool.spawn((), |()| -> u64 {
        loop {
            std::hint::spin_loop();
        }
    });
    match task.unwrap().wait() {
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!(death.cause.signal_name(), Some("SIGXCPU"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn open_files_have_their_limit() {
    let pool = builder().worker_open_files(32).build().unwrap();
    let task = pool.spawn((), |()| {
        let files: Vec<_> = (0..64)
            .map_while(|_| File::open("/dev/null").ok())
            .collect();
        files.len() as u64
    });
    let opened = task.unwrap().wait().unwrap().to_native();
    assert!((1..32).contains(&opened), "{opened}");
}

#[test]
fn niceness_and_cores_are_as_asked() {
    let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let core = (0..1024).rfind(|&core| mine.is_set(core).unwrap_or(false));
    let core = core.unwrap();
    let pool = builder()
        .worker_nice(7)
        .worker_cores([core])
        .build()
        .unwrap();
    let task = pool.spawn(core as u64, |core| {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let nice: i64 = fields.split(' ').nth(16).unwrap().parse().unwrap();
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cores = (0..1024).filter(|&core| set.is_set(core).unwrap_or(false));
        let cores: Vec<_> = cores.map(|core| core as u64).collect();
        (nice, cores == [core.to_native()])
    });
    let answer = task.unwrap().wait().unwrap();
    assert_eq!((answer.0.to_native(), answer.1), (7, true));
}

#[test]
fn what_the_kernel_refuses_is_an_error_of_build() {
    let (setting, reason) = refused(builder().worker_cores([1023]));
    assert_eq!(setting, "worker_cores");
    assert!(reason.contains("Invalid argument"), "{reason}");
    // More than the kernel lets anybody have.
    let (setting, reason) = refused(builder().worker_open_files(1 << 40));
    assert_eq!(setting, "worker_open_files");
    assert!(reason.contains("not permitted"), "{reason}");
}

/// How often this process was set up.
static SETUPS: AtomicU32 = AtomicU32::new(0);

#[test]
fn each_worker_is_set_up_once() {
    let setup = || {
        SETUPS.fetch_add(1, Ordering::Relaxed);
    };
    let pool = Pool::builder().workers(2).worker_setup(setup).build();
    let pool = pool.unwrap();
    let mut seen = HashMap::new();
    for round in 0..200 {
        let task = pool.spawn((), |()| {
            (std::process::id(), SETUPS.load(Ordering::Relaxed))
        });
        let answer = task.unwrap().wait().unwrap();
        seen.insert(answer.0.to_native(), answer.1.to_native());
        if round == 100 {
            // The replacement is set up as well.
            let death = pool.spawn((), |()| -> u8 { die() }).unwrap();
            assert!(matches!(death.wait(), Err(TaskError::WorkerDied(_))));
        }
    }
    assert!(seen.values().all(|&count| count == 1), "{seen:?}");
    assert_eq!(SETUPS.load(Ordering::Relaxed), 0, "it ran in the parent");
}

#[test]
fn a_setup_that_panics_is_an_error_of_build() {
    let (setting, reason) = refused(builder().worker_setup(|| panic!("no licence")));
    assert_eq!(setting, "worker_setup");
    assert!(reason.contains("no licence"), "{reason}");
    assert!(reason.contains("policy_limits.rs"), "{reason}");
}

#[test]
fn a_setup_that_kills_is_an_error_of_build() {
    let death = match builder().worker_setup(|| die()).build() {
        Err(Error::WorkersKeepDying { death, .. }) => death,
        other => panic!("{other:?}"),
    };
    assert_eq!(death.cause, Cause::Signal(9));
    assert_ne!(death.oom_kill, OomKill::Likely);
}

/// While it exists, workers of the test with this process id die as they start.
fn curse(test: u32) -> PathBuf {
    std::env::temp_dir().join(format!("gristmill-curse-{test}"))
}

#[test]
fn a_pool_whose_workers_cannot_live_fails_with_the_reason() {
    let setup = || {
        if curse(parent_id()).exists() {
            std::process::abort();
        }
    };
    let pool = Pool::builder().workers(2).worker_setup(setup).build();
    let pool = pool.unwrap();
    let path = curse(std::process::id());
    fs::write(&path, "").unwrap();
    for pid in pool.worker_pids() {
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    }
    // Nobody will ever run it, and whoever waits is told so.
    let outcome = pool.spawn(1_u8, |x| x + 1).map(|task| task.wait());
    fs::remove_file(&path).unwrap();
    match outcome {
        Ok(Err(TaskError::NoWorkers {
            attempts,
            last,
            reason,
            ..
        })) => {
            assert_eq!(reason, None);
            assert_eq!(attempts, 5);
            assert_eq!(last.unwrap().cause.signal_name(), Some("SIGABRT"));
        }
        other => panic!("{other:?}"),
    }
    let later = pool.spawn(1_u8, |x| x + 1);
    assert!(matches!(later, Err(Error::PoolClosed)), "{later:?}");
}
