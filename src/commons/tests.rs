//! Objects that processes share: here between two attachments of one region.

#![expect(unsafe_code, reason = "looks into objects")]

use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

use super::kind::Kind;
use super::region::Region;
use super::seat::{Block, Seat};
use super::space::BlockName;
use super::{WaitSet, deadline, know};
use crate::error::{Error, RegionError};
use crate::primitive::atomic::{AtomicU64, Ordering};

/// A counter that somebody may wait for.
#[repr(C, align(64))]
struct Counter {
    waiting: WaitSet,
    value: AtomicU64,
    owner: AtomicU64,
}

static COUNTER: Kind = Kind {
    id: 900,
    recover: |seat, dead| {
        let counter = counter(seat);
        let theirs = u64::from(dead.index()) + 1;
        let freed = counter
            .owner
            .compare_exchange(theirs, 0, Ordering::AcqRel, Ordering::Relaxed);
        if freed.is_ok() {
            counter.value.fetch_add(1000, Ordering::AcqRel);
        }
        seat.bury(&counter.waiting, dead);
    },
    blocks: |_: &Seat, _: &mut dyn FnMut(BlockName)| {},
};

fn counter(seat: &Seat) -> &Counter {
    // SAFETY: written when it was made.
    unsafe { seat.at(0).cast().as_ref() }
}

fn make(region: &Region) -> Seat {
    static KINDS: [&Kind; 1] = [&COUNTER];
    know(&KINDS);
    let size = size_of::<Counter>() as u64;
    Seat::create(region, &COUNTER, size, |start| {
        let counter = Counter {
            waiting: WaitSet::new(),
            value: AtomicU64::new(0),
            owner: AtomicU64::new(0),
        };
        // SAFETY: a new object of that size.
        unsafe { start.cast().write(counter) };
    })
    .unwrap()
}

fn other(region: &Region) -> Region {
    Region::attach(region.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

/// The same object by another attachment, as another process would have it.
fn beyond(seat: &Seat, region: &Region) -> Seat {
    let (index, generation) = seat.name().parts();
    Seat::hold_at(&region.0, index, generation).unwrap()
}

#[test]
fn a_waiter_of_another_member_is_woken() {
    let region = Region::create(4 << 20).unwrap();
    let mine = make(&region);
    let elsewhere = other(&region);
    let theirs = beyond(&mine, &elsewhere);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let counter = counter(&theirs);
            theirs.block(&counter.waiting, None, || {
                let value = counter.value.load(Ordering::Acquire);
                (value == 3).then_some(value)
            })
        });
        for _ in 0..3 {
            counter(&mine).value.fetch_add(1, Ordering::AcqRel);
            mine.wake_one(&counter(&mine).waiting);
            std::thread::yield_now();
        }
        mine.wake_all(&counter(&mine).waiting);
        assert_eq!(waiter.join().unwrap(), Some(3));
    });
    let late = mine.block(
        &counter(&mine).waiting,
        deadline(Duration::from_millis(1)),
        || None::<()>,
    );
    assert_eq!(late, None);
}

#[test]
fn an_object_lives_as_long_as_its_last_holder() {
    let region = Region::create(4 << 20).unwrap();
    let mine = make(&region);
    let elsewhere = other(&region);
    let theirs = beyond(&mine, &elsewhere);
    let (index, generation) = mine.name().parts();
    counter(&mine).value.store(7, Ordering::Release);
    drop(mine);
    assert_eq!(counter(&theirs).value.load(Ordering::Acquire), 7);
    drop(theirs);
    let gone = Seat::hold_at(&region.0, index, generation).unwrap_err();
    assert!(matches!(gone, Error::Region(RegionError::Gone)), "{gone}");
    // Its place and its bytes are used again.
    for _ in 0..10_000 {
        drop(make(&region));
    }
}

#[test]
fn large_blocks_lie_where_one_has_been() {
    let region = Region::create(16 << 20).unwrap();
    let seat = make(&region);
    let place = |block: &Block| block.start().as_ptr().addr();
    let (one, two) = (
        seat.allocate(1 << 20).unwrap(),
        seat.allocate(1 << 20).unwrap(),
    );
    let first = place(&one);
    drop(one);
    // Small ones go on behind the last.
    let small = seat.allocate(100).unwrap();
    assert!(place(&small) > place(&two));
    for _ in 0..100 {
        assert_eq!(place(&seat.allocate(1 << 20).unwrap()), first);
    }
}

