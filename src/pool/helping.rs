//! A caller that runs chunks of its job itself while it waits, because it asked for that.
//!
//! What the caller takes says CANCELLED on the board, like everything that the parent takes back,
//! and stands in the job's [`Share`], in memory that no worker can write. So it is never asked of
//! shared memory what the caller has done. Once a worker has died over a chunk the caller takes no
//! more of that job, for it has more to lose.
//!
//! To post a job takes lines to the workers and back, a microsecond about. A job that is known to
//! take little more is begun without, and posted with what is left of it when that turns out to
//! take longer; most such jobs are done by then.

use core::mem;
use core::ops::Range;

use crate::error::TaskError;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::entry::Place;
use crate::pool::hub::Hub;
use crate::pool::launch::{JobEntry, JobOutcome, Launch};
use crate::pool::pace::Paces;
use crate::pool::terms::Grain;
use crate::protocol::control::Control;
use crate::protocol::panic::PanicReport;
use crate::protocol::range::{Kernel, RangeJob, elements};
use crate::sync::Group;
use crate::sync::kernel::KernelFutex;
use crate::sys::clock;

/// A rest that takes longer is shared with a worker that looks for work.
const WORTH_POSTING_NANOSECONDS: u64 = 4_000;
/// A rest that takes longer is worth waking workers for, as in a worker's `run_range`.
const WORTH_WAKING_NANOSECONDS: u64 = 50_000;

/// Calls that follow each other more slowly find workers asleep anyway.
const CLOSE_NANOSECONDS: u64 = 1_000_000;

/// Work that callers did alone because nobody looked for work, and that was not worth a wake-up by
/// itself. When it comes to one, somebody is woken for the calls that will follow: what was lost
/// until then is no more than that costs.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// How much sooner it would have ended, in close succession.
    lost: u64,
    last: u64,
}

impl Alone {
    /// Another call that takes so long; whether it is time to wake somebody.
    fn is_enough(&mut self, nanoseconds: u64, now: u64) -> bool {
        if now.saturating_sub(self.last) > CLOSE_NANOSECONDS {
            self.lost = 0;
        }
        self.last = now;
        self.lost += nanoseconds / 2;
        let is_enough = self.lost > WORTH_WAKING_NANOSECONDS / 2;
        if is_enough {
            self.lost = 0;
        }
        is_enough
    }
}

/// What the caller has of its job.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// How many workers there is a core for beside the caller's.
    peers: u32,
    /// Chunks before this one were its own before the job was posted.
    begun: u32,
    /// Those that it took from the board, ascending.
    taken: Vec<u32>,
    /// The one that it is at.
    busy: Option<u32>,
    /// Those that failed.
    faults: Vec<(u32, TaskError)>,
    /// How many elements it did, and how long that took.
    elements: u64,
    nanoseconds: u64,
}

impl Share {
    fn new(peers: u32) -> Self {
        Self {
            peers,
            ..Self::default()
        }
    }

    /// What came of a chunk of the caller's; `None`: it is none.
    fn outcome(&self, chunk: u32) -> Option<Result<(), &TaskError>> {
        if chunk >= self.begun && self.taken.binary_search(&chunk).is_err() {
            return None;
        }
        let mut faults = self.faults.iter();
        Some(match faults.find(|(failed, _)| *failed == chunk) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        })
    }

    /// The same, of a job not yet posted whose last chunk failed.
    fn failed(mut self, (chunk, error): (u32, TaskError)) -> Self {
        self.begun = chunk + 1;
        self.faults.push((chunk, error));
        self
    }

    fn take(&mut self, chunk: u32) {
        self.busy = Some(chunk);
        if let Err(place) = self.taken.binary_search(&chunk) {
            self.taken.insert(place, chunk);
        }
    }
}

impl Launch {
    /// How many chunks the caller did before the job was posted.
    pub(crate) fn begun(&self) -> u32 {
        self.share.as_ref().map_or(0, |share| share.begun)
    }

