//! The ring between real threads, with payloads that are no atomics: a missing edge between who
//! writes them and who reads them is a race, which ThreadSanitizer tells (`.ci/sanitize`).

#![expect(unsafe_code, reason = "payloads are shared as the ring says")]

use core::cell::UnsafeCell;
use core::hint;
use std::thread;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 8;
const WORKERS: u16 = 3;
const TASKS: u64 = 4_000;

/// What lies beside a slot: arguments, then the result.
struct Payload(UnsafeCell<[u64; 4]>);

// SAFETY: whoever touches one holds its slot: FILLING, CLAIMED, or DONE and not yet freed.
unsafe impl Sync for Payload {}

impl Payload {
    /// # Safety
    /// The caller holds the slot.
    unsafe fn write(&self, values: [u64; 4]) {
        // SAFETY: nobody else touches it meanwhile, as the caller vouches.
        unsafe { self.0.get().write(values) };
    }

    /// # Safety
    /// The caller holds the slot.
    unsafe fn read(&self) -> [u64; 4] {
        // SAFETY: as for `write`.
        unsafe { self.0.get().read() }
    }
}

#[test]
fn tasks_and_results_are_handed_over_whole() {
    let header = RingHeader::new();
    let cells: Vec<_> = (0..2 * SLOTS).map(|_| Cell::new()).collect();
    let slots: Vec<_> = (0..SLOTS).map(|_| Slot::new()).collect();
    let done = [AtomicU64::new(0)];
    let payloads: Vec<_> = (0..SLOTS)
        .map(|_| Payload(UnsafeCell::new([0; 4])))
        .collect();
    let over = AtomicU64::new(0);
    let ring = Ring::new(&header, &cells, &slots);
    let done = DoneBits(&done);
    thread::scope(|scope| {
        let worker = |index| {
            let (payloads, over) = (&payloads, &over);
            scope.spawn(move || {
                let me = Owner::new(index, 0);
                // Relaxed: it ends a loop, nothing else.
                while over.load(Ordering::Relaxed) == 0 {
                    let Some(claim) = ring.claim(me) else {
                        hint::spin_loop();
                        thread::yield_now();
                        continue;
                    };
                    let payload = &payloads[claim.slot as usize];
                    // SAFETY: this thread claimed the slot.
                    let [number, square, ..] = unsafe { payload.read() };
                    assert_eq!(square, number * number);
                    // SAFETY: it has not given it back yet.
                    unsafe { payload.write([number + 1; 4]) };
                    assert!(ring.complete(me, claim, Outcome::Done));
                    done.set(claim.slot);
                }
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        let mut pending = [None; SLOTS];
        let (mut next, mut delivered) = (0, 0);
        while delivered < TASKS {
            for slot in 0..SLOTS as u32 {
                if pending[slot as usize].is_some() || next == TASKS {
                    continue;
                }
                let generation = ring.fill(slot).expect("a slot that was freed");
                // SAFETY: the slot is being filled by this thread.
                unsafe { payloads[slot as usize].write([next, next * next, 0, 0]) };
                assert!(ring.publish(slot, generation));
                pending[slot as usize] = Some((generation, next));
                next += 1;
            }
            done.drain(|slot| {
                let Some((generation, number)) = pending[slot as usize] else {
                    panic!("slot {slot} ended twice");
                };
                match ring.harvest(slot, generation) {
                    Harvest::Finished { .. } => {}
                    other => panic!("{other:?}"),
                }
                // SAFETY: the task has ended, and its slot is not free yet.
                assert_eq!(unsafe { payloads[slot as usize].read() }, [number + 1; 4]);
                pending[slot as usize] = None;
                let _ = ring.free(slot, generation);
                delivered += 1;
            });
            thread::yield_now();
        }
        over.store(1, Ordering::Relaxed);
        // One by one: the end of a scope is nothing that ThreadSanitizer sees.
        workers
            .into_iter()
            .for_each(|worker| worker.join().expect("no assertion failed"));
    });
}
