//! What goes in comes out, in place, and type inference finds the kinds by itself.

use bytemuck::Zeroable;
use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::memory::heap::{Contents, Heap, HeapLimits};
use crate::memory::region::Region;
use crate::shared::SharedVec;

/// Aligned memory that stands for a region, or for a block.
fn memory(bytes: usize) -> &'static mut [[u64; 8]] {
    #[repr(align(64))]
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Line([u64; 8]);
    bytemuck::cast_slice_mut(vec![Line::zeroed(); bytes.div_ceil(64)].leak())
}

/// A region with one buffer in it.
#[derive(Clone)]
struct World {
    region: Arc<Region>,
}

impl World {
    fn holding<T: Pod>(elements: &[T]) -> (Self, SharedSlice<T>) {
        let region = Arc::new(Region::create(8 << 20).unwrap());
        let limits = HeapLimits {
            budget: 8 << 20,
            keep_warm: 0,
        };
        let heap = Heap::new(Arc::clone(&region), 0..8 << 20, limits).unwrap();
        let size = size_of_val(elements);
        let block = heap.allocate(size, align_of::<T>(), Contents::Any).unwrap();
        let mut vec = SharedVec::from_block(block, elements.len());
        vec.copy_from_slice(elements);
        (Self { region }, vec.freeze())
    }

    fn empty() -> Self {
        Self::holding::<u8>(&[]).0
    }

    fn reader(&self, block: &'static [u8]) -> ContextReader<'_> {
        // SAFETY: the region is mapped as long as it is borrowed, and nobody writes to the
        // buffers in it meanwhile.
        unsafe { ContextReader::new(block, self.region.base(), self.region.size()) }
    }

    fn encode<C: Context<M>, M>(&self, context: &C) -> Result<&'static [u8], ContextError> {
        let bytes = measure(context, self.region.addresses())?;
        let place = bytemuck::cast_slice_mut::<_, u8>(memory(bytes));
        let start = NonNull::from(&mut *place).cast();
        // SAFETY: the place has at least `bytes` bytes and nobody else looks at it meanwhile.
        let fit = unsafe { write(context, self.region.addresses(), start, bytes) };
        assert_eq!(fit, Ok(Fit::Written(bytes)));
        Ok(&place[..bytes])
    }

