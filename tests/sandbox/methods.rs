//! Workers that come into being in other ways are confined as well, or not at all.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use gristmill::{Builder, Cause, Error, Pool, Sandbox, StartMethod, TaskError, Violation};

static SET_UPS: AtomicU32 = AtomicU32::new(0);

fn methods(sandbox: &Sandbox) -> [Builder; 2] {
    let setup = || {
        // It can still do what it likes.
        assert!(fs::File::open("/proc/self/status").is_ok());
        SET_UPS.fetch_add(1, Ordering::Relaxed);
    };
    let builder = || {
        let builder = Pool::builder().workers(1).worker_setup(setup);
        builder.sandbox(sandbox.clone())
    };
    [
        builder().start_method(StartMethod::ForkServer),
        builder().command(["env", "STARTED_BY=env"]),
    ]
}

/// How often the worker was set up, and which attempts succeed in it.
#[track_caller]
fn is_confined(pool: &Pool) {
    let attempts = pool.spawn((), |()| {
        let set_ups = SET_UPS.load(Ordering::Relaxed);
        let reads = fs::File::open("/etc/hostname").is_ok();
        let lists = fs::read_dir("/").is_ok();
        let listens = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
        let starts = std::process::Command::new("true").status().is_ok();
        (set_ups, [reads, lists, listens, starts])
    });
    let attempts = attempts.expect("submitted").wait().expect("it returns");
    assert_eq!(attempts.0.to_native(), 1, "the set-up ran once");
    assert_eq!(attempts.1, [false; 4], "it can read, list, listen, start");
}

#[test]
fn every_worker_and_its_replacement_is_confined() {
    for builder in methods(&Sandbox::compute_only()) {
        let pool = builder.build().expect("it can be confined");
        is_confined(&pool);
        let end = pool
            .spawn((), |()| -> () { std::process::abort() })
            .expect("submitted");
        assert!(matches!(end.wait(), Err(TaskError::WorkerDied(_))));
        is_confined(&pool);
        let panicked = pool
            .spawn((), |()| -> () { panic!("told") })
            .expect("submitted");
        assert!(matches!(panicked.wait(), Err(TaskError::Panicked { .. })));
    }
}

#[test]
fn a_violation_ends_every_worker() {
    for builder in methods(&Sandbox::compute_only().on_violation(Violation::Kill)) {
        let pool = builder.build().expect("it can be confined");
        let tried = pool.spawn((), |()| std::net::TcpListener::bind("127.0.0.1:0").is_ok());
        match tried.expect("submitted").wait() {
            Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Signal(31)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_worker_of_a_server_has_no_descriptor_but_its_own() {
    let sandbox = Sandbox::compute_only().allow_read("/proc");
    for builder in methods(&sandbox) {
        let pool = builder.build().expect("it can be confined");
        // This program, and so each worker, has the standard streams.
        let open = pool.spawn((), |()| {
            let own = fs::read_dir("/proc/self/fd").expect("allowed");
            let names = own.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
            names
                .map(|name| name.display().to_string())
                .collect::<Vec<_>>()
        });
        let open = open.expect("submitted").wait().expect("it returns");
        let sockets = open.iter().filter(|name| name.starts_with("socket:"));
        assert_eq!(sockets.count(), 0, "the server's socket is there: {open:?}");
        assert!(
            open.len() <= 7,
            "streams, memory, both events, directory: {open:?}"
        );
    }
}

#[test]
fn forks_of_the_program_cannot_be_confined() {
    // SAFETY: nothing runs in it, for it is not built.
    let builder = unsafe { Pool::builder().fork() };
    let error = builder.sandbox(Sandbox::compute_only()).build();
    let error = error.expect_err("it would have all descriptors");
    assert!(
        matches!(&error, Error::InvalidConfig { setting: "sandbox", found, .. } if found == "fork"),
        "{error}"
    );
}