    /// How many workers are to work at it, if its caller does as well.
    pub(super) fn peers(&self) -> Option<u32> {
        self.share.as_ref().map(|share| share.peers)
    }

    /// The chunk that the caller is at.
    pub(super) fn busy(&self) -> Option<u32> {
        self.share.as_ref()?.busy
    }

    /// What came of a chunk that is the caller's; `None`: it is not.
    pub(super) fn own_outcome(&self, chunk: u32) -> Option<Result<(), &TaskError>> {
        self.share.as_ref()?.outcome(chunk)
    }

    /// How many elements the caller did, and in what time.
    pub(super) fn own_pace(&self) -> Option<(u64, u64)> {
        let share = self.share.as_ref()?;
        (share.elements > 0).then_some((share.elements, share.nanoseconds))
    }

    /// Leaves all of it to the workers.
    pub(super) fn unshare(&mut self) {
        self.share = None;
        self.job.helped = false;
    }
}

/// What the caller needs to run chunks of a job on the board.
pub(crate) struct Helper {
    job: u32,
    generation: u32,
    body: RangeJob,
    function: Kernel,
    cut: Chunking,
    peers: u32,
}

impl Helper {
    /// The elements of a chunk, (start, len).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn chunk(&self, chunk: u32) -> (u64, u64) {
        let bounds = self.cut.chunks().nth(chunk as usize);
        bounds.unwrap_or_default()
    }
}

/// What came of the caller's last chunk.
pub(crate) struct Ended {
    result: Result<(), Box<PanicReport>>,
    elements: u64,
    nanoseconds: u64,
}

impl Ended {
    pub(crate) fn new(
        result: Result<(), Box<PanicReport>>,
        elements: u64,
        nanoseconds: u64,
    ) -> Self {
        Self {
            result,
            elements,
            nanoseconds,
        }
    }
}

impl Engine {
    /// Begins a job whose caller is going to help with it, and does all of it if that takes no
    /// time: then this is its outcome. Else it is to be launched. A job with a limit of time is
    /// left to those who can be killed.
    pub(crate) fn begin_helped(&self, launch: &mut Launch) -> Option<JobOutcome> {
        if launch.has_limit() {
            return None;
        }
        launch.job.helped = true;
        let peers = self.peers();
        let limit = self.worth_posting();
        let begins = self.hub().begins_here(launch, self.workers(), limit);
        let share = match begins {
            true => self.begin_here(launch, peers),
            false => Some(Share::new(peers)),
        };
        match share {
            Some(share) => launch.share = Some(Box::new(share)),
            None => {
                let keep = mem::replace(&mut launch.keep, Box::new(()));
                return Some(JobOutcome::went_well(keep));
            }
        }
        None
    }

    /// Runs chunks until what is left is worth sharing, or one fails; `None`: all are done.
    fn begin_here(&self, launch: &Launch, peers: u32) -> Option<Share> {
        let mut share = Share::new(peers);
        let len = launch.chunking.len();
        let mut chunks = (0..).zip(launch.chunking.chunks());
        let (tempo, began) = (self.tempo(), clock::ticks());
        let mut end = 0;
        while end < len {
            // The processor's count is read after 1, 4, 16, 64 … of them.
            let more = (3 * share.begun).max(1) as usize;
            let start = end;
            for (chunk, (first, size)) in chunks.by_ref().take(more) {
                end = first + size;
                // Those of a result an element may as well be one.
                if launch.grain != Grain::Elements
                    && let Some(fault) = self.try_chunks(launch, chunk, first..end)
                {
                    return Some(share.failed(fault));
                }
                share.begun = chunk + 1;
            }
            if launch.grain == Grain::Elements
                && let Some(fault) = self.try_chunks(launch, 0, start..end)
            {
                return Some(share.failed(fault));
            }
            share.elements = end;
            share.nanoseconds = tempo.elapsed(began);
            let rest = share.nanoseconds.saturating_mul(len - end) / end.max(1);
            if end < len && rest > self.worth_posting() {
                return Some(share);
            }
        }
        if share.nanoseconds > WORTH_POSTING_NANOSECONDS {
            self.hub().note_alone(launch, share.nanoseconds);
        }
        None
    }

