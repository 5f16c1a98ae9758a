//! Range jobs from posting to outcome.

use core::ops::Range;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::board::{ChunkOutcome, JOBS, Known, Posted};
use crate::error::TaskError;
use crate::pool::deadline::{NEVER, Pulse};
use crate::pool::entry::Place;
use crate::pool::hub::Hub;
use crate::pool::inquiry::Inquiry;
use crate::pool::launch::{JobEntry, JobOutcome, Launch};
use crate::pool::pace::Paces;
use crate::pool::reserve::Turnout;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::control::Control;
use crate::protocol::gauge::Work;
use crate::protocol::range::Trial;
use crate::sys::{clock, cpu};

/// A job on the board.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) entry: Arc<JobEntry>,
    pub(crate) posted: Posted,
    pub(crate) launch: Launch,
    /// How many workers died over each chunk; most jobs have none.
    pub(crate) deaths: HashMap<u32, u32>,
    /// Chunks that failed with their worker, and how.
    pub(crate) faults: Vec<(u32, TaskError)>,
    /// Set when the caller has given up.
    pub(crate) cancelled: Option<TaskError>,
    /// When workers that are still at it are killed.
    pub(crate) end: u64,
    pub(crate) inquiry: Inquiry,
    /// When it was posted, where its pace is worth knowing; else 0.
    pub(crate) posted_at: u64,
    /// What each worker said last of where it is, and since when, where elements have limits.
    pub(crate) pulses: Vec<Pulse>,
    /// Chunks whose worker is being killed because an element takes too long.
    pub(crate) overrun: Vec<u32>,
    pub(super) turnout: Turnout,
}

impl Running {
    /// What the worker of a trial gave back, of which nothing is done.
    pub(super) fn given_back(&self, trial: Option<Trial>) -> Option<Range<u64>> {
        let done = u64::from(trial?.done);
        let len = self.launch.chunking.len();
        (done < len).then_some(done..len)
    }

    /// What came of a job that was on trial, if it was and its worker told.
    pub(super) fn trial(&self, control: &Control) -> Option<Trial> {
        if !self.launch.job.trial {
            return None;
        }
        let detail = control.board().chunk(self.posted.job(), 0).detail();
        // ORDERING: Relaxed; acquired with the chunk's word.
        Trial::from_bits(detail.load(Ordering::Relaxed))
    }

    /// At most how many chunks nobody has counted off yet: those that have not ended, and the one
    /// of a caller that helps, who counts it off after its word.
    pub(super) fn uncounted(&self, control: &Control) -> u32 {
        let own = self.launch.busy().is_some();
        control.board().unsettled(&self.posted) + u32::from(own)
    }

    /// Elements that this round has done.
    pub(crate) fn done(&self, control: &Control) -> u64 {
        (0..self.posted.chunks())
            .filter(|&chunk| {
                let outcome = control.board().outcome(&self.posted, chunk);
                matches!(outcome, ChunkOutcome::Done(_))
                    || matches!(self.launch.own_outcome(chunk), Some(Ok(())))
                        && self.launch.busy() != Some(chunk)
            })
            .map(|chunk| {
                let range = self.range(chunk);
                range.end - range.start
            })
            .sum()
    }
}

impl Running {
    /// Elements that workers left half done when they died, ascending; adjacent ranges are one.
    pub(super) fn undefined(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (_, fault) in &self.faults {
            match fault {
                TaskError::WorkerDied(death) => ranges.extend(death.undefined.iter().cloned()),
                TaskError::Damaged(damage) => ranges.extend(damage.undefined.iter().cloned()),
                _ => {}
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let adjacent = next.start <= last.end;
            if adjacent {
                last.end = last.end.max(next.end);
            }
            adjacent
        });
        ranges
    }
}

/// What the header of a place says, running or not.
#[derive(Clone, Copy, Debug, Default)]
struct JobPlace {
    generation: u32,
    epoch: u64,
}

