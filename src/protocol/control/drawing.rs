//! The control area as `docs/protocol.md` draws it, and the number by which two builds know that
//! they draw it alike.

use core::mem::{offset_of, size_of};

use super::{CONTROL_SIZE, Control, Identity, SLOTS, WRITABLE};
use crate::primitive::atomic::AtomicU64;
use crate::protocol::reply::ReplyBlock;
use crate::protocol::task::TaskBody;

const _: () = {
    assert!(size_of::<Identity>() == 4096);
    assert!(offset_of!(Identity, layout) == 8);
    assert!(offset_of!(Identity, region_size) == 16);
    assert!(offset_of!(Identity, image) == 24);
    assert!(offset_of!(Control, read_only.doorbell) == 0x1000);
    assert!(offset_of!(Control, read_only.open_jobs) == 0x1040);
    assert!(offset_of!(Control, read_only.workers) == 0x1080);
    assert!(offset_of!(Control, read_only.callers) == 0x10c0);
    assert!(offset_of!(Control, read_only.settings) == 0x1100);
    assert!(offset_of!(Control, read_only.arenas) == 0x1200);
    assert!(offset_of!(Control, read_only.fronts) == 0x5200);
    assert!(offset_of!(Control, read_only.bodies) == 0x6200);
    assert!(offset_of!(Control, read_only.ranges) == 0x8200);
    assert!(offset_of!(Control, read_only.tasks) == 0x108200);
    assert!(offset_of!(Control, read_only.queues) == 0x1c8200);
    assert!(offset_of!(Control, read_only.life) == 0x1c8240);
    assert!(offset_of!(Control, read_only.orders) == 0x1c82c0);
    assert!(offset_of!(Control, read_only.cancels) == 0x1ca2c0);
    assert!(size_of::<[AtomicU64; SLOTS]>() == 0x8000);
    assert!(offset_of!(Control, writable) == 0x200000);
    assert!(offset_of!(Control, writable.spinning) == 0x200000);
    assert!(offset_of!(Control, writable.parked) == 0x200080);
    assert!(offset_of!(Control, writable.parks) == 0x200100);
    assert!(offset_of!(Control, writable.records) == 0x210100);
    assert!(offset_of!(Control, writable.ring) == 0x220100);
    assert!(offset_of!(Control, writable.cells) == 0x2201c0);
    assert!(offset_of!(Control, writable.slots) == 0x2301c0);
    assert!(offset_of!(Control, writable.done) == 0x2701c0);
    assert!(offset_of!(Control, writable.counts) == 0x2703c0);
    assert!(offset_of!(Control, writable.chunks) == 0x2723c0);
    assert!(offset_of!(Control, writable.gauges) == 0x3723c0);
    assert!(WRITABLE.start == offset_of!(Control, writable) as u64);
    assert!(offset_of!(Control, writable.sentry) == 0x3823c0);
    assert!(offset_of!(Control, writable.lanes) == 0x382400);
    assert!(CONTROL_SIZE == 14 << 20);
};

/// Changes with anything that would make two builds read each other's bytes wrongly.
pub(super) const LAYOUT: u64 = {
    let facts = [
        size_of::<Control>(),
        offset_of!(Control, read_only.bodies),
        offset_of!(Control, read_only.tasks),
        offset_of!(Control, read_only.cancels),
        offset_of!(Control, writable.ring),
        offset_of!(Control, writable.slots),
        offset_of!(Control, writable.chunks),
        offset_of!(Control, writable.lanes),
        size_of::<TaskBody>(),
        size_of::<ReplyBlock>(),
        size_of::<usize>(),
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < facts.len() {
        hash = (hash ^ facts[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
};
