//! Where the first two processors are at the moment, told by the round trip of a cache line.
//!
//! The virtual processors of a shared machine may be two threads of one core, two cores that share
//! a cache, or further apart, and change within seconds. That alone moves bandwidths by a factor of
//! two, so each round is marked with the class that was found before it.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Round trips of one probe: below a millisecond, where nobody interferes.
const TRIPS: u32 = 2000;
/// Probes, of which the fastest counts: the others were interrupted.
const PROBES: u32 = 3;

/// How far apart the two processors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Two threads of one core.
    Siblings,
    /// Two cores that share their last cache.
    Cores,
    /// Two cores that do not.
    Apart,
    /// There are no two processors.
    Single,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Siblings => "siblings",
            Self::Cores => "cores",
            Self::Apart => "apart",
            Self::Single => "single",
        }
    }
}

/// A finding: the class, and nanoseconds of a round trip.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) class: Class,
    pub(crate) round_trip_ns: f64,
}

/// Looks where the first two processors of this process are.
pub(crate) fn probe() -> Placement {
    let Some([first, second]) = processors() else {
        return Placement {
            class: Class::Single,
            round_trip_ns: 0.0,
        };
    };
    let trips = (0..PROBES).map(|_| round_trip(first, second));
    let round_trip_ns = trips.fold(f64::INFINITY, f64::min);
    let class = match round_trip_ns {
        ns if ns < 85.0 => Class::Siblings,
        ns if ns < 300.0 => Class::Cores,
        _ => Class::Apart,
    };
    Placement {
        class,
        round_trip_ns,
    }
}

/// The first two processors that this process may use.
fn processors() -> Option<[usize; 2]> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut usable = (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true));
    Some([usable.next()?, usable.next()?])
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        // If it is refused, the figure says that the threads were not apart.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// One number goes back and forth between two pinned threads.
fn round_trip(first: usize, second: usize) -> f64 {
    #[repr(align(128))]
    struct Line(AtomicU32);
    let [there, back] = [Line(AtomicU32::new(0)), Line(AtomicU32::new(0))];
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(second);
            for number in 1..=TRIPS {
                while there.0.load(Ordering::Acquire) != number {
                    spin_loop();
                }
                back.0.store(number, Ordering::Release);
            }
        });
        let probe = scope.spawn(|| {
            pin(first);
            let mut began = Instant::now();
            for number in 1..=TRIPS {
                if number == TRIPS / 2 {
                    // The other one is there by now.
                    began = Instant::now();
                }
                there.0.store(number, Ordering::Release);
                while back.0.load(Ordering::Acquire) != number {
                    spin_loop();
                }
            }
            began.elapsed().as_nanos() as f64 / f64::from(TRIPS / 2)
        });
        probe.join().unwrap_or(f64::NAN)
    })
}