#[test]
fn blocks_are_handed_out_and_come_back() {
    let region = Region::create(4 << 20).unwrap();
    let seat = make(&region);
    let mut random = 7_u64;
    let mut held = Vec::new();
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let size = 1 + (random >> 40) as usize % 90_000;
        match seat.allocate(size) {
            Ok(block) => {
                // SAFETY: the block's own bytes.
                unsafe { block.start().write_bytes(held.len() as u8, size) };
                held.push((block, size, held.len() as u8));
            }
            Err(refused) => assert!(refused.available < refused.wanted, "{refused:?}"),
        }
        if random >> 33 & 3 < 2 || held.len() > 60 {
            let (block, size, mark) = held.swap_remove((random >> 20) as usize % held.len());
            // SAFETY: the block's own bytes.
            let bytes = unsafe { std::slice::from_raw_parts(block.start().as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == mark));
        }
    }
    held.clear();
    // All of it is one piece again.
    assert!(seat.allocate(3 << 20).is_ok());
    let refused = seat.allocate(5 << 20).unwrap_err();
    assert!(refused.available < 4 << 20);
}

#[test]
fn ten_thousand_tasks_are_woken_by_one_thread() {
    let region = Region::create(4 << 20).unwrap();
    let mine = make(&region);
    let elsewhere = other(&region);
    let theirs = beyond(&mine, &elsewhere);
    let before = super::threads::count();
    let woken = Mutex::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = (0..10_000).map(|_| {
            let (theirs, woken) = (&theirs, &woken);
            let mut ticket = super::Ticket::new();
            async move {
                let set = &counter(theirs).waiting;
                std::future::poll_fn(|context| {
                    theirs.listen(set, &mut ticket, context, || {
                        (counter(theirs).value.load(Ordering::Acquire) == 1).then_some(())
                    })
                })
                .await;
                ticket.done(theirs, set);
                *woken.lock().unwrap() += 1;
            }
        });
        let all = futures_util::future::join_all(tasks);
        let set = async {
            tokio::task::yield_now().await;
            assert!(super::threads::count() <= before + 1);
            counter(&mine).value.store(1, Ordering::Release);
            mine.wake_all(&counter(&mine).waiting);
        };
        tokio::join!(all, set);
    });
    assert_eq!(*woken.lock().unwrap(), 10_000);
}

#[test]
fn what_is_no_region_is_refused() {
    let odd = crate::memory::region::Region::create(4 << 20).unwrap();
    let file = odd.fd().try_clone_to_owned().unwrap();
    let refused = Region::attach(file).unwrap_err();
    assert!(
        matches!(refused, Error::Region(RegionError::Foreign { .. })),
        "{refused}"
    );
    assert!(Region::create(0).is_err());
    assert!(Region::create(u64::MAX).is_err());
}

/// Where the numbers of processes mean something else, nobody could tell who has died.
#[test]
fn a_process_of_another_namespace_is_refused() {
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    const SKIPPED: i32 = 77;
    let region = Region::create(1).unwrap();
    let in_a_child = |body: &dyn Fn() -> i32| {
        // SAFETY: the child waits for none of its parent's threads, and ends at once.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = body();
                // SAFETY: ends the child without running the test harness's handlers.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                status => panic!("{status:?}"),
            },
        }
    };
    let code = in_a_child(&|| {
        if unshare(CloneFlags::CLONE_NEWPID).is_err() {
            return SKIPPED;
        }
        // Only its children have numbers of the other namespace.
        in_a_child(&|| {
            let file = region.as_fd().try_clone_to_owned().unwrap();
            let refused = Region::attach(file);
            i32::from(!matches!(
                refused,
                Err(Error::Region(RegionError::OtherNamespace))
            ))
        })
    });
    match code {
        SKIPPED => eprintln!("skipped: another namespace takes root"),
        code => assert_eq!(code, 0),
    }
}
