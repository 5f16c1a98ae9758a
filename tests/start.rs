//! Pools whose workers come into being in each of the ways that there are.

#![expect(unsafe_code, reason = "a pool that forks is unsafe to build")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Builder, Cause, Error, Pool, StartMethod, TaskError, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is not over by then has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

const METHODS: [&str; 4] = ["spawn", "fork server", "fork", "command"];

fn builder() -> Builder {
    Pool::builder().workers(2).memory_budget(256 << 20)
}

fn by(method: &str) -> Builder {
    match method {
        "spawn" => builder().start_method(StartMethod::Spawn),
        "fork server" => builder().start_method(StartMethod::ForkServer),
        "command" => builder().command(["env", "STARTED_BY=env"]),
        // SAFETY: what these tests run in workers allocates, and reads a static that is complete;
        // it takes no lock that a thread of this process may hold for long enough to be forked.
        "fork" => unsafe { builder().fork() },
        other => panic!("{other}"),
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn works(pool: &Pool) {
    let xs = pool.alloc_from_fn(50_000, |i| i as u64).expect("room");
    let xs = xs.freeze();
    let mut ys = pool.par_map(&xs, |x| x + 1).wait().expect("it ends well");
    assert!(ys.iter().zip(1..).all(|(&y, i)| y == i));
    let doubled = pool.par_for_each_mut(&mut ys, |y| *y *= 2).wait();
    doubled.expect("it ends well");
    let ys = ys.freeze();
    let sum = pool.par_sum(&ys).wait().expect("it ends well");
    assert_eq!(sum, 50_000 * 50_001);
    let zipped = pool.par_zip_map(&xs, &ys, |x, y| y - x).wait();
    assert_eq!(zipped.expect("it ends well")[10], 12);
    let text = pool.spawn(String::from("a b"), |text| {
        text.split(' ').map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(text.expect("submitted").wait().expect("well")[1], "b");
}

#[test]
fn every_verb_works_under_each_method() {
    for method in METHODS {
        works(&by(method).build().expect(method));
    }
}

#[test]
fn a_worker_that_was_killed_is_replaced() {
    for method in METHODS {
        let pool = by(method).build().expect(method);
        for _ in 0..5 {
            let before: BTreeSet<u32> = pool.worker_pids().into_iter().collect();
            assert_eq!(before.len(), 2, "{method}");
            for &pid in &before {
                kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("not reaped yet");
            }
            until(|| {
                let now = pool.worker_pids();
                now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
            });
            works(&pool);
            // Those that were are not even zombies.
            for pid in before {
                assert!(
                    !fs::exists(format!("/proc/{pid}")).expect("procfs"),
                    "{method}"
                );
            }
        }
    }
}

#[test]
fn what_ended_a_worker_is_told_as_it_was() {
    for method in METHODS {
        let pool = by(method).build().expect(method);
        let cause = |task: TaskHandle<()>| match task.wait() {
            Err(TaskError::WorkerDied(death)) => death.cause,
            other => panic!("{method}: {other:?}"),
        };
        let exits = pool.spawn((), |()| std::process::exit(9));
        assert_eq!(cause(exits.expect("submitted")), Cause::Exit(9), "{method}");
        let aborts = pool.spawn((), |()| std::process::abort());
        assert_eq!(
            cause(aborts.expect("submitted")),
            Cause::Signal(6),
            "{method}"
        );
        let wild = pool.spawn((), |()| {
            // SAFETY: none; it must die here.
            unsafe { std::ptr::without_provenance_mut::<u64>(16).write_volatile(1) };
        });
        assert_eq!(
            cause(wild.expect("submitted")),
            Cause::Signal(11),
            "{method}"
        );
        let panics = pool.spawn((), |()| -> u64 { panic!("as planned") });
        match panics.expect("submitted").wait() {
            Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "as planned"),
            other => panic!("{method}: {other:?}"),
        }
        works(&pool);
    }
}

#[test]
fn settings_apply_under_each_method() {
    for method in METHODS {
        let setup = || std::env::set_current_dir("/").expect("there is a root");
        let pool = by(method).worker_setup(setup).worker_nice(7).build();
        let pool = pool.expect(method);
        let seen = pool.spawn((), |()| {
            let place = std::env::current_dir().expect("a directory");
            let stat = fs::read_to_string("/proc/self/stat").expect("procfs");
            let fields = stat.rsplit(") ").next().expect("fields");
            let nice = fields.split(' ').nth(16).expect("a field").to_owned();
            let own = fs::read_to_string("/proc/self/comm").expect("procfs");
            (place.display().to_string(), nice, own)
        });
        let seen = seen.expect("submitted").wait().expect("it ends well");
        assert_eq!((&*seen.0, &*seen.1), ("/", "7"), "{method}");
        assert!(seen.2.starts_with("gristmill-w"), "{method}: {}", seen.2);
        let refused = by(method).worker_setup(|| panic!("as planned")).build();
        assert!(refused.is_err(), "{method}");
    }
}

#[test]
fn a_command_is_passed_through() {
    let pool = by("command").build().expect("a pool");
    let seen = pool.spawn((), |()| std::env::var("STARTED_BY").unwrap_or_default());
    assert_eq!(*seen.expect("submitted").wait().expect("well"), *"env");
    assert!(
        builder()
            .command(["there is no such program"])
            .build()
            .is_err()
    );
    assert!(builder().command(["false"]).build().is_err());
}

/// Children of this process's thread that has started the pool's workers, by name.
fn children_called(name: &str) -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<u32> = lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<_>>()
        })
        .collect();
    let is_called = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    all.into_iter().filter(is_called).collect()
}

