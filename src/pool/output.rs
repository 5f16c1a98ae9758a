//! What workers print, by line, between the supervisor, which reads, and whoever wants to know.
//!
//! # Invariants
//! - The supervisor never waits for a reader: what finds no room displaces the oldest, and the next
//!   line that is handed out says how many are missing. So no worker waits for a reader either.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::pool::Pool;

/// The longest line that is handed out in one piece.
const LONGEST: usize = 8 << 10;

/// Where a worker wrote a line to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLine {
    /// The worker's process.
    pub pid: u32,
    /// Its place in the pool.
    pub worker: usize,
    /// Where it wrote to.
    pub stream: OutputStream,
    /// The line without its end; what is not UTF-8 is replaced.
    pub text: String,
    /// Whether it ended with a newline. If not, it goes on in the next one of the same worker and
    /// stream, for it is longer than 8 KiB; or the worker ended in the middle of it.
    pub is_whole: bool,
    /// How many lines before this one were dropped because nobody took them in time.
    pub missed: u64,
}

/// What was read and not taken yet.
#[derive(Debug)]
pub(crate) struct Lines {
    state: Mutex<State>,
    /// For readers that block.
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<WorkerLine>,
    missed: u64,
    ended: bool,
    wakers: Vec<Waker>,
}

impl Lines {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Adds a line; one that nobody has taken gives way.
    fn push(&self, line: WorkerLine) {
        let mut state = self.lock();
        if state.lines.len() >= self.capacity {
            let dropped = state.lines.pop_front();
            state.missed += 1 + dropped.map_or(0, |line| line.missed);
        }
        state.lines.push_back(line);
        self.tell(state);
    }

    /// Says that no more lines will come.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let wakers = core::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way, so a poisoned lock guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest line; `Some(None)` when there will be none any more.
    fn take(&mut self) -> Option<Option<WorkerLine>> {
        match self.lines.pop_front() {
            Some(mut line) => {
                line.missed += core::mem::take(&mut self.missed);
                Some(Some(line))
            }
            None => self.ended.then_some(None),
        }
    }
}

/// Makes lines of one stream's bytes.
#[derive(Debug)]
pub(crate) struct Cutter {
    worker: usize,
    stream: OutputStream,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Cutter {
    pub(crate) fn new(worker: usize, stream: OutputStream) -> Self {
        Self {
            worker,
            stream,
            begun: Vec::new(),
        }
    }

    /// Takes up what was read of a process.
    pub(crate) fn feed(&mut self, pid: u32, bytes: &[u8], lines: &Lines) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            let mut text = piece.strip_suffix(b"\n").unwrap_or(piece);
            while self.begun.len() + text.len() > LONGEST {
                let (now, later) = text.split_at(LONGEST - self.begun.len());
                self.begun.extend_from_slice(now);
                self.hand_out(pid, false, lines);
                text = later;
            }
            self.begun.extend_from_slice(text);
            if is_whole {
                self.hand_out(pid, true, lines);
            }
        }
    }

    /// Hands out what was begun and will not be ended.
    pub(crate) fn finish(&mut self, pid: u32, lines: &Lines) {
        if !self.begun.is_empty() {
            self.hand_out(pid, false, lines);
        }
    }

    fn hand_out(&mut self, pid: u32, is_whole: bool, lines: &Lines) {
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        lines.push(WorkerLine {
            pid,
            worker: self.worker,
            stream: self.stream,
            text,
            is_whole,
            missed: 0,
        });
    }
}

/// The lines that workers print: an iterator that blocks, and a stream.
///
/// From [`Pool::output_lines`]. It ends when the workers have ended for good and everything was
/// taken. Several of one pool share the lines: each goes to one of them.
///
/// # Cancel safety
/// Dropping a future that waits for the next line takes none.
pub struct OutputLines(Option<Arc<Lines>>);

impl OutputLines {
    /// The next line if there is one already. Does not block.
    pub fn try_next(&mut self) -> Option<WorkerLine> {
        self.0.as_ref()?.lock().take().flatten()
    }

