//! Stores through wild pointers into what a worker may only read.

#![expect(unsafe_code, reason = "stores through wild pointers")]

#[cfg(feature = "tokio")]
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill::{Cause, Pool, SharedSlice, TaskError};
use nix::sys::signal::Signal;

use crate::{death, pool, replaced};

const FAULT: Cause = Cause::Signal(Signal::SIGSEGV as i32);

fn scribble(slice: &[u64], index: usize) {
    let address = slice[index..].as_ptr().cast_mut();
    // SAFETY: none: this is the wild store whose harm is to be contained.
    unsafe { address.write_volatile(0xBAD) };
}

fn untouched(xs: &SharedSlice<u64>) -> bool {
    xs.iter().zip(0..).all(|(&x, i)| x == i)
}

#[test]
fn a_task_that_writes_into_an_input_dies_and_the_input_is_unchanged() {
    let pool = pool(2);
    let len = 1 << 20;
    let xs = pool
        .alloc_from_fn(len, |i| i as u64)
        .expect("room")
        .freeze();
    for index in [0, 1, 511, 512, len as u64 / 2, len as u64 - 1] {
        let task = pool.spawn_with(xs.clone(), index, |xs, index| {
            scribble(xs, index.to_native() as usize);
        });
        let error = task.expect("submitted").wait().expect_err("it faults");
        let TaskError::WorkerDied(death) = error else {
            panic!("{error}");
        };
        assert_eq!(death.cause, FAULT);
        assert!(untouched(&xs));
        replaced(&pool, &[death.pid]);
    }
}

#[test]
fn a_kernel_that_writes_into_its_input_dies_and_the_input_is_unchanged() {
    let pool = pool(2);
    let xs = pool
        .alloc_from_fn(1 << 20, |i| i as u64)
        .expect("room")
        .freeze();
    let job = pool.par_map_with(xs.clone(), &xs, |xs, &x| {
        if x == 700_000 {
            scribble(xs, 123);
        }
        x
    });
    let death = death(job.wait());
    assert_eq!(death.cause, FAULT);
    assert!(death.elements.expect("a range job").contains(&700_000));
    assert!(untouched(&xs));
}

#[test]
fn memory_that_was_an_output_is_locked_once_it_is_an_input() {
    let pool = pool(2);
    let len = 1 << 20;
    // All workers may write the output of this job,
    let xs = pool
        .par_generate(len, |i| i as u64)
        .wait()
        .expect("room")
        .freeze();
    // which is then what another job reads.
    let job = pool.par_map(&xs, |x| {
        if *x == 99 {
            scribble(core::slice::from_ref(x), 0);
        }
        *x
    });
    assert_eq!(death(job.wait()).cause, FAULT);
    assert!(untouched(&xs));
}

