//! Chunks of a range job, from the first claim to the sweep that finds none left.

#![expect(unsafe_code, reason = "calls the kernel that the parent named")]

use core::ops::Range;
use std::time::Instant;

use crate::board::{Completion, Joined, Outcome};
use crate::primitive::atomic::Ordering;
use crate::protocol::gauge::Work;
use crate::protocol::panic::PanicReport;
use crate::protocol::range::{Beat, RangeCall, RangeJob, Trial, elements, find_kernel};
use crate::sys::clock;
use crate::worker::error_hook;
use crate::worker::life::Server;

/// Work worth a wake-up: below this a sleeping peer would arrive after the end (25 µs on the
/// machine where it was measured, and its waker pays 6–10 µs).
const WORTH_WAKING_NANOSECONDS: u64 = 50_000;

/// A peer that was woken is up by then, if it has a core: an idle one mostly takes 10 to 40 µs to
/// begin with somebody, and in a virtual machine 120 now and then.
const LONG_WAKING_NANOSECONDS: u64 = 150_000;

/// About how long a batch may take where elements have limits: too short to be noticed, and long
/// compared to saying where it begins.
const BATCH_NANOSECONDS: u64 = 1_000_000;

/// A chunk on trial whose pace makes it longer than this is given back: several times what it was
/// thought to take, and about what it takes to share it out.
const LONG_TRIAL_NANOSECONDS: u64 = 12_000;

/// What the first elements of a trial may cost beyond the others, on lines and pages that are cold
/// after a pause: no sign of long work.
const COLD_NANOSECONDS: u64 = 2_500;

/// The first chunk or two say little about the pace: their pages and lines are cold.
const WORTH_JUDGING_NANOSECONDS: u64 = 10_000;

/// Runs chunks of the job until none is left unclaimed; whether there was any.
pub(crate) fn run(server: &mut Server<'_>, joined: Joined) -> bool {
    let board = server.control.board();
    board.prefetch(joined);
    if let Some(body) = server.control.job_body(joined.job) {
        body.prefetch();
    }
    let began = clock::ticks();
    let mut prepared: Option<RangeJob> = None;
    let mut woken = false;
    let mut done = 0_u32;
    while !server.tenure.is_dismissed()
        && let Some(chunk) = board.claim(&mut server.seen, joined, server.me)
    {
        // The claim pins the job, so its body may be read now and stays valid for later chunks
        // of the same generation.
        let job = match prepared {
            Some(job) => job,
            None => {
                let control = server.control;
                // Whether this job needs more workers, its own pace will tell.
                let Server { idle, rounds, .. } = &mut *server;
                idle.claimed(|| rounds.see_more(control, board.has_others(joined)));
                idle.share(!board.is_single(joined));
                let Some(body) = control.job_body(joined.job) else {
                    return true;
                };
                // One share in a job counts as one task, however many chunks it is.
                server.tenure.count();
                #[cfg(feature = "tokio")]
                server.futures.be_busy();
                let job = body.load();
                server.privilege.admit(job.output);
                server.arena.get_mut().seal();
                *prepared.insert(job)
            }
        };
        server.begin(Work::Chunk {
            job: joined.job,
            generation: joined.generation,
            chunk,
        });
        let outcome = match perform(server, joined, &job, chunk, began) {
            Ok(()) => Outcome::Done,
            Err(report) => {
                error_hook::notify(|| (*report).clone().into());
                let place = server
                    .arena
                    .get_mut()
                    .write_report(&report)
                    .unwrap_or_default();
                // ORDERING: Relaxed; `complete` releases it with the chunk's word.
                board
                    .chunk(joined.job, chunk)
                    .detail()
                    .store(place.offset, Ordering::Relaxed);
                Outcome::Failed
            }
        };
        if outcome == Outcome::Failed && job.fail_fast {
            board.give_up(joined);
        }
        server.gauge.count_chunk();
        if board.tally(joined.job).1 <= 1 {
            server.idle.finishing(|| false);
        }
        match board.complete(joined, server.me, chunk, outcome) {
            Completion::Last => server.bell.ring(),
            // The clock costs as much as a small chunk: it is read after 1, 2, 4, 8 … of them.
            Completion::More if (done + 1).is_power_of_two() => {
                if server.tempo.elapsed(began) > LONG_WAKING_NANOSECONDS {
                    server.idle.make_room();
                }
                // A caller that helps sees to that.
                woken = woken || job.helped || wake_if_worth_it(server, joined, began);
            }
            Completion::More | Completion::Lost => {}
        }
        done += 1;
        server.tenure.take_stock();
    }
    #[cfg(feature = "tokio")]
    if prepared.is_some() {
        server.guard_from_futures();
        server.futures.be_free();
    }
    prepared.is_some()
}