/// The server is asked about by name, so one pool of this kind at a time.
static SERVERS: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_server_that_was_killed_is_replaced() {
    let run = || {
        let pool = by("fork server").build().expect("a pool");
        let parents = pool.spawn((), |()| std::os::unix::process::parent_id());
        let parent = parents
            .expect("submitted")
            .wait()
            .expect("well")
            .to_native();
        assert_eq!(parent, std::process::id(), "workers are our children");
        pool
    };
    let _alone = SERVERS.lock();
    let pool = run();
    // One that is stopped does not answer; it is ended for it.
    for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGKILL] {
        for server in children_called("gristmill-fork") {
            kill(Pid::from_raw(server as i32), signal).expect("not reaped yet");
        }
        let before = pool.worker_pids();
        for &pid in &before {
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("not reaped yet");
        }
        until(|| {
            let now = pool.worker_pids();
            now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
        });
        works(&pool);
    }
}

static LOADED: OnceLock<u32> = OnceLock::new();

#[test]
fn what_was_preloaded_is_there_once() {
    let _alone = SERVERS.lock();
    let load = || LOADED.set(std::process::id()).expect("once");
    let pool = by("fork server").preload(load).build().expect("a pool");
    let seen: BTreeSet<u32> = (0..20)
        .map(|_| {
            let seen = pool.spawn((), |()| LOADED.get().copied().unwrap_or(0));
            seen.expect("submitted").wait().expect("well").to_native()
        })
        .collect();
    assert_eq!(seen.len(), 1, "one process has loaded it, for all");
    assert!(!seen.contains(&0) && !seen.contains(&std::process::id()));
    assert!(pool.worker_pids().iter().all(|pid| !seen.contains(pid)));
    assert_eq!(LOADED.get(), None);
}

#[test]
fn a_server_that_cannot_serve_is_done_without() {
    // A thread of its own makes its forks unsafe; a panic ends it.
    let threads = || {
        thread::spawn(|| {
            loop {
                thread::park();
            }
        });
    };
    for builder in [
        by("fork server").preload(threads),
        by("fork server").preload(|| panic!("as planned")),
    ] {
        works(&builder.build().expect("workers that are started anew"));
    }
}

static TABLE: OnceLock<Vec<u64>> = OnceLock::new();

