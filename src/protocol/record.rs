//! What a worker says of itself, and what it is told before it starts.

use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::protocol::range::Span;
use crate::protocol::settings::Setting;

/// One worker's public face: 64 bytes, written by the worker, and by the parent before it starts.
///
/// ```text
/// 0        8        16    20 .. 64
/// | status | report | load | reserved
/// |        | offset |      |
/// ```
#[repr(C, align(64))]
pub(crate) struct WorkerRecord {
    pub(crate) status: AtomicU64,
    /// Of the panic that ended its set-up.
    pub(crate) report: AtomicU64,
    /// How many futures it polls, or all ones when it takes no task: a hint. Such by the parent
    /// too, when there is no worker.
    pub(crate) load: AtomicU32,
    reserved: [AtomicU32; 11],
}

const _: () = assert!(size_of::<WorkerRecord>() == 64);

/// What one worker is told while it lives: 8 bytes, by the parent at any time, on pages that
/// workers map read-only.
///
/// ```text
/// 0       4       8
/// | order | asked |
/// ```
#[repr(C)]
pub(crate) struct Orders {
    /// An [`Order`]; what a worker that waits for its turn sleeps on.
    pub(crate) order: AtomicU32,
    /// Changes when the parent wants a future to be dropped.
    pub(crate) asked: AtomicU32,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Orders>() == 8);

/// What the parent wants of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Order {
    /// To take work.
    Serve,
    /// To wait, ready, until it is told to serve.
    Wait,
    /// To finish what it is at, take no more, and end.
    Retire,
}

impl Orders {
    /// What the parent wants.
    pub(crate) fn order(&self) -> Order {
        // ORDERING: Acquire; pairs with the Release in `give`. Nothing hangs on it but that a
        // worker does not serve before the parent has done with the one before it.
        match self.order.load(Ordering::Acquire) {
            1 => Order::Wait,
            2 => Order::Retire,
            _ => Order::Serve,
        }
    }

    /// Tells the worker what it is to do, by the parent, who then wakes it.
    pub(crate) fn give(&self, order: Order) {
        // ORDERING: Release; pairs with the Acquire in `order`. A read-modify-write, so that a
        // fence may follow.
        self.order.swap(order as u32, Ordering::Release);
    }
}

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
    /// As ready, and close to the last task that it may take: a successor should be there soon.
    Waning,
    /// As ready, and larger than it may be: to be told to retire when a successor is there.
    Overgrown,
    /// It takes no more work; futures that it has begun go on.
    Spent,
    /// It has nothing left, and is about to end.
    Ending,
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
            Self::Waning => 5,
            Self::Overgrown => 6,
            Self::Spent => 7,
            Self::Ending => 8,
            Self::Unsettled(setting, errno) => (UNSETTLED + setting as u64) | (errno as u64) << 16,
        };
        code << 16 | incarnation as u64
    }

    /// Whether a worker that says so has begun its service.
    pub(crate) const fn has_begun(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Waning | Self::Overgrown | Self::Spent | Self::Ending
        )
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
            5 => Self::Waning,
            6 => Self::Overgrown,
            7 => Self::Spent,
            8 => Self::Ending,
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
            Status::Waning,
            Status::Overgrown,
            Status::Spent,
            Status::Ending,
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