    /// Runs elements of a chunk, or of several where it does not matter; the chunk that failed.
    fn try_chunks(
        &self,
        launch: &Launch,
        chunk: u32,
        elements: Range<u64>,
    ) -> Option<(u32, TaskError)> {
        let Launch { function, job, .. } = launch;
        let start = elements.start;
        let report = elements::run(*function, self.region(), job, chunk, elements).err()?;
        let element = report.element.unwrap_or(start);
        let mut chunks = (0..).zip(launch.chunking.chunks());
        let failed = chunks.find(|(_, (start, len))| element < start + len);
        Some((failed.map_or(chunk, |(number, _)| number), (*report).into()))
    }

    /// How long what is left of a job must take to be worth posting.
    fn worth_posting(&self) -> u64 {
        match self.parking().spinners() {
            0 => WORTH_WAKING_NANOSECONDS,
            _ => WORTH_POSTING_NANOSECONDS,
        }
    }

    /// Runs chunks of a job on the board, if it is one whose caller helps, until none is left that
    /// nobody has begun. Does not wait for those of others.
    pub(crate) fn help(&self, entry: &JobEntry) {
        let Some(helper) = self.hub().helper(entry, self.peers()) else {
            return;
        };
        let control = self.control();
        let (earlier, _) = control.board().tally(helper.job);
        self.make_way();
        let began = clock::now();
        let mut before = began;
        let (mut chunks, mut passed) = (helper.cut.chunks(), 0);
        let (mut ended, mut count, mut called) = (None, 0_u32, false);
        loop {
            let next = self.hub().help(control, &helper, ended.take());
            let Some(chunk) = next else {
                return;
            };
            if chunk < passed {
                // Only a cursor that was overwritten goes back.
                (chunks, passed) = (helper.cut.chunks(), 0);
            }
            let (start, len) = chunks.nth((chunk - passed) as usize).unwrap_or_default();
            passed = chunk + 1;
            let Helper { function, body, .. } = &helper;
            let result = elements::run(*function, self.region(), body, chunk, start..start + len);
            let now = clock::now();
            ended = Some(Ended::new(result, len, now.saturating_sub(before)));
            before = now;
            count += 1;
            if !count.is_power_of_two() {
                continue;
            }
            if self.make_way() {
                before = clock::now();
            }
            if !called {
                let (done, left) = control.board().tally(helper.job);
                let done = done.saturating_sub(earlier).max(count);
                let each = now.saturating_sub(began) / u64::from(done);
                called = each.saturating_mul(left.into()) > WORTH_WAKING_NANOSECONDS;
                if called {
                    self.call_peers(helper.peers);
                }
            }
        }
    }

    /// How many workers there is a core for beside the caller's.
    fn peers(&self) -> u32 {
        let config = self.config();
        let others = config.worker_cores().min(config.cores - 1);
        u32::try_from(others).unwrap_or(u32::MAX).max(1)
    }

    /// Wakes workers until there are so many awake.
    fn call_peers(&self, peers: u32) {
        let parking = self.parking();
        let missing = peers.saturating_sub(parking.awake());
        let woken = (0..missing).map(|_| parking.wake_more(Group::ALL, &KernelFutex));
        self.count_wake_ups(woken.sum());
    }
}

