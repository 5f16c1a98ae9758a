//! What a verb is given runs in workers only: a panic or a crash in it must not reach the caller.

use std::ops::Add;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::{Pod, Zeroable};
use gristmill::{Error, Pool, Result};

/// Calls of the operators below in this process.
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
struct Counted(u64);

impl Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Self(self.0 + other.0)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        CALLS.fetch_add(1, Ordering::Relaxed);
        self.0 == other.0
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        self.0.partial_cmp(&other.0)
    }
}

#[test]
fn operators_of_an_element_run_in_workers() -> Result<(), Error> {
    let pool = Pool::builder().workers(1).build()?;
    // More than one part, so that there is something to combine.
    let xs = pool.alloc_from_fn(10_000, |i| Counted(i as u64))?.freeze();
    let sum = pool.par_sum(&xs).wait()?;
    let least = pool.par_min(&xs).wait()?;
    let most = pool.par_max(&xs).wait()?;
    assert_eq!(sum.0, 49_995_000);
    assert_eq!(
        (least.map(|x| x.0), most.map(|x| x.0)),
        (Some(0), Some(9_999))
    );
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
    Ok(())
}