/// The death of a task that scribbles where it only may read.
#[track_caller]
fn fault_of<R: gristmill::Payload>(task: gristmill::TaskHandle<R>) -> u32 {
    match task.wait().map(drop).expect_err("it faults") {
        TaskError::WorkerDied(death) => {
            assert_eq!(death.cause, FAULT);
            death.pid
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_an_output_is_locked_before_the_next_task() {
    let pool = pool(1);
    for len in [256, 4096, 1 << 18] {
        // The only worker has written all of it,
        let xs = pool.par_generate(len, |i| i as u64).wait().expect("room");
        let xs = xs.freeze();
        // and must not any more.
        let task = pool.spawn_with(xs.clone(), (), |xs, ()| scribble(xs, xs.len() / 2));
        let gone = fault_of(task.expect("submitted"));
        assert!(untouched(&xs), "{len}");
        replaced(&pool, &[gone]);
    }
}

#[test]
fn a_small_input_is_locked_beside_a_small_output() {
    let pool = pool(1);
    let xs = pool
        .alloc_from_fn(256, |i| i as u64)
        .expect("room")
        .freeze();
    for at in [0, 255] {
        let job = pool.par_map_with((xs.clone(), at), &xs, |(xs, &at), x| {
            scribble(xs, at as usize);
            *x
        });
        let gone = death(job.wait());
        assert_eq!(gone.cause, FAULT);
        assert!(untouched(&xs));
        replaced(&pool, &[gone.pid]);
    }
}

#[test]
fn contexts_and_arguments_are_locked() {
    let pool = pool(1);
    // As large as a block of its own, and as small as beside its slot.
    for len in [1000, 4] {
        let task = pool.spawn_with(7_u64, vec![1_u64; len], |seven, ones| {
            scribble(core::slice::from_ref(seven), 0);
            ones.len() as u64
        });
        replaced(&pool, &[fault_of(task.expect("submitted"))]);
        let task = pool.spawn(vec![1_u64; len], |ones| {
            let first = core::ptr::from_ref(&ones[0]).cast::<u64>();
            // SAFETY: none: this is the wild store whose harm is to be contained.
            unsafe { first.cast_mut().write_volatile(0xBAD) };
        });
        replaced(&pool, &[fault_of(task.expect("submitted"))]);
    }
}

/// A task that writes to where something of the test's own lies.
fn scribble_at(pool: &Pool, target: *const u64) -> gristmill::TaskHandle<()> {
    // The region lies elsewhere in a worker: there, a buffer that both know is at this distance.
    let anchor = pool.copy_from_slice(&[0_u64; 64]).expect("room").freeze();
    let distance = (target as i64).wrapping_sub(anchor.as_ptr() as i64);
    let task = pool.spawn_with(anchor, distance, |anchor, distance| {
        let target = anchor
            .as_ptr()
            .wrapping_byte_offset(distance.to_native() as isize);
        // SAFETY: none: this is the wild store whose harm is to be contained.
        unsafe { target.cast_mut().write_volatile(0xBAD) };
    });
    task.expect("submitted")
}

#[test]
fn a_delivered_result_cannot_be_changed_by_anybody() {
    let pool = pool(1);
    for len in [1 << 13, 10_000, 1 << 14, 1 << 17_usize] {
        let make = |byte: u8| {
            let task = pool.spawn((len as u64, byte), |wanted| {
                vec![u64::from(wanted.1); wanted.0.to_native() as usize]
            });
            task.expect("submitted").wait().expect("it ends well")
        };
        // One that another has followed, one that is the last, and one whose place was used before.
        drop(make(1));
        let results = [make(2), make(3)];
        for result in &results {
            let target = result[len / 2..].as_ptr().cast();
            replaced(&pool, &[fault_of(scribble_at(&pool, target))]);
        }
        for (byte, result) in (2..).zip(&results) {
            assert!(result.iter().all(|x| x.to_native() == byte), "{len}");
        }
    }
}

#[test]
fn a_delivered_result_cannot_be_changed_by_other_workers() {
    let pool = pool(2);
    let make = pool
        .spawn((), |_| (std::process::id(), vec![7_u64; 1 << 16]))
        .expect("submitted");
    let result = make.wait().expect("it ends well");
    // Its maker may write to its own arena, but not for long.
    let maker = result.0.to_native();
    crate::signal(maker, Signal::SIGKILL);
    replaced(&pool, &[maker]);
    fault_of(scribble_at(&pool, result.1[1000..].as_ptr().cast()));
    assert!(result.1.iter().all(|x| x.to_native() == 7));
}

#[cfg(feature = "tokio")]
#[test]
fn what_was_an_output_is_locked_for_futures_that_wait() {
    let pool = pool(1);
    let mut out = pool.alloc_zeroed::<u64>(1 << 12).expect("room");
    let anchor = pool.copy_from_slice(&[0_u64; 64]).expect("room").freeze();
    let distance = (out.as_ptr() as i64).wrapping_sub(anchor.as_ptr() as i64);
    let go = std::env::temp_dir().join(format!("gristmill-wild-{}", std::process::id()));
    let path = go.to_str().expect("a name").to_owned();
    let task = pool.spawn_async((distance, path), async |arguments| {
        // Begun before the job, it goes on after it.
        while !std::path::Path::new(arguments.1.as_str()).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        scribble_by(arguments.0.to_native());
    });
    let task = task.expect("submitted");
    // Its worker knows by now where the region lies.
    let told = pool.spawn_with(anchor.clone(), (), |anchor, ()| {
        ANCHOR.store(anchor.as_ptr() as usize, Ordering::Relaxed);
    });
    told.expect("submitted").wait().expect("it is run");
    let xs = pool
        .alloc_from_fn(1 << 12, |i| i as u64)
        .expect("room")
        .freeze();
    pool.par_map_into(&xs, &mut out, |x| *x)
        .wait()
        .expect("it is done");
    std::fs::write(&go, "").expect("a file");
    let gone = fault_of(task);
    std::fs::remove_file(&go).expect("it is there");
    assert!(out.iter().zip(0..).all(|(&x, i)| x == i));
    replaced(&pool, &[gone]);
}

/// Where something that the test knows, too, lies in this worker.
#[cfg(feature = "tokio")]
static ANCHOR: AtomicUsize = AtomicUsize::new(0);

#[cfg(feature = "tokio")]
fn scribble_by(distance: i64) {
    let anchor = core::ptr::with_exposed_provenance::<u64>(ANCHOR.load(Ordering::Relaxed));
    let target = anchor.wrapping_byte_offset(distance as isize);
    // SAFETY: none: this is the wild store whose harm is to be contained.
    unsafe { target.cast_mut().write_volatile(0xBAD) };
}
