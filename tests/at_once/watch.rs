//! Until all is over; whoever waits for what nobody is left to do is helped, and nobody else.

use std::time::Instant;

use gristmill::Process;

use super::log::{Call, Log, PATIENCE, PROCESSES};

/// Where one process is: `None`, it has played all that it was to play; else at this call.
pub(crate) type Stand<A> = Option<Call<(A, u64)>>;

/// Waits for the processes, and calls `help` when each is over or at a call, and nothing has
/// happened while that was looked at. It says whether those calls wait for what nobody will do, and
/// if so does it; then they must go on. A call that goes on and on without help waits in vain.
pub(crate) fn watch<A: Copy + std::fmt::Debug>(
    log: &Log,
    processes: &[Process; PROCESSES],
    plays: &[Vec<u8>; PROCESSES],
    table: &[A],
    mut help: impl FnMut(&[Call<(A, u64)>], &dyn Fn() -> bool) -> bool,
) {
    let mut last = (Instant::now(), log.now());
    loop {
        let now = log.now();
        let is_still = || log.now() == now;
        let stands: [Option<Stand<A>>; PROCESSES] = std::array::from_fn(|who| {
            let mut calls = log.calls(who, table, &plays[who]);
            let begun = calls.len();
            match calls.pop() {
                Some(call) if !call.has_ended() => Some(Some(call)),
                Some(_) if begun == plays[who].len() => Some(None),
                _ => None,
            }
        });
        let at: Vec<_> = stands.iter().flatten().flatten().copied().collect();
        let between = stands.iter().any(Option::is_none);
        if at.is_empty() && !between {
            break;
        }
        if now != last.1 {
            last = (Instant::now(), now);
        }
        let helped = !between && is_still() && help(&at, &is_still);
        if !helped {
            let all = || [0, 1, 2].map(|who: usize| log.calls(who, table, &plays[who]));
            let patient = last.0.elapsed() < PATIENCE;
            assert!(patient, "in vain: {at:?} of {:#?}", all());
            std::thread::yield_now();
        }
    }
    for process in processes {
        process.wait().unwrap();
    }
}
