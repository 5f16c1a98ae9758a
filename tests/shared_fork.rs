//! A forked child of a program that shares something is refused by every kind, and what it drops is
//! not its own. By itself: a child must not find a lock that another test's thread holds.

#![expect(unsafe_code, reason = "forks")]

#[path = "bad_shared_input/kinds.rs"]
mod kinds;

use std::io::{Read, Write};

use gristmill::{
    AcquireError, BarrierError, Error, LockError, RecvError, Region, ReleaseError, SendError,
    ShareError,
};

use kinds::{All, handles};

/// What a forked child found that was not as it should be: refused, or opened anew.
fn not_refused(all: &mut All) -> Vec<&'static str> {
    let lock = |refused: Option<Error>| matches!(refused, Some(Error::Forked));
    fn of_lock<G>(outcome: Result<G, LockError<G>>) -> Option<Error> {
        match outcome.err() {
            Some(LockError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_send<T>(outcome: Result<(), SendError<T>>) -> Option<Error> {
        match outcome.err() {
            Some(SendError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_recv<T>(outcome: Result<T, RecvError>) -> Option<Error> {
        match outcome.err() {
            Some(RecvError::Region(error)) => Some(error),
            _ => None,
        }
    }
    fn of_share<T>(outcome: Result<T, ShareError>) -> Option<Error> {
        match outcome.err() {
            Some(ShareError::Region(error)) => Some(*error),
            _ => None,
        }
    }
    fn of_acquire<T>(outcome: Result<T, AcquireError>) -> bool {
        matches!(outcome.err(), Some(AcquireError::Region(Error::Forked)))
    }
    fn of_release<T>(outcome: Result<T, ReleaseError>) -> bool {
        matches!(outcome.err(), Some(ReleaseError::Region(Error::Forked)))
    }
    fn of_barrier<T>(outcome: Result<T, BarrierError>) -> bool {
        matches!(outcome.err(), Some(BarrierError::Region(Error::Forked)))
    }
    let mut outcomes = vec![
        ("lock", lock(of_lock(all.mutex.lock_blocking()))),
        ("lock again", lock(of_lock(all.reentrant.lock_blocking()))),
        ("read", lock(of_lock(all.rwlock.read_blocking()))),
        ("write", lock(of_lock(all.rwlock.write_blocking()))),
        ("notify", lock(all.condvar.notify_all().err())),
        ("acquire", of_acquire(all.semaphore.acquire_blocking())),
        ("release", of_release(all.semaphore.release(1))),
        (
            "acquire, bounded",
            of_acquire(all.bounded.acquire_blocking()),
        ),
        ("set", lock(all.event.set().err())),
        ("wait", lock(all.event.wait_blocking().err())),
        ("meet", of_barrier(all.barrier.wait_blocking())),
        ("abort", lock(all.barrier.abort().err())),
        ("send", lock(of_send(all.queue.send_blocking(2)))),
        ("receive", lock(of_recv(all.queue.recv_blocking()))),
        ("put", lock(of_send(all.joinable.send_blocking(2)))),
        ("done", lock(all.joinable.task_done().err())),
        ("join", lock(all.joinable.join().wait().err())),
        ("simple", lock(of_recv(all.simple.recv().wait()))),
        ("pipe", lock(of_send(all.pipe.0.send(2).wait()))),
        ("pipe's end", lock(of_recv(all.pipe.1.recv().wait()))),
        ("simplex", lock(of_send(all.simplex.0.send(2).wait()))),
        ("simplex's end", lock(of_recv(all.simplex.1.recv().wait()))),
        ("insert", lock(of_share(all.map.insert(&2, &2)))),
        ("get", lock(of_share(all.map.get(&1)))),
        ("push", lock(of_share(all.list.push(&2)))),
        ("at", lock(of_share(all.list.get(0)))),
        ("value", lock(of_share(all.value.get()))),
        ("new value", lock(of_share(all.value.set(2)))),
        ("array", lock(of_share(all.array.lock()))),
    ];
    outcomes.push(("write bytes", all.bytes.0.write(&[1]).is_err()));
    outcomes.push(("read bytes", all.bytes.1.read(&mut [0]).is_err()));
    // Opened by its handle each is the child's own, who is a member by that.
    let opened = handles(all).into_iter();
    outcomes.extend(opened.map(|(name, words, open)| (name, open(words).is_ok())));
    let failed = outcomes.into_iter().filter(|(_, is_refused)| !is_refused);
    failed.map(|(name, _)| name).collect()
}

#[test]
fn a_forked_child_is_refused_by_every_kind_and_takes_nothing_with_it() {
    let region = Region::new(4 << 20).unwrap();
    let mut all = All::new(&region);
    // Something of each is held, and everything has something in it.
    all.queue.try_send(1).unwrap();
    all.joinable.try_send(1).unwrap();
    all.simple.try_send(1).unwrap();
    all.pipe.0.sender().try_send(1).unwrap();
    all.simplex.0.try_send(1).unwrap();
    all.bytes.0.write_all(&[1]).unwrap();
    all.map.insert(&1, &1).unwrap();
    all.list.push(&1).unwrap();
    let held = All {
        mutex: all.mutex.clone(),
        reentrant: all.reentrant.clone(),
        rwlock: all.rwlock.clone(),
        ..All::new(&region)
    };
    let guards = (
        held.mutex.try_lock().unwrap(),
        held.reentrant.try_lock().unwrap(),
        held.rwlock.try_read().unwrap(),
        all.semaphore.try_acquire().unwrap(),
        all.map.get(&1).unwrap().unwrap(),
        all.list.get(0).unwrap().unwrap(),
    );
    // SAFETY: the child calls what is to be refused, drops what it has, and ends without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: sets a timer of this process, which ends one that waits.
            unsafe { libc::alarm(60) };
            let failed = not_refused(&mut all);
            if !failed.is_empty() {
                // Not through the harness, which would keep it to itself.
                let said = format!("wrong: {failed:?}\n");
                // SAFETY: bytes that are there.
                unsafe { libc::write(2, said.as_ptr().cast(), said.len()) };
            }
            drop(guards);
            drop((all, region));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!failed.is_empty())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((reaped, status), (child, 0));
        }
    }
    // Nothing was released, taken, ended or freed.
    assert!(matches!(all.mutex.try_lock(), Err(LockError::WouldBlock)));
    assert!(matches!(all.rwlock.try_write(), Err(LockError::WouldBlock)));
    assert_eq!(all.semaphore.available(), 0);
    assert!(!all.event.is_set() && !all.barrier.is_broken());
    assert_eq!(all.queue.try_recv().unwrap(), 1);
    assert_eq!(all.joinable.try_recv().unwrap(), 1);
    assert_eq!(all.joinable.unfinished(), 1);
    assert_eq!(all.simple.try_recv().unwrap(), 1);
    assert_eq!(all.pipe.1.receiver().try_recv().unwrap(), 1);
    assert_eq!(all.simplex.1.try_recv().unwrap(), 1);
    let mut byte = [0];
    all.bytes.1.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1]);
    assert_eq!((*guards.4, *guards.5), (1, 1));
    assert!(all.map.get(&2).unwrap().is_none() && all.list.len() == 1);
    assert_eq!(
        (all.value.get().unwrap(), all.array.get(0).unwrap()),
        (1, 1)
    );
    drop(guards);
    assert!(all.mutex.try_lock().is_ok() && all.rwlock.try_write().is_ok());
    assert_eq!(all.semaphore.available(), 1);
    for (name, words, open) in handles(&all) {
        assert!(open(words).is_ok(), "{name}");
    }
}