/// The jobs on the board, and those that wait for a place on it.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// As many as there were at a time.
    pub(crate) running: Vec<Option<Running>>,
    /// What the parent wrote into the headers.
    places: Vec<JobPlace>,
    /// One bit a running job, lowest number first.
    active: u64,
    /// The same for whoever looks without the hub's lock.
    live: Arc<AtomicU64>,
    /// The last job that ended when no other ran. Its place still says OPEN: the next one takes it
    /// over, which spares two lines the way to the workers and back; or it is closed.
    lingering: Option<Posted>,
    backlog: VecDeque<(Launch, Arc<JobEntry>)>,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        const { assert!(JOBS == 64, "`active` has one bit a job") };
        Self {
            running: Vec::new(),
            places: vec![JobPlace::default(); JOBS],
            active: 0,
            live: Arc::default(),
            lingering: None,
            backlog: VecDeque::new(),
        }
    }

    /// How many jobs are pending.
    pub(crate) fn count(&self) -> usize {
        self.active.count_ones() as usize + self.backlog.len()
    }

    /// Whether jobs wait for a place on the board.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The running job in a place.
    pub(crate) fn get(&mut self, job: u32) -> Option<&mut Running> {
        self.running.get_mut(job as usize)?.as_mut()
    }

    /// The same, to be looked at.
    pub(super) fn running(&self, job: u32) -> Option<&Running> {
        self.running.get(job as usize)?.as_ref()
    }

    fn seat(&mut self, job: u32, running: Running) {
        let index = job as usize;
        if self.running.len() <= index {
            self.running.resize_with(index + 1, || None);
        }
        self.running[index] = Some(running);
        self.set_active(self.active | 1 << job);
    }

    /// Elements done and in all, of exactly this job.
    pub(crate) fn progress(
        &self,
        control: &Control,
        job: u32,
        generation: u32,
    ) -> Option<(u64, u64)> {
        let running = self.running.get(job as usize)?.as_ref()?;
        if running.posted.generation() != generation {
            return None;
        }
        let done = running.inquiry.done() + running.done(control);
        Some((done, running.launch.chunking.len()))
    }

    /// The elements of a chunk of exactly this job; the numbers may be any.
    pub(crate) fn elements(&self, job: u32, generation: u32, chunk: u32) -> Option<Range<u64>> {
        let running = self.running.get(job as usize)?.as_ref()?;
        let posted = &running.posted;
        let is_there = posted.generation() == generation && chunk < posted.chunks();
        is_there.then(|| running.range(chunk))
    }

    /// One bit a running job, to be looked at without the hub's lock.
    pub(crate) fn live(&self) -> &Arc<AtomicU64> {
        &self.live
    }

    fn set_active(&mut self, active: u64) {
        self.active = active;
        // ORDERING: Relaxed; a hint for those who spin.
        self.live.store(active, Ordering::Relaxed);
    }

    /// Closes the place of a job that was taken off the books, now or when the next one is posted.
    pub(super) fn close(&mut self, control: &Control, posted: Posted) {
        match self.active {
            0 => self.lingering = Some(posted),
            _ => control.board().close(posted),
        }
    }

    /// Closes the place that was left open, if there is one.
    pub(super) fn close_lingering(&mut self, control: &Control) {
        if let Some(posted) = self.lingering.take() {
            control.board().close(posted);
        }
    }

    /// What the header of a place must say.
    pub(crate) fn known(&self, job: u32) -> Known {
        let JobPlace { generation, epoch } = self.places[job as usize];
        let running = self.running(job);
        Known {
            generation,
            epoch,
            chunks: running.map(|running| running.posted.chunks()),
        }
    }

    /// Notes that workers are called back to a place; to be told them, too.
    pub(crate) fn call_back(&mut self, job: u32) {
        self.places[job as usize].epoch += 1;
    }

    /// The open bits as they must be.
    pub(crate) fn open_bits(&self) -> u64 {
        self.active
    }

    /// The numbers of the running jobs.
    pub(crate) fn active(&self) -> impl Iterator<Item = u32> + use<> {
        let mut left = self.active;
        core::iter::from_fn(move || {
            let job = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(job)
        })
    }

    /// Removes a job from the books.
    pub(crate) fn remove(&mut self, job: u32) -> Option<Running> {
        self.set_active(self.active & !(1 << job));
        self.running.get_mut(job as usize)?.take()
    }

    /// Puts a job behind those that wait.
    pub(crate) fn wait_in_line(&mut self, launch: Launch, entry: Arc<JobEntry>) {
        self.backlog.push_back((launch, entry));
    }

    /// Takes everything that waits.
    pub(crate) fn take_backlog(&mut self) -> VecDeque<(Launch, Arc<JobEntry>)> {
        std::mem::take(&mut self.backlog)
    }
}

impl Hub {
    /// Posts a job, or lets it wait while the board is full.
    pub(crate) fn launch(&mut self, control: &Control, mut launch: Launch, entry: &Arc<JobEntry>) {
        if let Some(error) = &self.closed {
            let outcome = JobOutcome::failed(error.clone(), launch.keep);
            self.aftermath.discarded.push(Box::new(launch.caller));
            self.settle_job(Arc::clone(entry), outcome);
            return;
        }
        if let Some((end, _)) = launch.terms.deadline {
            self.look_at(end);
        }
        control.callers().note_submitter(cpu::current());
        if !self.jobs.has_backlog() && self.has_place() {
            self.post(control, launch, Arc::clone(entry), Inquiry::default());
            return;
        }
        // It is posted when its caller may be asleep, and cannot see to it that the work is shared
        // out.
        launch.large = true;
        entry.set_place(Place::Backlog);
        self.jobs.wait_in_line(launch, Arc::clone(entry));
        self.post_waiting(control);
    }

    /// Posts waiting jobs while the board has places.
    pub(super) fn post_waiting(&mut self, control: &Control) {
        while self.jobs.has_backlog() && self.has_place() {
            let Some((launch, entry)) = self.jobs.backlog.pop_front() else {
                return;
            };
            if entry.is_ready() {
                continue;
            }
            self.post(control, launch, entry, Inquiry::default());
            // Its caller may be asleep.
            self.watch_reserve();
        }
    }