impl Hub {
    /// Cuts a job whose caller helps, by what is known of its pace; whether the caller is to begin
    /// alone, because it takes less time than `limit`.
    fn begins_here(&mut self, launch: &mut Launch, workers: usize, limit: u64) -> bool {
        let (kernel, cut) = (launch.job.kernel, launch.chunking);
        if Paces::matters(launch) {
            launch.chunking = self.paces.cut(kernel, cut, workers);
        }
        let time = self.paces.estimate(kernel, cut.len());
        self.accepts() && time.is_some_and(|time| time <= limit)
    }

    /// A caller has done a job alone, in that time, with which others might have helped.
    fn note_alone(&mut self, launch: &Launch, nanoseconds: u64) {
        let (kernel, len) = (launch.job.kernel, launch.chunking.len());
        self.paces.note(kernel, len, nanoseconds);
        if self.alone.is_enough(nanoseconds, clock::now()) {
            self.wake_workers(1);
        }
    }

    /// A job was posted: sees to what its caller has done of it before, which no worker will tell.
    pub(super) fn settle_begun(&mut self, control: &Control, job: u32) {
        let Some(running) = self.jobs.get(job) else {
            return;
        };
        let share = running.launch.share.as_deref();
        if share.is_some_and(|share| !share.faults.is_empty()) {
            if running.launch.job.fail_fast {
                control.board().cancel(&running.posted);
            }
            self.finish_if_settled(control, job);
        }
    }

    /// What the caller of this job needs to help with it, if it is on the board: one that waits for
    /// a place is not waited for. The only chunk of a job is left to a worker, unless the caller
    /// has tried it; so are later rounds, which look for what went wrong.
    pub(crate) fn helper(&mut self, entry: &JobEntry, peers: u32) -> Option<Helper> {
        let Place::Job { job, generation } = entry.place() else {
            return None;
        };
        let running = self.jobs.get(job)?;
        let is_it = running.posted.generation() == generation
            && running.inquiry.is_first_round()
            && !running.launch.has_limit();
        let shares = running.posted.chunks() > 1 || running.launch.begun() > 0;
        if !(is_it && shares) {
            return None;
        }
        let share = || Box::new(Share::new(peers));
        running.launch.share.get_or_insert_with(share);
        Some(Helper {
            job,
            generation,
            body: running.launch.job,
            function: running.launch.function,
            cut: running.launch.chunking,
            peers,
        })
    }

    /// Ends the caller's last chunk, and gives it the next one.
    pub(crate) fn help(
        &mut self,
        control: &Control,
        helper: &Helper,
        ended: Option<Ended>,
    ) -> Option<u32> {
        let board = control.board();
        let running = self.jobs.get(helper.job)?;
        if running.posted.generation() != helper.generation {
            // It was begun again without us, or has ended with the pool.
            return None;
        }
        let share = running.launch.share.as_mut()?;
        if let (Some(ended), Some(chunk)) = (ended, share.busy.take()) {
            board.count_taken(&running.posted);
            match ended.result {
                Ok(()) => {
                    share.elements += ended.elements;
                    share.nanoseconds += ended.nanoseconds;
                }
                Err(report) => {
                    share.faults.push((chunk, (*report).into()));
                    if running.launch.job.fail_fast {
                        board.cancel(&running.posted);
                    }
                }
            }
        }
        let goes_on = running.cancelled.is_none() && running.deaths.is_empty();
        let next = goes_on.then(|| board.take(&running.posted)).flatten();
        match next {
            Some(chunk) => share.take(chunk),
            None => {
                self.finish_if_settled(control, helper.job);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_close_succession_add_up_to_a_wake_up() {
        let mut alone = Alone::default();
        let each = WORTH_WAKING_NANOSECONDS / 10;
        let close: Vec<bool> = (1..=22).map(|n| alone.is_enough(each, n * each)).collect();
        let woken: Vec<usize> = (0..22).filter(|&n| close[n]).collect();
        assert_eq!(woken, [10, 21]);
        let far = |n| n * (CLOSE_NANOSECONDS + 1);
        assert!((100..200).all(|n| !alone.is_enough(each, far(n))));
    }
}
