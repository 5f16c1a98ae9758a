//! What a status says, and where the blocks beside slots lie.

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

#[test]
fn inline_blocks_lie_inside_the_control_area() {
    for slot in [0, 1, SLOTS as u32 - 1, u32::MAX] {
        let offset = Control::inline_offset(slot);
        assert_eq!(offset % 64, 0);
        assert!(offset as usize + INLINE_SIZE <= CONTROL_SIZE);
    }
}