    /// Whether a job could be posted now.
    fn has_place(&mut self) -> bool {
        self.room.place(self.jobs.active).is_some()
    }

    /// Posts a round of a job on a board that has a place.
    pub(super) fn post(
        &mut self,
        control: &Control,
        mut launch: Launch,
        entry: Arc<JobEntry>,
        inquiry: Inquiry,
    ) {
        let place = self.room.place(self.jobs.active);
        let board = control.board();
        let Some((job, body)) = place.and_then(|job| Some((job, control.job_body(job)?))) else {
            return;
        };
        match &self.jobs.lingering {
            Some(last) if last.job() == job => self.jobs.lingering = None,
            _ => self.jobs.close_lingering(control),
        }
        let generation = self.jobs.places[job as usize].generation.wrapping_add(1);
        if !inquiry.is_first_round() {
            // What its caller did is done, and the rest is the workers'.
            launch.unshare();
        }
        let helped = launch.job.helped;
        let measured = inquiry.is_first_round() && Paces::matters(&launch) && !helped;
        let kernel = launch.job.kernel;
        launch.job.trial = measured && self.paces.is_short(kernel, launch.chunking.len());
        if measured && !launch.job.trial {
            launch.chunking = self.paces.cut(kernel, launch.chunking, control.workers());
        }
        body.store(&launch.job);
        let mut chunks = 0;
        let mut set = |start, len| {
            board.set_chunk(job, chunks, start, len);
            chunks += 1;
        };
        if inquiry.is_first_round() {
            launch
                .cut()
                .chunks()
                .for_each(|(start, len)| set(start, len));
        } else {
            let ranges = inquiry.ranges().iter();
            ranges.for_each(|range| set(range.start, range.end - range.start));
        }
        entry.set_place(Place::Job { job, generation });
        if let Some(caller) = &mut launch.caller {
            let chunk = 0;
            caller.begin(Work::Chunk {
                job,
                generation,
                chunk,
            });
        }
        let posted = board.post_from(job, generation, chunks, launch.begun());
        // A small job is left to a worker that is awake. If it turns out to be costly it is shared
        // out: by that worker, or by whoever waits for it (`share_out`).
        let is_long = (measured || helped) && self.paces.is_long(kernel, launch.chunking.len());
        let large = launch.large || is_long || !inquiry.is_first_round();
        let mut turnout = Turnout::default();
        if large {
            let wanted = launch.peers().map_or(chunks, |peers| peers.min(chunks));
            let crew = self.reserve.call(&mut turnout, wanted);
            self.wake_workers(crew);
        }
        // A caller that helps is at it, and calls more when it sees that it takes time.
        let is_begun = helped && self.paces.knows(kernel) && (chunks > 1 || launch.begun() > 0);
        self.aftermath.needs_one |= !(large || is_begun);
        if !helped && (large || measured && self.paces.is_shared(kernel, launch.chunking.len())) {
            entry.share();
        }
        self.calls += 1;
        if launch.terms.element_limit.is_some() {
            self.look_at(clock::now());
        }
        let trial = launch.job.trial;
        let deaths = HashMap::new();
        let faults = Vec::new();
        let running = Running {
            entry,
            posted,
            launch,
            deaths,
            faults,
            cancelled: None,
            end: NEVER,
            inquiry,
            // A trial tells its pace itself.
            posted_at: match measured && !trial || helped {
                true => clock::now(),
                false => 0,
            },
            pulses: Vec::new(),
            overrun: Vec::new(),
            turnout,
        };
        self.jobs.places[job as usize].generation = generation;
        self.jobs.call_back(job);
        self.jobs.seat(job, running);
        self.settle_begun(control, job);
    }

    /// Gives up a job: no further chunk is begun. Its outcome comes once the chunks that are
    /// being worked on have ended; with a time of `grace`, workers still at it then are killed.
    pub(crate) fn cancel_job(
        &mut self,
        control: &Control,
        entry: &JobEntry,
        error: TaskError,
        grace: Option<Duration>,
    ) {
        match entry.place() {
            Place::Nowhere | Place::Slot { .. } => {}
            Place::Backlog => {
                let waiting = self.jobs.backlog.iter();
                let found = waiting
                    .enumerate()
                    .find(|(_, (_, other))| core::ptr::eq(&**other, entry));
                let Some((index, _)) = found else { return };
                let Some((launch, entry)) = self.jobs.backlog.remove(index) else {
                    return;
                };
                self.settle_job(entry, JobOutcome::failed(error, launch.keep));
            }
            Place::Job { job, generation } => {
                let Some(running) = self.jobs.get(job) else {
                    return;
                };
                if running.posted.generation() == generation {
                    running.cancelled.get_or_insert(error);
                    control.board().cancel(&running.posted);
                    if let Some(grace) = grace {
                        let end = clock::after(clock::now(), grace).min(running.end);
                        running.end = end;
                        self.look_at(end);
                    }
                    self.finish_if_settled(control, job);
                }
            }
        }
    }
}
