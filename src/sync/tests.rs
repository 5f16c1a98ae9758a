//! The state machines of waiting, one step at a time; the races are the models' business.

use core::cell::RefCell;
use core::time::Duration;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};

/// A kernel that only writes down whom it was asked to wake.
#[derive(Default)]
struct Ledger(RefCell<Vec<usize>>);

impl Futex for Ledger {
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        assert!(
            timeout.is_some() || word.load(Ordering::Relaxed) != expected,
            "asleep for ever"
        );
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        assert_eq!(count, 1);
        self.0.borrow_mut().push(core::ptr::from_ref(word).addr());
    }
}

/// The same, and the caller runs on this core.
struct At<'a>(&'a Ledger, u32);

impl Futex for At<'_> {
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        self.0.wait(word, expected, timeout);
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        self.0.wake(word, count);
    }

    fn here(&self) -> Option<u32> {
        Some(self.1)
    }
}

struct Place {
    words: Vec<ParkWord>,
    spinning: Vec<AtomicU64>,
    parked: Vec<AtomicU64>,
    sentry: SentryWord,
    kernel: Ledger,
}

impl Place {
    fn new(workers: usize) -> Self {
        let bits = || {
            (0..workers.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect()
        };
        Self {
            words: (0..workers).map(|_| ParkWord::new()).collect(),
            spinning: bits(),
            parked: bits(),
            sentry: SentryWord::new(),
            kernel: Ledger::default(),
        }
    }

    fn parking(&self) -> Parking<'_> {
        Parking::new(&self.words, &self.spinning, &self.parked, &self.sentry)
    }

    /// The workers that the kernel was asked to wake since the last time.
    fn woken(&self) -> Vec<usize> {
        let addresses = self.kernel.0.take();
        let index = |address: usize| {
            let is_it = |word: &ParkWord| core::ptr::from_ref(word).addr() == address;
            self.words.iter().position(is_it).expect("a worker's word")
        };
        addresses.into_iter().map(index).collect()
    }
}

#[test]
fn as_many_are_woken_as_tasks_find_nobody_awake() {
    let place = Place::new(70);
    let parking = place.parking();
    for me in [3, 65, 69] {
        parking.announce(me);
    }
    parking.spin(10);
    assert_eq!(parking.wake(1, &place.kernel), 0, "worker 10 is awake");
    assert_eq!(parking.wake(3, &place.kernel), 2);
    assert_eq!(place.woken(), [3, 65]);
    assert_eq!(parking.busy(10, Group::ALL), Duty::WakeAnother);
    assert_eq!(parking.wake(5, &place.kernel), 1, "nobody is woken twice");
    assert_eq!(place.woken(), [69]);
    for me in [3, 65, 69] {
        parking.sleep(me, &place.kernel, None);
        parking.spin(me);
    }
    assert_eq!(parking.busy(3, Group::ALL), Duty::None, "two others spin");
    assert_eq!(parking.busy(65, Group::ALL), Duty::None);
    assert_eq!(parking.busy(69, Group::ALL), Duty::WakeAnother);
}

#[test]
fn who_lies_apart_is_woken_first() {
    let place = Place::new(70);
    let parking = place.parking();
    let lie_down = || {
        let cores = [
            (0, Some(2)),
            (3, Some(1)),
            (4, None),
            (65, Some(1)),
            (69, Some(0)),
        ];
        for (me, core) in cores {
            parking.lie_down(me, core);
            parking.announce(me);
        }
    };
    lie_down();
    assert_eq!(parking.wake(1, &At(&place.kernel, 2)), 1);
    assert_eq!(place.woken(), [3], "the first one lies where the caller is");
    assert_eq!(parking.wake(3, &At(&place.kernel, 2)), 3);
    assert_eq!(
        place.woken(),
        [69, 0, 4],
        "worker 3 is on its way to core 1"
    );
    lie_down();
    assert_eq!(parking.wake(9, &At(&place.kernel, 2)), 5, "everybody, once");
    assert_eq!(place.woken(), [3, 69, 0, 4, 65]);
    lie_down();
    assert_eq!(parking.busy(3, Group::ALL), Duty::WakeAnother);
    assert_eq!(parking.wake_all(&At(&place.kernel, 2)), 4);
    assert_eq!(place.woken(), [0, 4, 65, 69]);
}

