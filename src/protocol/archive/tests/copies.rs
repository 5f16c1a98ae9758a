//! Values that are their archive, which are copied.

use super::*;

/// What is copied is what the serialiser would have written, wherever it lies and if it fits.
fn assert_copied<T: Payload<Archived: Debug + PartialEq> + Debug>(value: &T) {
    for position in 0..40 {
        for capacity in position..=64 {
            let (mut ours, mut theirs) = (Block::new(64), Block::new(64));
            let fit = append(value, &mut theirs.all_mut()[..capacity], position);
            let found = append_copy(value, &mut ours.all_mut()[..capacity], position);
            assert_eq!(
                found.map(Ok),
                Some(fit),
                "{value:?} at {position} of {capacity}"
            );
            if let Some(Fit::Written(end)) = found {
                assert_eq!(ours.all(), theirs.all(), "{value:?} at {position}");
                let bytes = &ours.all()[position..end];
                assert_eq!(find::<T>(bytes), access::<T>(bytes).ok());
                assert!(find::<T>(bytes).is_some());
            }
        }
    }
}

#[test]
fn plain_values_are_copied_as_they_would_be_serialised() {
    assert_copied(&0xA7_u8);
    assert_copied(&0x0123_4567_89AB_CDEF_u64);
    assert_copied(&u128::MAX);
    assert_copied(&-1.5_f32);
    assert_copied(&[1_u16, 2, 3]);
    assert_copied(&true);
    assert_copied(&core::num::NonZero::new(9_u32).unwrap());
    assert_eq!(append_copy(&String::from("x"), &mut [0; 64], 0), None);
    assert_eq!(append_copy(&Some(1_u64), &mut [0; 64], 0), None);
}

#[test]
fn what_is_found_in_plain_bytes_is_checked() {
    let mut block = Block::new(64);
    block.all_mut()[..3].copy_from_slice(&[0, 1, 2]);
    assert_eq!(find::<bool>(&block.all()[..2]), Some(&true));
    assert_eq!(find::<bool>(&block.all()[..3]), None);
    assert_eq!(find::<u64>(&block.all()[1..9]), None);
    assert_eq!(find::<u64>(&block.all()[..7]), None);
    assert_eq!(find::<u64>(&[]), None);
}