    /// Blocks until there is a line, there will be none any more, or the time is up.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<WorkerLine> {
        // A timeout beyond what the clock can express is none.
        self.block(Instant::now().checked_add(timeout))
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<WorkerLine> {
        let lines = self.0.as_ref()?;
        let mut state = lines.lock();
        loop {
            if let Some(taken) = state.take() {
                return taken;
            }
            state = match deadline {
                None => lines
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = lines.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Iterator for OutputLines {
    type Item = WorkerLine;

    /// Blocks until there is a line, or there will be none any more.
    fn next(&mut self) -> Option<WorkerLine> {
        self.block(None)
    }
}

impl Stream for OutputLines {
    type Item = WorkerLine;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WorkerLine>> {
        let Some(lines) = &self.0 else {
            return Poll::Ready(None);
        };
        let mut state = lines.lock();
        match state.take() {
            Some(taken) => Poll::Ready(taken),
            None => {
                let waker = context.waker();
                if !state.wakers.iter().any(|other| other.will_wake(waker)) {
                    state.wakers.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for OutputLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputLines")
            .field("is_captured", &self.0.is_some())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// What the workers print from now on, and what they have printed and nobody has taken: by
    /// line, with process and stream.
    ///
    /// Without [`Builder::capture_output`](crate::Builder::capture_output) it is empty: then
    /// workers print where this process does.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::builder().capture_output(1000).build()?;
    /// let mut lines = pool.output_lines();
    /// pool.spawn((), |()| println!("hello"))?.wait()?;
    /// let line = lines.next().expect("a worker has printed one");
    /// assert_eq!(line.text, "hello");
    /// assert!(pool.worker_pids().contains(&line.pid));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[must_use]
    pub fn output_lines(&self) -> OutputLines {
        OutputLines(match self.engine().check_process() {
            Ok(()) => self.engine().output().cloned(),
            // The lines are the parent's, and nobody here would ever add one.
            Err(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let lines = Lines::new(100);
        let mut cutter = Cutter::new(0, OutputStream::Stdout);
        pieces
            .iter()
            .for_each(|piece| cutter.feed(1, piece, &lines));
        cutter.finish(1, &lines);
        lines.end();
        OutputLines(Some(Arc::new(lines)))
            .map(|line| (line.text, line.is_whole))
            .collect()
    }

    #[test]
    fn bytes_are_cut_at_newlines_however_they_come() {
        let whole = |text: &str| (text.to_owned(), true);
        let lines = [whole("ab"), whole(""), whole("c"), ("d".to_owned(), false)];
        assert_eq!(cut(&[b"ab\n\nc\nd"]), lines);
        assert_eq!(cut(&[b"a", b"b", b"\n\n", b"c\n", b"d", b""]), lines);
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[b"\xff\n"]), [whole("\u{fffd}")]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_of_it_is_lost() {
        for size in [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST + 7] {
            let text: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
            let lines = cut(&[&text, b"\n"]);
            let joined: String = lines.iter().map(|(text, _)| &**text).collect();
            assert_eq!(joined.as_bytes(), text);
            assert!(lines.iter().all(|(text, _)| text.len() <= LONGEST));
            let whole: Vec<bool> = lines.iter().map(|&(_, whole)| whole).collect();
            assert_eq!(whole.iter().filter(|&&whole| whole).count(), 1, "{size}");
            assert_eq!(whole.last(), Some(&true));
        }
    }

    #[test]
    fn the_oldest_lines_give_way_and_are_counted() {
        let lines = Arc::new(Lines::new(2));
        let mut cutter = Cutter::new(0, OutputStream::Stderr);
        cutter.feed(1, b"1\n2\n3\n4\n5\n", &lines);
        let mut reader = OutputLines(Some(Arc::clone(&lines)));
        let line = reader.try_next().unwrap();
        assert_eq!((&*line.text, line.missed), ("4", 3));
        cutter.feed(1, b"6\n", &lines);
        let line = reader.try_next().unwrap();
        assert_eq!((&*line.text, line.missed), ("5", 0));
        assert_eq!(reader.try_next().unwrap().text, "6");
        assert_eq!(reader.try_next(), None);
        assert_eq!(reader.next_timeout(Duration::ZERO), None);
        lines.end();
        assert_eq!(reader.next(), None);
    }
}