#[test]
fn one_more_is_woken_for_work_that_those_who_are_awake_leave_lying() {
    let place = Place::new(4);
    let parking = place.parking();
    for me in [1, 2] {
        parking.announce(me);
    }
    parking.spin(0);
    assert_eq!(parking.wake(1, &place.kernel), 0, "worker 0 looks for work");
    let [even, odd] = [0, 1].map(|rest| Group::new(rest, 2));
    assert_eq!(parking.wake_more(odd, &place.kernel), 1);
    assert_eq!(
        parking.wake_more(odd, &place.kernel),
        0,
        "none of it sleeps"
    );
    assert_eq!(parking.wake_more(even, &place.kernel), 1);
    assert_eq!(place.woken(), [1, 2]);
}

#[test]
fn a_worker_that_times_out_is_awake() {
    let place = Place::new(1);
    let parking = place.parking();
    parking.announce(0);
    parking.sleep(0, &place.kernel, Some(Duration::from_millis(1)));
    parking.spin(0);
    assert_eq!(parking.wake(1, &place.kernel), 0);
    assert_eq!(parking.busy(0, Group::ALL), Duty::WakeAnother);
    assert_eq!(parking.wake_all(&place.kernel), 0);
    assert!(place.woken().is_empty());
}

#[test]
fn the_dead_neither_spin_nor_sleep() {
    let place = Place::new(3);
    let parking = place.parking();
    parking.spin(0);
    parking.announce(1);
    parking.announce(2);
    parking.reset(0);
    parking.reset(1);
    parking.reset(99);
    assert_eq!(parking.wake(2, &place.kernel), 1);
    assert_eq!(place.woken(), [2]);
}

#[test]
fn wild_bits_name_no_worker_outside() {
    let place = Place::new(3);
    place.parked[0].store(u64::MAX, Ordering::Relaxed);
    assert_eq!(place.parking().wake_all(&place.kernel), 0);
    place.spinning[0].store(u64::MAX, Ordering::Relaxed);
    assert_eq!(place.parking().wake(u32::MAX, &place.kernel), 0);
}

#[test]
fn a_worker_rings_once_an_epoch_while_somebody_sleeps() {
    let bell = Doorbell::new();
    let (mut one, mut two) = (0, 0);
    assert!(!bell.should_ring(&mut one), "nobody sleeps");
    bell.arm();
    assert!(bell.should_ring(&mut one));
    assert!(!bell.should_ring(&mut one), "once");
    assert!(bell.should_ring(&mut two), "whatever the others did");
    bell.arm();
    assert!(bell.should_ring(&mut one), "a second sleeper");
    bell.disarm();
    assert!(bell.should_ring(&mut one), "one still sleeps");
    bell.disarm();
    assert!(!bell.should_ring(&mut one), "nobody sleeps");
    bell.disarm();
    assert!(
        !bell.should_ring(&mut one),
        "one disarm too many is forgiven"
    );
    bell.arm();
    assert!(bell.should_ring(&mut one));
}

#[test]
fn a_group_is_woken_apart_from_the_others() {
    let place = Place::new(70);
    let parking = place.parking();
    for worker in [0, 1, 2, 64, 65, 66] {
        parking.announce(worker);
    }
    parking.spin(4);
    let [even, odd] = [0, 1].map(|rest| Group::new(rest, 2));
    assert_eq!(
        parking.wake_among(even, 1, &place.kernel),
        0,
        "worker 4 is awake"
    );
    assert_eq!(parking.wake_among(odd, 5, &place.kernel), 2);
    assert_eq!(parking.wake_among(even, 3, &place.kernel), 2);
    assert_eq!(parking.busy(4, even), Duty::WakeAnother);
    parking.spin(7);
    parking.spin(4);
    assert_eq!(
        parking.busy(4, even),
        Duty::WakeAnother,
        "worker 7 is of no use"
    );
    assert_eq!(parking.busy(7, odd), Duty::WakeAnother);
}
