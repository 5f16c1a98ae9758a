//! How workers begin that are not started anew: what a server is asked and answers, and where a
//! forked process finds the worker in itself.
//!
//! ```text
//! request   0        2              4          8
//!           | index  | incarnation  | 0        |
//! answer    0        2              4          8
//!           | index  | incarnation  | pid, or minus the kernel's error: i32 |
//! ```
//!
//! Both over a stream socket: the server says that it is ready, then there is one answer to each
//! request. A pid is told by the worker itself, before
//! it does anything else; an error by the server.

use std::sync::OnceLock;

use crate::protocol::token::Handover;

/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 8;

/// Which worker is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) index: u16,
    pub(crate) incarnation: u16,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) request: Request,
    /// The worker's process, or the kernel's error.
    pub(crate) outcome: Result<i32, i32>,
}

/// What the server says before it can be asked; no worker is called so.
pub(crate) const READY: Answer = Answer {
    request: Request {
        index: u16::MAX,
        incarnation: u16::MAX,
    },
    outcome: Ok(1),
};

fn message(request: Request, value: i32) -> [u8; MESSAGE_BYTES] {
    let bytes = u64::from(request.index)
        | u64::from(request.incarnation) << 16
        | u64::from(value as u32) << 32;
    bytes.to_le_bytes()
}

fn parts(bytes: [u8; MESSAGE_BYTES]) -> (Request, i32) {
    let bits = u64::from_le_bytes(bytes);
    let request = Request {
        index: bits as u16,
        incarnation: (bits >> 16) as u16,
    };
    (request, (bits >> 32) as i32)
}

impl Request {
    pub(crate) fn to_bytes(self) -> [u8; MESSAGE_BYTES] {
        message(self, 0)
    }

    pub(crate) fn from_bytes(bytes: [u8; MESSAGE_BYTES]) -> Self {
        parts(bytes).0
    }
}

impl Answer {
    pub(crate) fn to_bytes(self) -> [u8; MESSAGE_BYTES] {
        let value = self.outcome.unwrap_or_else(|errno| -errno);
        message(self.request, value)
    }

    pub(crate) fn from_bytes(bytes: [u8; MESSAGE_BYTES]) -> Self {
        let (request, value) = parts(bytes);
        let outcome = match value {
            1.. => Ok(value),
            _ => Err(value.saturating_neg()),
        };
        Self { request, outcome }
    }
}

/// Lives as a worker, and gives its exit code.
pub(crate) type Live = fn(Handover) -> i32;

static WORKER: OnceLock<Live> = OnceLock::new();

/// Notes what a process becomes that is forked to be a worker; by the hook.
pub(crate) fn register_worker(live: Live) {
    WORKER.get_or_init(|| live);
}

/// What a process becomes that was forked to be a worker; `None` if the hook never ran.
pub(crate) fn worker() -> Option<Live> {
    WORKER.get().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(index: u16, incarnation: u16, pid in 1..i32::MAX) {
            let request = Request { index, incarnation };
            prop_assert_eq!(Request::from_bytes(request.to_bytes()), request);
            for outcome in [Ok(pid), Err(pid)] {
                let answer = Answer { request, outcome };
                prop_assert_eq!(Answer::from_bytes(answer.to_bytes()), answer);
            }
        }

        #[test]
        fn any_bytes_are_an_answer(bits: u64) {
            let answer = Answer::from_bytes(bits.to_le_bytes());
            prop_assert!(answer.outcome.is_ok_and(|pid| pid > 0) || answer.outcome.is_err());
        }
    }
}
