//! `SharedVec` and `SharedSlice`: typed buffers in the region.

mod slice;
mod vec;

pub use slice::SharedSlice;
pub use vec::SharedVec;

use std::fmt;

/// How many elements `Debug` shows of a buffer that may have billions.
const SHOWN: usize = 16;

/// Writes the first elements as a list.
fn debug_elements<T: fmt::Debug>(elements: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = f.debug_list();
    list.entries(elements.iter().take(SHOWN));
    if elements.len() > SHOWN {
        list.finish_non_exhaustive()
    } else {
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use bytemuck::Pod;

    use super::*;
    use crate::memory::heap::{Contents, Heap, HeapLimits};
    use crate::memory::region::Region;

    fn heap() -> Arc<Heap> {
        let region = Arc::new(Region::create(16 << 20).unwrap());
        let limits = HeapLimits {
            budget: 16 << 20,
            keep_warm: 16 << 20,
        };
        let area = 0..region.size();
        Heap::new(region, area, limits).unwrap()
    }

    fn vec_of<T: Pod>(heap: &Arc<Heap>, elements: &[T]) -> SharedVec<T> {
        let block = heap
            .allocate(size_of_val(elements), align_of::<T>(), Contents::Any)
            .unwrap();
        let mut vec = SharedVec::from_block(block, elements.len());
        vec.copy_from_slice(elements);
        vec
    }

    fn assert_send_sync<T: Send + Sync>() {}

    #[test]
    fn handles_may_cross_threads() {
        assert_send_sync::<SharedVec<f64>>();
        assert_send_sync::<SharedSlice<f64>>();
    }

    #[test]
    fn the_last_handle_gives_the_memory_back() {
        let heap = heap();
        let vec = vec_of(&heap, &[1_u64, 2, 3]);
        let offset = vec.offset();
        assert_eq!(heap.stats().in_use, 24);
        let whole = vec.freeze();
        let part = whole.slice(1..);
        assert_eq!((*whole).as_ptr().wrapping_add(1), (*part).as_ptr());
        assert_eq!((whole.offset(), part.offset()), (offset, offset + 8));
        drop(whole);
        assert_eq!(*part, [2, 3]);
        assert_eq!(heap.stats().in_use, 24);
        drop(part);
        assert_eq!(heap.stats().in_use, 0);
    }

    #[test]
    fn slicing_is_that_of_the_standard_library() {
        let elements: Vec<u32> = (0..10).collect();
        let shared = vec_of(&heap(), &elements).freeze();
        for start in 0..12 {
            for end in 0..12 {
                let expected = elements.get(start..end);
                assert_eq!(shared.get_slice(start..end).as_deref(), expected);
                let part = catch_unwind(AssertUnwindSafe(|| shared.slice(start..end)));
                assert_eq!(part.ok().as_deref(), expected);
                assert_eq!(
                    shared.get_slice(start..=end).as_deref(),
                    elements.get(start..=end)
                );
            }
        }
        assert!(shared.get_slice(0..=usize::MAX).is_none());
        assert_eq!(*shared.slice(2..8).slice(..3).slice(1..), [3, 4]);
        assert_eq!(*shared.slice(..), elements);
    }

    #[test]
    fn only_the_last_handle_of_the_whole_turns_back() {
        let shared = vec_of(&heap(), &[1_u8, 2, 3]).freeze();
        let clone = shared.clone();
        assert!(SharedSlice::ptr_eq(&shared, &clone));
        let shared = shared.try_into_vec().unwrap_err();
        drop(clone);
        let part = shared.slice(..2);
        assert!(!SharedSlice::ptr_eq(&shared, &part));
        drop(shared);
        let part = part.try_into_vec().unwrap_err();
        assert_eq!(*part, [1, 2]);
        let whole = vec_of(&heap(), &[4_u8, 5]).freeze();
        let mut vec = whole.try_into_vec().unwrap();
        vec[0] = 9;
        assert_eq!(*vec, [9, 5]);
    }

    #[test]
    fn a_rented_buffer_leaves_an_empty_one() {
        let mut vec = vec_of(&heap(), &[1.5_f32]);
        let rented = vec.take();
        assert!(vec.is_empty());
        assert_eq!(*rented, [1.5]);
        vec = rented;
        assert_eq!(*vec, [1.5]);
    }

    #[test]
    fn empty_ones_need_no_pool() {
        let mut vec = SharedVec::<f64>::default();
        assert!(vec.is_empty() && vec.iter_mut().next().is_none());
        let shared = vec.freeze();
        assert!(shared.is_empty() && shared.slice(..).is_empty());
        assert!(shared.try_into_vec().unwrap().is_empty());
        let units = vec_of(&heap(), &[(), ()]);
        assert_eq!(*units.freeze().slice(1..), [()]);
    }

    #[test]
    fn a_long_buffer_is_not_shown_to_its_end() {
        let short = vec_of(&heap(), &[1_u8, 2]);
        assert_eq!(format!("{short:?}"), "[1, 2]");
        let shown = format!("{:?}", vec_of(&heap(), &[0_u8; 100]).freeze());
        assert!(shown.ends_with("..]") && shown.len() < 60, "{shown}");
    }
}
