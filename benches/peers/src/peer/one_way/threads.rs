//! Channels between two threads: what they carry is moved, or a vector of its own.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::peer::one_way::{OneWay, Tally};

/// A receiving thread, and how a message is sent to it.
pub(crate) struct Threads<S> {
    send: S,
    orders: Option<mpsc::Sender<u64>>,
    answers: mpsc::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

/// Two threads; `receive` gives one message to look at.
pub(crate) fn threads<S, M>(
    send: S,
    mut receive: impl FnMut() -> Option<M> + Send + 'static,
) -> Threads<S>
where
    S: FnMut(&[u64]) -> Option<()>,
    M: AsRef<[u64]>,
{
    let (orders, given) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let thread = thread::spawn(move || {
        for count in given {
            let mut tally = Tally::default();
            if answer.send(0).is_err() {
                return;
            }
            for _ in 0..count {
                let Some(message) = receive() else { return };
                tally.look(message.as_ref());
            }
            if answer.send(tally.right()).is_err() {
                return;
            }
        }
    });
    Threads {
        send,
        orders: Some(orders),
        answers,
        thread: Some(thread),
    }
}

impl<S: FnMut(&[u64]) -> Option<()>> OneWay for Threads<S> {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.orders.as_ref()?.send(count).ok()?;
        (self.answers.recv().ok()? == 0).then_some(())
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        (self.send)(message)
    }

    fn end(&mut self) -> Option<u64> {
        self.answers.recv().ok()
    }
}

impl<S> Drop for Threads<S> {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // If it failed, its answers were wrong.
            let _ = thread.join();
        }
    }
}
