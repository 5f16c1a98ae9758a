//! Broken variants of the protocols: each must be caught, or the sweep proves nothing.

use std::hint::black_box;

use super::audit::Fault;
use super::paths::{drain, go_round, run_the_rest, take_all, with_chunk, with_tasks};
use super::sweep::{Sweep, VICTIM};
use super::waiting::put_to_sleep;
use crate::board::Outcome as ChunkEnd;
use crate::ring::Outcome;

/// Whether the finding is the one that the fault must lead to.
fn assert_found(sweep: Sweep<'_>, what: &str, path: impl FnOnce()) {
    if let Some(finding) = sweep.caught(path) {
        assert!(finding.what.contains(what), "{finding:?}, expected {what}");
        assert!(finding.instruction > 0, "it was wrong before it began");
    }
}

#[test]
fn a_hint_taken_out_before_the_slot_is_caught() {
    let (stage, books) = with_tasks(3);
    let mut sweep = Sweep::new("claim, hint first", 0, &stage, books);
    sweep.meanwhile = vec![&take_all, &go_round];
    assert_found(sweep, "stands still hides 1 tasks", || {
        let _ = black_box(stage.view().ring.claim_hint_first(VICTIM));
    });
}

#[test]
fn a_hint_pushed_before_ready_is_caught() {
    let (stage, mut books) = with_tasks(2);
    books.submission = Some((3, 0, 77));
    let mut sweep = Sweep::new("push, hint first", 0, &stage, books);
    sweep.meanwhile = vec![&drain, &go_round];
    assert_found(sweep, "1 READY tasks are found by nobody", || {
        let view = stage.view();
        if let Some(generation) = view.ring.fill(3) {
            view.write_task(3, 77);
            assert!(view.ring.publish_hint_first(3, generation));
        }
    });
}

#[test]
fn finished_tasks_of_the_dead_not_swept_are_caught() {
    let (stage, mut books) = with_tasks(3);
    let claim = stage.view().ring.claim(VICTIM).expect("a task");
    books.fault = Fault::FinishedNotSwept;
    let sweep = Sweep::new("complete, not swept", 0, &stage, books);
    assert_found(sweep, "a future was not resolved once", || {
        let view = stage.view();
        view.perform(VICTIM, claim);
        if view.ring.complete(VICTIM, claim, Outcome::Done) {
            view.done.set(claim.slot);
        }
    });
}

#[test]
fn a_sleeper_that_the_kernel_was_not_told_of_is_caught() {
    let (stage, mut books) = with_tasks(1);
    put_to_sleep(&stage);
    books.fault = Fault::KernelNotTold;
    let sweep = Sweep::new("wake, kernel not told", 0, &stage, books);
    assert_found(sweep, "the survivor sleeps on", || {
        stage.view().parking.wake(1, &stage.kernel());
    });
}

#[test]
fn a_count_that_follows_the_words_is_caught() {
    let (stage, books, joined, chunk) = with_chunk(1);
    let mut sweep = Sweep::new("give up, count last", 0, &stage, books);
    sweep.meanwhile = vec![&run_the_rest];
    assert_found(sweep, "the job has ended, but its count says", || {
        let board = stage.view().board;
        board.give_up_count_last(joined);
        let _ = board.complete(joined, VICTIM, chunk, ChunkEnd::Failed);
    });
}
