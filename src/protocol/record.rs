//! What a worker says of itself, and what it is told before it starts.

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::range::Span;
use crate::protocol::settings::Setting;

/// One worker's public face: 64 bytes, written by the worker, and by the parent before it starts.
///
/// ```text
/// 0        8        16 .. 64
/// | status | report | reserved
/// |        | offset |
/// ```
#[repr(C, align(64))]
pub(crate) struct WorkerRecord {
    pub(crate) status: AtomicU64,
    /// Of the panic that ended its set-up.
    pub(crate) report: AtomicU64,
    reserved: [AtomicU64; 6],
}

const _: () = assert!(size_of::<WorkerRecord>() == 64);

/// Where a worker's arena is; written by the parent before the worker starts.
#[repr(C)]
pub(crate) struct ArenaPlace {
    offset: AtomicU64,
    size: AtomicU64,
}

impl ArenaPlace {
    /// Assigns an arena to the worker that is to be started.
    pub(crate) fn set(&self, arena: Span) {
        // ORDERING: Relaxed; creating the process orders everything before it.
        self.offset.store(arena.offset, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        self.size.store(arena.size, Ordering::Relaxed);
    }

    /// The arena that was assigned to this worker.
    pub(crate) fn get(&self) -> Span {
        // ORDERING: Relaxed; the parent wrote both before it created this process.
        let [offset, size] = [&self.offset, &self.size].map(|word| word.load(Ordering::Relaxed));
        Span { offset, size }
    }
}

/// Where a worker is in its life, with the incarnation it speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not heard from yet.
    Starting,
    /// Attached, verified, taking work.
    Ready,
    /// It refused the handshake, with the reason.
    Refused(Refusal),
    /// It could not apply a setting; the kernel's reason, or 0 and a report.
    Unsettled(Setting, u16),
}

/// Why a worker refused to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The shared memory does not begin with our magic number.
    #[error("the shared memory it was given is no pool's")]
    Magic,
    /// The control area is laid out differently: another version of the crate.
    #[error("it lays out shared memory differently")]
    Layout,
    /// The parent runs another executable.
    #[error("it runs another executable")]
    Image,
}

/// Codes of settings begin here.
const UNSETTLED: u64 = 16;

impl Status {
    pub(crate) const fn to_bits(self, incarnation: u16) -> u64 {
        let code = match self {
            Self::Starting => 0,
            Self::Ready => 1,
            Self::Refused(Refusal::Magic) => 2,
            Self::Refused(Refusal::Layout) => 3,
            Self::Refused(Refusal::Image) => 4,
            Self::Unsettled(setting, errno) => (UNSETTLED + setting as u64) | (errno as u64) << 16,
        };
        code << 16 | incarnation as u64
    }

    /// What the bits say of this incarnation; bits of another one, or nonsense, say nothing yet.
    pub(crate) fn from_bits(bits: u64, incarnation: u16) -> Self {
        if bits as u16 != incarnation {
            return Self::Starting;
        }
        match bits >> 16 {
            1 => Self::Ready,
            2 => Self::Refused(Refusal::Magic),
            3 => Self::Refused(Refusal::Layout),
            4 => Self::Refused(Refusal::Image),
            other => {
                let setting = (other & 0xffff).wrapping_sub(UNSETTLED) as usize;
                match (Setting::ALL.get(setting), other >> 16) {
                    (Some(&setting), errno @ 0..=0xffff) => Self::Unsettled(setting, errno as u16),
                    _ => Self::Starting,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_speaks_for_one_incarnation_only() {
        for status in [
            Status::Ready,
            Status::Refused(Refusal::Magic),
            Status::Refused(Refusal::Layout),
            Status::Refused(Refusal::Image),
            Status::Unsettled(Setting::Memory, 0),
            Status::Unsettled(Setting::Setup, u16::MAX),
        ] {
            let bits = status.to_bits(7);
            assert_eq!(Status::from_bits(bits, 7), status);
            assert_eq!(Status::from_bits(bits, 8), Status::Starting);
        }
        assert_eq!(Status::from_bits(u64::MAX, u16::MAX), Status::Starting);
    }
}
