//! Models of a death between two steps, and of what recovery hands on.

use super::*;

/// The worker dies between two steps; the parent reaps it, here: joins it, and recovers.
fn with_a_death(death: impl Fn(&Memory) + Send + Sync + 'static) {
    let death = std::sync::Arc::new(death);
    explore_bounded(Some(3), move || {
        let memory = Memory::new(2);
        memory.submit(0, 1);
        memory.submit(1, 1);
        let mortal = Arc::clone(&memory);
        let dying = std::sync::Arc::clone(&death);
        let mortal = thread::spawn(move || dying(&mortal));
        let survivor = Arc::clone(&memory);
        let survivor = thread::spawn(move || {
            let mut ended = 0;
            for _ in 0..2 {
                if let Some(claim) = survivor.ring().claim(worker(1)) {
                    survivor.write(claim.slot, 5);
                    assert!(survivor.ring().complete(worker(1), claim, Outcome::Done));
                    survivor.done().set(claim.slot);
                    ended += 1;
                }
            }
            ended
        });
        mortal.join().unwrap();
        let mut generations = [0; 2];
        memory
            .ring()
            .recover(worker(0), memory.done(), |slot, generation| {
                memory.write(slot, 9);
                generations[slot as usize] = generation + 1;
                Verdict::Retry
            });
        memory.ring().repost();
        survivor.join().unwrap();
        while let Some(claim) = memory.ring().claim(worker(1)) {
            assert!(memory.ring().complete(worker(1), claim, Outcome::Done));
            memory.done().set(claim.slot);
        }
        let mut delivered = [0; 2];
        memory.done().drain(|slot| {
            let generation = generations[slot as usize];
            assert!(matches!(
                memory.ring().harvest(slot, generation),
                Harvest::Finished { .. }
            ));
            delivered[slot as usize] += 1;
        });
        assert_eq!(delivered, [1, 1], "nothing lost, nothing delivered twice");
    });
}

#[test]
fn a_death_after_the_word_loses_nothing() {
    with_a_death(|memory| {
        if let Peek::Hint(hint) = memory.ring().hints.peek() {
            let _ = memory
                .ring()
                .slot(hint.slot())
                .claim(Lane::MAIN, worker(0), 0);
        }
    });
}

#[test]
fn a_death_after_the_cell_loses_nothing() {
    with_a_death(|memory| {
        if let Peek::Hint(hint) = memory.ring().hints.peek() {
            let _ = memory
                .ring()
                .slot(hint.slot())
                .claim(Lane::MAIN, worker(0), 0);
            memory.ring().hints.empty(hint);
        }
    });
}

#[test]
fn a_death_before_the_done_bit_loses_nothing() {
    with_a_death(|memory| {
        if let Some(claim) = memory.ring().claim(worker(0)) {
            memory.write(claim.slot, 3);
            assert!(memory.ring().complete(worker(0), claim, Outcome::Done));
        }
    });
}

#[test]
fn recovery_sees_the_body() {
    // The mortal is not joined: what its death orders is not what is tested.
    explore(|| {
        let memory = Memory::new(1);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || submitter.submit(0, 1));
        let mortal = Arc::clone(&memory);
        let mortal = thread::spawn(move || die_claiming(&mortal));
        others_first();
        memory.ring().recover(worker(0), memory.done(), |slot, _| {
            assert_eq!(memory.read(slot), 1);
            Verdict::Fail
        });
        submitter.join().unwrap();
        mortal.join().unwrap();
    });
}

fn die_claiming(memory: &Memory) {
    let _ = memory.ring().slot(0).claim(Lane::MAIN, worker(0), 0);
}

#[test]
fn a_retried_task_sees_what_recovery_wrote() {
    explore(|| {
        let memory = Memory::new(1);
        memory.submit(0, 1);
        // By hand, so that the claimer's order comes from the word alone.
        die_claiming(&memory);
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            parent.ring().recover(worker(0), parent.done(), |slot, _| {
                parent.write(slot, 2);
                Verdict::Retry
            });
        });
        others_first();
        let early = memory.ring().slot(0).claim(Lane::MAIN, worker(1), 1);
        if early {
            assert_eq!(memory.read(0), 2);
        }
        parent.join().unwrap();
        let late = memory.ring().claim(worker(1));
        assert!(early != late.is_some(), "recovery left a hint");
    });
}
