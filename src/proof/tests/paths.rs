//! The ring, the board and the arena: what a worker or a submitter does, killed everywhere.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::os::fd::AsRawFd;

use super::audit::{Audited, Books, SURVIVOR, ensure};
use super::stage::{ARENA, CHUNKS, Stage};
use super::sweep::{Sweep, VICTIM};
use crate::board::{Completion, Joined, Outcome as ChunkEnd, Seen};
use crate::protocol::freed::BLOCK_ALIGN;
use crate::ring::Outcome;
use crate::sys::eventfd::Bell;
use crate::worker::arena::Arena;

/// A stage with so many tasks in its ring.
pub(super) fn with_tasks(count: u64) -> (Stage, Books) {
    let (stage, mut books) = (Stage::new(), Books::new());
    for argument in 0..count {
        assert_eq!(books.submit(stage.view(), argument), Ok(true));
    }
    (stage, books)
}

/// Others take all there is: whoever stands still has hidden nothing from them.
pub(super) fn take_all(stage: &Stage, books: &mut Books) -> Audited {
    stage.view().drain(SURVIVOR);
    let hidden = books.waiting(stage.view());
    ensure!(
        hidden == 0,
        "a worker that stands still hides {hidden} tasks"
    );
    Ok(())
}

/// The ring goes round under whoever stands still.
pub(super) fn go_round(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    for round in 0..4 {
        view.drain(SURVIVOR);
        books.deliver(view)?;
        while books.submit(view, 100 + round)? {}
    }
    Ok(())
}

/// Others take what they find.
pub(super) fn drain(stage: &Stage, _: &mut Books) -> Audited {
    stage.view().drain(SURVIVOR);
    Ok(())
}

/// The parent looks for results.
fn deliver(stage: &Stage, books: &mut Books) -> Audited {
    books.deliver(stage.view())
}

#[test]
fn a_claim_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(3);
    let mut sweep = Sweep::new("ring claim", 700, &stage, books);
    sweep.meanwhile = vec![&take_all, &go_round];
    sweep.holds(|| {
        let _ = black_box(stage.view().ring.claim(VICTIM));
    });
}

#[test]
fn a_claim_by_looking_at_all_slots_survives_it() {
    let (stage, mut books) = with_tasks(3);
    let view = stage.view();
    // No room for a hint to the fourth; then the other three are taken.
    (0..3).for_each(|_| view.ring.repost());
    assert_eq!(books.submit(view, 3), Ok(true));
    for _ in 0..3 {
        let claim = view.ring.claim(SURVIVOR).expect("a task");
        view.perform(SURVIVOR, claim);
        assert!(view.ring.complete(SURVIVOR, claim, Outcome::Done));
        view.done.set(claim.slot);
    }
    let mut sweep = Sweep::new("ring claim by a look at all slots", 2500, &stage, books);
    sweep.meanwhile = vec![&take_all, &go_round];
    sweep.holds(|| {
        let _ = black_box(stage.view().ring.claim(VICTIM));
    });
}

#[test]
fn a_completion_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(3);
    let claim = stage.view().ring.claim(VICTIM).expect("a task");
    let event = Bell::new().expect("an event descriptor");
    stage.doorbell().arm();
    let rung = |stage: &Stage, _: &mut Books| {
        ensure!(stage.noted(0) == 1, "the parent sleeps on");
        Ok(())
    };
    let mut sweep = Sweep::new("run and complete", 700, &stage, books);
    sweep.meanwhile = vec![&deliver, &go_round];
    sweep.afterwards = &rung;
    sweep.kept = event.as_raw_fd();
    sweep.holds(|| {
        let view = stage.view();
        view.perform(VICTIM, claim);
        if view.ring.complete(VICTIM, claim, Outcome::Done) {
            view.done.set(claim.slot);
            if stage.doorbell().should_ring(&mut 0) && event.ring().is_ok() {
                stage.note(0, 1);
            }
        }
    });
}

#[test]
fn a_submission_survives_death_at_every_instruction() {
    let (stage, mut books) = with_tasks(2);
    books.submission = Some((3, 0, 77));
    let mut sweep = Sweep::new("push of a submitter", 750, &stage, books);
    sweep.meanwhile = vec![&drain, &go_round];
    sweep.holds(|| {
        let view = stage.view();
        if let Some(generation) = view.ring.fill(3) {
            view.write_task(3, 77);
            assert!(view.ring.publish(3, generation));
        }
    });
}