    /// Sends `context` across and calls `f` as `par_map_with` does, with the same bounds: the one
    /// that closures are inferred from.
    fn cross<C, M, T, R, F>(&self, context: C, element: &T, f: F) -> R
    where
        C: Context<M>,
        F: for<'a> Fn(C::View<'a>, &'a T) -> R,
    {
        let block = self.encode(&context).unwrap();
        f(C::view(&mut self.reader(block)).unwrap(), element)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Option1 {
    strike: f64,
    rate: f32,
    steps: u32,
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Table {
    name: String,
    rows: Vec<Vec<f64>>,
}

fn table() -> Table {
    Table {
        name: "a name that does not fit inline".into(),
        rows: vec![vec![1.0, 2.0], vec![3.0]],
    }
}

#[test]
fn each_kind_is_inferred_and_arrives() {
    let (world, weights) = World::holding(&[1.0_f32, 2.0, 3.0]);
    let option = Option1 {
        strike: 3.0,
        rate: 0.5,
        steps: 7,
    };

    assert_eq!(world.cross(1.5, &2.0, |k, x| k * x), 3.0);
    assert_eq!(world.cross((), &2.0, |&(), x| x + 1.0), 3.0);
    assert_eq!(
        world.cross(option, &2.0, |o, x| o.strike * x + f64::from(o.steps)),
        13.0
    );
    assert_eq!(world.cross(weights.clone(), &1_usize, |w, &i| w[i]), 2.0);
    assert_eq!(world.cross((1.5,), &2.0, |(k,), x| k * x), 3.0);
    assert_eq!(
        world.cross((10.0_f64, weights.clone()), &2_usize, |(k, w), &i| k
            * f64::from(w[i])),
        30.0
    );
    assert_eq!(
        world.cross(Rkyv(table()), &1_usize, |t, &row| t.rows[row][0]
            .to_native()),
        3.0
    );
    assert_eq!(
        world.cross(
            (1_u8, Rkyv(table()), (weights, (option, 2_u16))),
            &0.0,
            |(a, t, (w, (o, b))), _| {
                assert_eq!(t.name, "a name that does not fit inline");
                usize::from(*a) + t.rows.len() + w.len() + o.steps as usize + usize::from(*b)
            }
        ),
        1 + 2 + 3 + 7 + 2,
    );
}

#[test]
fn slices_are_seen_in_place() {
    let (world, weights) = World::holding(&[1_u64, 2, 3]);
    let block = world.encode(&weights).unwrap();
    let seen = <SharedSlice<u64> as Context<BySlice>>::view(&mut world.reader(block)).unwrap();
    assert!(core::ptr::eq(seen, &*weights));
}

#[test]
fn an_empty_slice_and_no_context_cross() {
    let world = World::empty();
    let nothing = SharedSlice::<f64>::default();
    assert_eq!(world.cross((nothing, ()), &1, |(w, &()), n| w.len() + n), 1);
}

#[test]
fn what_does_not_fit_is_counted_and_nothing_overrun() {
    let (world, weights) = World::holding(&[1_u32; 5]);
    let context = (7_u8, Rkyv(table()), weights, 9.0_f64);
    let region = world.region.addresses();
    let needed = measure(&context, region.clone()).unwrap();
    for capacity in 0..needed {
        let place = bytemuck::cast_slice_mut::<_, u8>(memory(needed));
        place.fill(0xA5);
        let start = NonNull::from(&mut *place).cast();
        // SAFETY: the place has `needed` bytes, more than `capacity`.
        let fit = unsafe { write(&context, region.clone(), start, capacity) };
        assert_eq!(fit, Ok(Fit::Needs(needed)));
        assert!(
            place[capacity..].iter().all(|&byte| byte == 0xA5),
            "wrote past {capacity}"
        );
    }
}

#[test]
fn a_slice_of_another_pool_is_refused() {
    let (_, theirs) = World::holding(&[1.0, 2.0]);
    let error = World::empty().encode(&theirs).unwrap_err();
    assert_eq!(error, ContextError::ForeignSlice { elements: 2 });
}

#[test]
fn slices_outside_the_region_are_refused() {
    let (world, _) = World::holding(&[0_u64; 16]);
    let end = world.region.size();
    for (offset, length) in [
        (0, u64::MAX),
        (u64::MAX, 1),
        (end, 1),
        (end - 8, 2),
        (4, 1),
        (8, u64::MAX / 8),
        (end + 8, 0),
    ] {
        let block: &'static [[u64; 2]] = vec![[offset, length]].leak();
        let view = ContextReader::take_slice::<u64>(&mut world.reader(bytemuck::cast_slice(block)));
        assert!(
            matches!(view, Err(ContextError::Damaged { .. })),
            "{offset} {length}"
        );
    }
}

proptest! {
    #[test]
    fn a_damaged_block_never_panics(
        at in 0_usize..1000, bits in 1_u8.., length in 0_usize..1000,
    ) {
        let (world, weights) = World::holding(&[1_u32; 5]);
        let block = world.encode(&(7_u8, Rkyv(table()), weights)).unwrap();
        let damaged = bytemuck::cast_slice_mut::<_, u8>(memory(block.len()));
        damaged[..block.len()].copy_from_slice(block);
        damaged[at % block.len()] ^= bits;
        let cut = &damaged[..length % (block.len() + 1)];
        type Three = (u8, Rkyv<Table>, SharedSlice<u32>);
        type Kinds = (ByValue, ByArchive, BySlice);
        if let Ok((_, table, weights)) = <Three as Context<Kinds>>::view(&mut world.reader(cut)) {
            let rows: usize = table.rows.iter().map(|row| row.len()).sum();
            let _ = (table.name.len() + rows, weights.iter().sum::<u32>());
        }
    }
}
