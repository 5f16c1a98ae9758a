//! What the workers of a play do: as the product's workers, or nearly.

use std::sync::Arc;

use super::oracle::Call;
use super::source::{read, replace};
use super::stage::{Stage, WORKERS, Work, Worker};
use super::wild::{value, word_at};
use crate::board::{Joined, Outcome as ChunkEnd};
use crate::memory::owner::Owner;
use crate::protocol::lanes::Priority;
use crate::protocol::range::{JobBody, Span, Trial};
use crate::protocol::reply::{Reply, ReplyBlock, Verdict};
use crate::protocol::task::Task;
use crate::ring::{Claim, Outcome};

impl Stage<'_> {
    pub(super) fn any_worker(&mut self) -> usize {
        self.source.below(usize::from(WORKERS))
    }

    /// A worker that holds nothing looks for work.
    pub(super) fn begin(&mut self) {
        let worker = self.any_worker();
        let prefers_tasks = self.source.byte().is_multiple_of(2);
        self.begin_by(worker, prefers_tasks);
    }

    pub(super) fn begin_by(&mut self, worker: usize, prefers_tasks: bool) -> bool {
        if !matches!(self.workers[worker].work, Work::Nothing) {
            return false;
        }
        match prefers_tasks {
            true => self.claim_task(worker) || self.claim_chunk(worker),
            false => self.claim_chunk(worker) || self.claim_task(worker),
        }
    }

    pub(super) fn claim_task(&mut self, worker: usize) -> bool {
        let control = self.engine.control();
        let (owner, shape) = (self.workers[worker].owner, self.engine.shape());
        let lanes = [
            shape.queue_lane(0, Priority::High),
            shape.own_lane(owner.index()),
            shape.queue_lane(0, Priority::Normal),
            shape.queue_lane(0, Priority::Low),
        ];
        let claim = lanes
            .into_iter()
            .find_map(|lane| control.lane(lane).claim(owner));
        let Some(claim) = claim else {
            return false;
        };
        if let Some(call) = self.call_in(claim.slot) {
            self.calls[call].claims += 1;
        }
        if !self.is_hostile() {
            let call = self.call_in(claim.slot).expect("a task that was submitted");
            let Call {
                attempts,
                claims,
                deaths,
                ..
            } = self.calls[call];
            assert!(claims <= attempts && claims == deaths + 1, "begun again");
        }
        self.workers[worker].work = Work::Task(claim);
        true
    }

    pub(super) fn claim_chunk(&mut self, worker: usize) -> bool {
        let board = self.engine.control().board();
        let Worker { owner, seen, .. } = &mut self.workers[worker];
        let mut claimed = None;
        // A job without a chunk left is passed over by the next look.
        for _ in 0..64 {
            let Some(joined) = board.join(seen) else {
                return false;
            };
            if let Some(chunk) = board.claim(seen, joined, *owner) {
                claimed = Some((joined, chunk));
                break;
            }
        }
        let Some((joined, chunk)) = claimed else {
            return false;
        };
        let (start, len) = board.range(joined.job, chunk);
        if let (false, Some(job)) = (self.is_hostile(), self.job_in(joined.job)) {
            let job = &mut self.jobs[job];
            for (begun, _) in &mut job.elements[start as usize..(start + len) as usize] {
                *begun += 1;
                assert!(job.pure_function || *begun == 1, "in place, and twice");
            }
        }
        self.workers[worker].work = Work::Chunk(joined, chunk);
        true
    }

    pub(super) fn call_in(&self, slot: u32) -> Option<usize> {
        let task = self.engine.control().task(slot);
        let number = Task::load(task).function.to_bits() as usize;
        (number < self.calls.len()).then_some(number)
    }

    pub(super) fn job_in(&self, job: u32) -> Option<usize> {
        let body = self.engine.control().job_body(job)?;
        let number = body.load().kernel.to_bits() as usize;
        (number < self.jobs.len()).then_some(number)
    }

    pub(super) fn finish(&mut self) {
        let worker = self.any_worker();
        let done = !self.source.byte().is_multiple_of(4);
        self.finish_by(worker, done);
    }

    pub(super) fn finish_by(&mut self, worker: usize, done: bool) {
        let owner = self.workers[worker].owner;
        match core::mem::replace(&mut self.workers[worker].work, Work::Nothing) {
            Work::Nothing => {}
            Work::Task(claim) => self.finish_task(owner, claim, done),
            Work::Chunk(joined, chunk) => self.finish_chunk(owner, joined, chunk, done),
        }
    }

    pub(super) fn finish_task(&mut self, owner: Owner, claim: Claim, done: bool) {
        let control = self.engine.control();
        let call = self.call_in(claim.slot);
        let arena = self.engine.hub().roster.arena(owner).cloned();
        let arena = arena.map_or(Span::default(), |arena| arena.span());
        let region = Arc::clone(self.engine.region());
        // A worker whose arena cannot be had any more has nowhere to reply.
        let Some(block) = ReplyBlock::of(&region, arena, claim.slot) else {
            return;
        };
        let offset = ReplyBlock::inline_offset(arena, claim.slot);
        let number = call.unwrap_or(0) as u64;
        replace(word_at(self.engine.region(), offset), number);
        let (verdict, size) = if done {
            (Verdict::Value, 8)
        } else {
            (Verdict::Panicked, 0)
        };
        let place = Span { offset, size };
        Reply { place, verdict }.store(block, claim.generation);
        if self.is_hostile() && self.source.byte().is_multiple_of(2) {
            let words = arena.offset + ReplyBlock::offset_in_arena(claim.slot);
            for word in [words, words + 8, words + 16].map(|offset| word_at(&region, offset)) {
                let next = value(&mut self.source, read(word), arena);
                replace(word, next);
            }
        }
        let end = if done { Outcome::Done } else { Outcome::Failed };
        let ended = control.ring().complete(owner, claim, end);
        if self.is_hostile() {
            control.done().set(claim.slot);
            return;
        }
        assert!(ended, "a live worker's task was taken away");
        control.done().set(claim.slot);
        let call = &mut self.calls[call.expect("a task that was submitted")];
        assert_eq!(call.end.replace(end), None, "ended twice");
    }

    pub(super) fn finish_chunk(&mut self, owner: Owner, joined: Joined, chunk: u32, done: bool) {
        let control = self.engine.control();
        let board = control.board();
        let number = self.job_in(joined.job);
        let body = control.job_body(joined.job).map(JobBody::load);
        let fails_fast = body.is_some_and(|body| body.fail_fast);
        if self.is_hostile() {
            let arena = self.engine.hub().roster.arena(owner).cloned();
            let arena = arena.map_or(Span::default(), |arena| arena.span());
            let next = value(&mut self.source, 0, arena);
            replace(board.chunk(joined.job, chunk).detail(), next);
        } else {
            let job = &mut self.jobs[number.expect("a job that was launched")];
            let (start, mut len) = board.range(joined.job, chunk);
            job.failed |= !done;
            if done && body.is_some_and(|body| body.trial) {
                // It may have taken long after all.
                len = 1 + self.source.below(len as usize) as u64;
                let (done, nanoseconds) = (len as u32, 1);
                let trial = Trial { done, nanoseconds };
                replace(board.chunk(joined.job, chunk).detail(), trial.to_bits());
            }
            for (_, is_done) in &mut job.elements[start as usize..(start + len) as usize] {
                *is_done |= done;
            }
        }
        if !done && fails_fast {
            board.give_up(joined);
        }
        let end = if done {
            ChunkEnd::Done
        } else {
            ChunkEnd::Failed
        };
        let _ = board.complete(joined, owner, chunk, end);
    }
}