#[test]
fn a_fork_finds_what_was_made_before() {
    TABLE.set((0..1000).collect()).expect("once");
    let pool = by("fork").build().expect("a pool");
    let sum = pool.spawn((), |()| {
        TABLE.get().map_or(0, |table| table.iter().sum::<u64>())
    });
    assert_eq!(*sum.expect("submitted").wait().expect("well"), 499_500);
    // A buffer is read-only there also through the mapping that was inherited.
    let mut xs = pool.alloc_from_fn(1 << 18, |i| i as u64).expect("room");
    let address = xs.as_mut_ptr().expose_provenance() as u64;
    let wild = pool.spawn(address, |address| {
        let place = std::ptr::with_exposed_provenance_mut::<u64>(address.to_native() as usize);
        // SAFETY: none; it must die here.
        unsafe { place.write_volatile(7) };
    });
    match wild.expect("submitted").wait() {
        Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Signal(11)),
        other => panic!("{other:?}"),
    }
    assert_eq!(xs[0], 0);
    // And what is of the parent's pool refuses.
    static POOL: OnceLock<Pool> = OnceLock::new();
    let outer = POOL.get_or_init(|| by("spawn").build().expect("a pool"));
    works(outer);
    let pool = by("fork").build().expect("a pool");
    let refused = pool.spawn((), |()| {
        let pool = POOL.get().expect("made before");
        u64::from(matches!(
            pool.spawn(1_u64, |x| x.to_native()),
            Err(gristmill::Error::Forked)
        ))
    });
    assert_eq!(*refused.expect("submitted").wait().expect("well"), 1);
}

/// The bytes of the memory file `inode` that this process may write.
fn writable_bytes(inode: &str) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").expect("our own");
    let lines = maps
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = lines.filter(|fields| fields[4] == inode && fields[1] == "rw-s");
    own.map(|fields| {
        let (start, end) = fields[0].split_once('-').expect("two addresses");
        let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
        number(end) - number(start)
    })
    .sum()
}

#[test]
fn a_worker_may_write_as_much_whatever_started_it() {
    let mut counts = Vec::new();
    for method in METHODS {
        let pool = by(method).workers(1).build().expect("memory");
        let xs = pool.alloc_from_fn(50_000, |i| i as u64).expect("room");
        let xs = xs.freeze();
        let address = xs.as_ptr().addr();
        let maps = fs::read_to_string("/proc/self/maps").expect("our own");
        let of_address = maps.lines().find(|line| {
            let (start, rest) = line.split_once('-').expect("two addresses");
            let end = rest.split(' ').next().expect("an address");
            let number = |text| usize::from_str_radix(text, 16).expect("hexadecimal");
            (number(start)..number(end)).contains(&address)
        });
        let inode = of_address.expect("it is mapped").split_whitespace().nth(4);
        let inode = inode.expect("a number").to_owned();
        assert!(
            writable_bytes(&inode) > 16 << 20,
            "the program may write it all"
        );
        // What an output leaves is taken back before the task.
        pool.par_map(&xs, |x| x + 1).wait().expect("it ends well");
        let task = pool.spawn(inode, |inode| writable_bytes(inode));
        counts.push(
            task.expect("submitted")
                .wait()
                .expect("it returns")
                .to_native(),
        );
    }
    assert!(counts[0] > 0, "nor could it say anything");
    assert!(
        counts.iter().all(|&count| count == counts[0]),
        "{METHODS:?}: {counts:?}"
    );
}

/// What the environment held when the constructors of this program ran.
static AT_THE_START: OnceLock<Option<String>> = OnceLock::new();

#[test]
fn a_variable_of_the_workers_is_there_before_anything_runs() {
    for method in ["spawn", "fork server", "command"] {
        let builder = by(method).worker_env("GRISTMILL_TEST_THREADS", "2");
        let builder = builder.worker_env("GRISTMILL_TEST_THREADS", "1");
        let builder = builder.initializer((), |()| {
            let found = std::env::var("GRISTMILL_TEST_THREADS").ok();
            AT_THE_START.set(found).expect("once a worker");
        });
        let pool = builder.build().expect("a pool");
        let found = pool.spawn((), |()| AT_THE_START.get().cloned().flatten());
        let found = found.expect("submitted").wait().expect("well");
        assert_eq!(found.as_deref(), Some("1"), "{method}");
    }
    assert!(std::env::var_os("GRISTMILL_TEST_THREADS").is_none());
    let refused = by("fork").worker_env("GRISTMILL_TEST_THREADS", "1").build();
    assert!(matches!(
        refused,
        Err(Error::InvalidConfig {
            setting: "worker_env",
            ..
        })
    ));
}