fn perform(
    server: &mut Server<'_>,
    joined: Joined,
    job: &RangeJob,
    chunk: u32,
    began: u64,
) -> Result<(), Box<PanicReport>> {
    let board = server.control.board();
    let (start, len) = board.range(joined.job, chunk);
    if job.trial {
        let trial = try_out(server, job, chunk, start..start + len, began)?;
        // ORDERING: Relaxed; `complete` releases it with the chunk's word.
        board
            .chunk(joined.job, chunk)
            .detail()
            .store(trial.to_bits(), Ordering::Relaxed);
        return Ok(());
    }
    if job.element_limit == 0 {
        return run_elements(server, job, chunk, start, len);
    }
    let target = (job.element_limit / 16).min(BATCH_NANOSECONDS);
    let (mut done, mut batch) = (0, 1);
    while done < len {
        let size = u64::min(batch, len - done);
        let beat = Beat::new(done, size);
        // ORDERING: Relaxed; a hint for the supervisor.
        board
            .chunk(joined.job, chunk)
            .detail()
            .store(beat.to_bits(), Ordering::Relaxed);
        let began = Instant::now();
        run_elements(server, job, chunk, start + done, size)?;
        done += size;
        let took = began.elapsed().as_nanos() as u64;
        if took > target {
            batch = (batch / 2).max(1);
        } else if took < target / 2 {
            batch = (batch * 2).min(Beat::LONGEST);
        }
    }
    Ok(())
}

/// Runs a chunk that should take no time, in three parts; stops after one of them if it does take
/// time.
fn try_out(
    server: &Server<'_>,
    job: &RangeJob,
    chunk: u32,
    range: Range<u64>,
    began: u64,
) -> Result<Trial, Box<PanicReport>> {
    let len = range.end - range.start;
    let (mut done, mut nanoseconds) = (0, 0);
    for end in [len.div_ceil(8), len.div_ceil(2), len] {
        run_elements(server, job, chunk, range.start + done, end - done)?;
        done = end;
        nanoseconds = server.tempo.elapsed(began).saturating_sub(COLD_NANOSECONDS);
        if nanoseconds.saturating_mul(len) > done * LONG_TRIAL_NANOSECONDS {
            break;
        }
    }
    Ok(Trial {
        done: done as u32,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(u32::MAX),
    })
}

/// Runs the kernel on a range; whoever splits a chunk knows that the kernel allows it.
fn run_elements(
    server: &Server<'_>,
    job: &RangeJob,
    chunk: u32,
    start: u64,
    len: u64,
) -> Result<(), Box<PanicReport>> {
    // SAFETY: the parent wrote an identity made by `kernel_id`, and the handshake has shown that
    // it runs the same image.
    let kernel = unsafe { find_kernel(job.kernel) };
    let call = |call: &RangeCall<'_>| match &kernel {
        Ok(kernel) => kernel(call),
        Err(error) => panic!("{error}"),
    };
    elements::run(call, server.region, job, chunk, start..start + len)
}

/// Wakes a parked peer when the rest of the job, at the pace so far, is worth it.
fn wake_if_worth_it(server: &Server<'_>, joined: Joined, began: u64) -> bool {
    let board = server.control.board();
    let (done, left) = board.tally(joined.job);
    let elapsed = server.tempo.elapsed(began);
    if elapsed < WORTH_JUDGING_NANOSECONDS {
        return false;
    }
    let rest = elapsed / u64::from(done.max(1)) * u64::from(left);
    if rest < WORTH_WAKING_NANOSECONDS {
        return false;
    }
    server.idle.call_for_chunks()
}