/// A stage with a job on its board.
fn with_job_of(chunks: usize) -> (Stage, Books) {
    let (stage, mut books) = (Stage::new(), Books::new());
    books.post(stage.view(), 0, chunks as u32);
    (stage, books)
}

/// Others run what is left of the job.
pub(super) fn run_the_rest(stage: &Stage, books: &mut Books) -> Audited {
    books.drain_board(stage.view(), SURVIVOR);
    Ok(())
}

/// Others end the job if they can, and the next one is posted in its place.
fn post_the_next(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    books.drain_board(view, SURVIVOR);
    let mut posted = books.jobs.pop().ok_or("no job")?;
    if view.board.settled(&mut posted) {
        view.board.close(posted);
        books.post(view, 0, CHUNKS as u32);
        books.told = false;
    } else {
        books.jobs.push(posted);
    }
    Ok(())
}

/// The same, but the place stays open between the two jobs, and the next has one chunk.
fn take_the_place_over(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    books.drain_board(view, SURVIVOR);
    let mut posted = books.jobs.pop().ok_or("no job")?;
    if view.board.settled(&mut posted) {
        books.post(view, 0, 1);
        books.told = false;
    } else {
        books.jobs.push(posted);
    }
    Ok(())
}

#[test]
fn a_claim_of_a_chunk_survives_death_at_every_instruction() {
    for (chunks, floor) in [(CHUNKS, 750), (1, 300)] {
        let (stage, books) = with_job_of(chunks);
        let mut sweep = Sweep::new("chunk claim", floor, &stage, books);
        sweep.meanwhile = vec![&run_the_rest, &post_the_next, &take_the_place_over];
        sweep.holds(|| {
            let board = stage.view().board;
            let mut seen = Seen::new();
            if let Some(joined) = board.join(&seen) {
                black_box(board.claim(&mut seen, joined, VICTIM));
            }
        });
    }
}

/// The victim has a chunk; others have run `before` chunks.
pub(super) fn with_chunk(before: usize) -> (Stage, Books, Joined, u32) {
    with_chunk_of(CHUNKS, before)
}

fn with_chunk_of(chunks: usize, before: usize) -> (Stage, Books, Joined, u32) {
    let (stage, books) = with_job_of(chunks);
    let board = stage.view().board;
    let mut seen = Seen::new();
    let joined = board.join(&seen).expect("a job");
    for _ in 0..before {
        let chunk = board.claim(&mut seen, joined, SURVIVOR).expect("a chunk");
        let _ = board.complete(joined, SURVIVOR, chunk, ChunkEnd::Done);
    }
    let chunk = board.claim(&mut seen, joined, VICTIM).expect("a chunk");
    (stage, books, joined, chunk)
}

/// Nobody has died, and the job has ended: somebody was told.
fn somebody_knows(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    books.drain_board(view, SURVIVOR);
    for posted in &mut books.jobs {
        ensure!(view.board.settled(posted), "the job does not settle");
        ensure!(
            books.told || stage.noted(0) == 1,
            "nobody knows that the job has ended"
        );
    }
    Ok(())
}

#[test]
fn the_end_of_a_chunk_survives_death_at_every_instruction() {
    for (chunks, before, floor) in [(CHUNKS, 0, 450), (CHUNKS, CHUNKS - 1, 450), (1, 0, 250)] {
        let (stage, books, joined, chunk) = with_chunk_of(chunks, before);
        let mut sweep = Sweep::new("chunk complete", floor, &stage, books);
        sweep.meanwhile = vec![&run_the_rest];
        sweep.afterwards = &somebody_knows;
        sweep.holds(|| {
            let board = stage.view().board;
            if board.complete(joined, VICTIM, chunk, ChunkEnd::Done) == Completion::Last {
                stage.note(0, 1);
            }
        });
    }
}

#[test]
fn giving_up_a_job_survives_death_at_every_instruction() {
    let (stage, books, joined, chunk) = with_chunk(1);
    let mut sweep = Sweep::new("chunk failed, the rest given up", 1000, &stage, books);
    sweep.meanwhile = vec![&run_the_rest];
    sweep.afterwards = &somebody_knows;
    sweep.holds(|| {
        let board = stage.view().board;
        board.give_up(joined);
        if board.complete(joined, VICTIM, chunk, ChunkEnd::Failed) == Completion::Last {
            stage.note(0, 1);
        }
    });
}

