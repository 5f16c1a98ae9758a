//! A process forked from one that has a region is no member of it: what it tries there is refused,
//! and what it drops is not its own.

#![expect(unsafe_code, reason = "forks")]

use futures_util::FutureExt;
use gristmill::{
    AcquireError, Barrier, BarrierError, BoundedSemaphore, Error, Event, Region, ReleaseError,
};

#[test]
fn a_forked_child_is_refused_and_what_it_drops_is_not_released() {
    let region = Region::new(4 << 20).unwrap();
    let event = Event::new(&region).unwrap();
    let semaphore = BoundedSemaphore::new(&region, 2).unwrap();
    let barrier = Barrier::new(&region, 2).unwrap();
    let permit = semaphore.try_acquire().unwrap();
    let mut waits = Box::pin(event.wait());
    assert!((&mut waits).now_or_never().is_none());
    let mut in_line = Box::pin(semaphore.acquire_many(2));
    assert!((&mut in_line).now_or_never().is_none());
    let mut party = Box::pin(barrier.wait());
    assert!((&mut party).now_or_never().is_none());
    // SAFETY: the child calls what is to be tried, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: sets a timer of this process.
            unsafe { libc::alarm(60) };
            let refused = matches!(event.set(), Err(Error::Forked))
                && matches!(event.clear(), Err(Error::Forked))
                && matches!(event.wait_blocking(), Err(Error::Forked))
                && matches!(
                    semaphore.try_acquire(),
                    Err(AcquireError::Region(Error::Forked))
                )
                && matches!(
                    semaphore.acquire_blocking(),
                    Err(AcquireError::Region(Error::Forked))
                )
                && matches!(
                    semaphore.release(1),
                    Err(ReleaseError::Region(Error::Forked))
                )
                && matches!(
                    barrier.wait_blocking(),
                    Err(BarrierError::Region(Error::Forked))
                )
                && matches!(barrier.abort(), Err(Error::Forked))
                && matches!(barrier.reset(), Err(Error::Forked))
                && matches!((&mut waits).now_or_never(), Some(Err(Error::Forked)));
            drop((waits, in_line, party, permit));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!refused)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for our child; `status` may be written.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "something was not refused");
        }
    }
    assert!(!event.is_set() && barrier.n_waiting() == 1 && !barrier.is_broken());
    // The permit is held, and somebody is in line.
    assert_eq!(semaphore.available(), 1);
    assert!(matches!(
        semaphore.try_acquire(),
        Err(AcquireError::NoPermits)
    ));
    drop(permit);
    assert_eq!(in_line.now_or_never().unwrap().unwrap().count(), 2);
}