/// Takes all freed blocks: each one of `given`, none twice.
fn take_freed(stage: &Stage, given: &[u64]) -> Audited<BTreeSet<u64>> {
    let mut taken = BTreeSet::new();
    let mut doubled = None;
    stage.freed().take(|offset| {
        if !taken.insert(offset) {
            doubled = Some(offset);
        }
    });
    ensure!(doubled.is_none(), "block {doubled:?} is free twice");
    let strange = taken.iter().find(|offset| !given.contains(offset));
    ensure!(strange.is_none(), "block {strange:?} was given by nobody");
    Ok(taken)
}

/// Whatever a death left of the stack of freed blocks, it goes on.
fn stack_goes_on(stage: &Stage, given: &[u64], block: u64) -> Audited<BTreeSet<u64>> {
    let left = take_freed(stage, given)?;
    stage.freed().push(block);
    let next = take_freed(stage, given)?;
    ensure!(
        next.iter().eq([&block]),
        "the stack gave {next:?} for {block}"
    );
    Ok(left)
}

#[test]
fn an_allocation_of_a_result_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(1);
    let mut arena = Arena::attach(stage.region(), ARENA).expect("an arena");
    let blocks = [(); 3].map(|()| arena.allocate(100).expect("a block").0);
    let [first, second, lent] = blocks;
    stage.freed().push(first);
    stage.freed().push(second);
    let give_back = |stage: &Stage, _: &mut Books| {
        stage.freed().push(lent);
        Ok(())
    };
    let apart = |stage: &Stage, _: &mut Books| {
        let [small, large] = [stage.noted(0), stage.noted(1)];
        ensure!(
            small != 0 && large != 0 && small != large,
            "blocks {small}, {large}"
        );
        let left = take_freed(stage, &blocks)?;
        ensure!(!left.contains(&small), "block {small} is in use and free");
        Ok(())
    };
    let in_order = |stage: &Stage, _: &mut Books| {
        for block in [stage.noted(0), stage.noted(1)] {
            let inside = (ARENA.offset..ARENA.offset + ARENA.size).contains(&block);
            ensure!(
                block == 0 || inside && block % BLOCK_ALIGN == 0,
                "block {block}"
            );
        }
        stack_goes_on(stage, &blocks, lent).map(drop)
    };
    let mut sweep = Sweep::new("allocation in the arena", 4000, &stage, books);
    sweep.meanwhile = vec![&give_back];
    sweep.afterwards = &apart;
    sweep.besides = &in_order;
    sweep.holds(|| {
        for (index, size) in [100, 40 << 10].into_iter().enumerate() {
            let (offset, _) = arena.allocate(size).expect("a block");
            stage.note(index, offset);
        }
        arena.seal();
    });
}

#[test]
fn giving_a_block_back_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(1);
    let mut arena = Arena::attach(stage.region(), ARENA).expect("an arena");
    let blocks = [(); 3].map(|()| arena.allocate(100).expect("a block").0);
    let [first, given, other] = blocks;
    stage.freed().push(first);
    let push = |stage: &Stage, _: &mut Books| {
        stage.freed().push(other);
        Ok(())
    };
    // Everything is taken, and the same block comes back on top.
    let take_and_push = |stage: &Stage, _: &mut Books| {
        let taken = take_freed(stage, &blocks)?;
        stage.note(0, u64::from(taken.contains(&given)));
        stage.freed().push(first);
        Ok(())
    };
    let is_there = |stage: &Stage, _: &mut Books| {
        let left = take_freed(stage, &blocks)?;
        let there = left.contains(&given) != (stage.noted(0) == 1);
        ensure!(
            there && left.contains(&first),
            "of {blocks:?} there are {left:?}"
        );
        Ok(())
    };
    let rest_is_there = |stage: &Stage, books: &mut Books| {
        // After a pause the stack was emptied by the look above.
        let untouched = books
            .futures
            .iter()
            .all(|future| future.resolutions.is_empty());
        let left = stack_goes_on(stage, &blocks, other)?;
        let paused = books.told;
        ensure!(
            paused || untouched && left.contains(&first),
            "the dead took others' blocks"
        );
        Ok(())
    };
    let noted =
        |meanwhile: &dyn Fn(&Stage, &mut Books) -> Audited, stage: &Stage, books: &mut Books| {
            books.told = true;
            meanwhile(stage, books)
        };
    let (push, take_and_push) = (
        |stage: &Stage, books: &mut Books| noted(&push, stage, books),
        |stage: &Stage, books: &mut Books| noted(&take_and_push, stage, books),
    );
    let mut sweep = Sweep::new("return of a block", 350, &stage, books);
    sweep.meanwhile = vec![&push, &take_and_push];
    sweep.afterwards = &is_there;
    sweep.besides = &rest_is_there;
    sweep.holds(|| stage.freed().push(given));
}
