//! Every verb against a plain loop: all lengths around the sizes where something changes, all
//! kinds of element.

use bytemuck::{Pod, Zeroable};
use gristmill::{Pool, SharedSlice};

/// Where chunks, cache lines, the short cut and the parts of a reduction begin and end.
const LENGTHS: [usize; 14] = [
    0, 1, 2, 63, 64, 65, 255, 256, 257, 1025, 4095, 4096, 4097, 100_003,
];
/// Outputs from here on are written past the cache.
const STREAMED_BYTES: usize = 8 << 20;

/// An element that can be made from its index and changed, without ever losing its identity.
trait Element: Pod + PartialEq + core::fmt::Debug + Send + Sync {
    fn make(index: usize) -> Self;
    fn twist(&self) -> Self;
    fn digest(&self) -> u64;

    fn stir(&self, times: u64) -> Self {
        (0..times).fold(*self, |x, _| x.twist())
    }
}

impl Element for u8 {
    fn make(index: usize) -> Self {
        (index * 31 + index / 256) as u8
    }

    fn twist(&self) -> Self {
        self.rotate_left(3) ^ 0x5a
    }

    fn digest(&self) -> u64 {
        u64::from(*self)
    }
}

impl Element for u16 {
    fn make(index: usize) -> Self {
        (index * 40_503) as u16
    }

    fn twist(&self) -> Self {
        self.wrapping_mul(25_173).wrapping_add(13_849)
    }

    fn digest(&self) -> u64 {
        u64::from(*self)
    }
}

impl Element for f64 {
    fn make(index: usize) -> Self {
        index as f64 - 1000.5
    }

    fn twist(&self) -> Self {
        self * 0.5 + 1.0
    }

    fn digest(&self) -> u64 {
        self.to_bits()
    }
}

impl Element for [f32; 3] {
    fn make(index: usize) -> Self {
        [index as f32, -(index as f32), 0.25]
    }

    fn twist(&self) -> Self {
        [self[1] * 0.5, self[2], self[0] - 1.0]
    }

    fn digest(&self) -> u64 {
        self.iter()
            .fold(7, |digest, x| digest * 31 + u64::from(x.to_bits() % 1000))
    }
}

/// 24 bytes, so that elements straddle cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Trade {
    id: u64,
    price: f64,
    size: u32,
    venue: [u8; 4],
}

impl Element for Trade {
    fn make(index: usize) -> Self {
        Self {
            id: index as u64,
            price: index as f64 * 0.01,
            size: !index as u32,
            venue: (index as u32).to_be_bytes(),
        }
    }

    fn twist(&self) -> Self {
        Self {
            id: self.id ^ 0xff,
            price: -self.price,
            size: self.size.rotate_left(5),
            venue: [self.venue[3], self.venue[0], self.venue[1], self.venue[2]],
        }
    }

    fn digest(&self) -> u64 {
        self.id ^ self.price.to_bits() ^ u64::from(self.size) << 7
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Nothing;

impl Element for Nothing {
    fn make(_: usize) -> Self {
        Self
    }

    fn twist(&self) -> Self {
        Self
    }

    fn digest(&self) -> u64 {
        1
    }
}

/// Each verb once, by its two names where it has two.
fn every_verb<T: Element>(pool: &Pool, len: usize) {
    let plain: Vec<T> = (0..len).map(T::make).collect();
    let twisted: Vec<T> = plain.iter().map(T::twist).collect();
    let stirred: Vec<T> = plain.iter().map(|x| x.stir(3)).collect();
    let input = pool.copy_from_slice(&plain).unwrap().freeze();

    let output = pool.par_map(&input, |x: &T| x.twist()).wait().unwrap();
    assert_eq!(*output, *twisted, "par_map of {len}");
    let with = |times: &u64, x: &T| x.stir(*times);
    let output = pool.par_map_with(3_u64, &input, with).wait().unwrap();
    assert_eq!(*output, *stirred, "par_map_with of {len}");

    let mut output = pool.alloc_zeroed::<T>(len).unwrap();
    let job = pool.par_map_into(&input, &mut output, |x: &T| x.twist());
    job.wait().unwrap();
    assert_eq!(*output, *twisted, "par_map_into of {len}");
    let job = pool.par_map_into_with(3_u64, &input, &mut output, with);
    job.wait().unwrap();
    assert_eq!(*output, *stirred, "par_map_into_with of {len}");

    let zipped = |a: &T, b: &T| a.digest() ^ b.digest().rotate_left(9);
    let expected: Vec<u64> = plain
        .iter()
        .zip(&stirred)
        .map(|(a, b)| zipped(a, b))
        .collect();
    let right = output.freeze();
    let output = pool.par_zip_map(&input, &right, zipped).wait().unwrap();
    assert_eq!(*output, *expected, "par_zip_map of {len}");
    let zipped = |mask: &u64, a: &T, b: &T| (a.digest() ^ b.digest().rotate_left(9)) & mask;
    let output = pool.par_zip_map_with(!0_u64 >> 8, &input, &right, zipped);
    let output = output.wait().unwrap();
    assert!(
        output
            .iter()
            .zip(&expected)
            .all(|(a, b)| *a == b & (!0 >> 8))
    );

    let output = pool.par_generate(len, T::make).wait().unwrap();
    assert_eq!(*output, *plain, "par_generate of {len}");
    let shifted = |shift: &u32, index: usize| T::make(index + *shift as usize);
    let output = pool.par_generate_with(5_u32, len, shifted).wait().unwrap();
    let expected: Vec<T> = (5..len + 5).map(T::make).collect();
    assert_eq!(*output, *expected, "par_generate_with of {len}");

    let mut data = pool.copy_from_slice(&plain).unwrap();
    pool.par_for_each_mut(&mut data, |x: &mut T| *x = x.twist())
        .wait()
        .unwrap();
    assert_eq!(*data, *twisted, "par_for_each_mut of {len}");
    let again = |times: &u64, x: &mut T| *x = x.stir(*times);
    pool.par_for_each_mut_with(2_u64, &mut data, again)
        .wait()
        .unwrap();
    assert_eq!(*data, *stirred, "par_for_each_mut_with of {len}");

    let kernel = |input: &[T], output: &mut [T]| {
        assert_eq!(input.len(), output.len());
        for (x, y) in input.iter().zip(output) {
            *y = x.twist();
        }
    };
    let output = pool.par_chunks(&input, kernel).wait().unwrap();
    assert_eq!(*output, *twisted, "par_chunks of {len}");
    let kernel = |times: &u64, input: &[T], output: &mut [T]| {
        for (x, y) in input.iter().zip(output) {
            *y = x.stir(*times);
        }
    };
    let output = pool.par_chunks_with(3_u64, &input, kernel).wait().unwrap();
    assert_eq!(*output, *stirred, "par_chunks_with of {len}");

    let fold = |sum: u64, x: &T| sum.wrapping_add(x.digest());
    let expected = plain.iter().fold(0, fold);
    let sum = pool
        .par_reduce(&input, || 0, fold, u64::wrapping_add)
        .wait()
        .unwrap();
    assert_eq!(sum, expected, "par_reduce of {len}");
    let fold = |factor: &u64, sum: u64, x: &T| sum.wrapping_add(x.digest().wrapping_mul(*factor));
    let sum = pool.par_reduce_with(9_u64, &input, || 0, fold, u64::wrapping_add);
    assert_eq!(
        sum.wait().unwrap(),
        expected.wrapping_mul(9),
        "par_reduce_with of {len}"
    );

    // Nobody has written to what everybody read.
    assert_eq!(*input, *plain);
}

fn every_length<T: Element>() {
    let pool = Pool::builder().workers(3).build().unwrap();
    for len in LENGTHS {
        every_verb::<T>(&pool, len);
    }
}

#[test]
fn bytes() {
    every_length::<u8>();
}

#[test]
fn halfwords() {
    every_length::<u16>();
}

#[test]
fn doubles() {
    every_length::<f64>();
}

#[test]
fn vectors() {
    every_length::<[f32; 3]>();
}

#[test]
fn structs() {
    every_length::<Trade>();
}

#[test]
fn elements_without_bytes() {
    every_length::<Nothing>();
}

#[test]
fn outputs_that_are_streamed() {
    let pool = Pool::builder().workers(2).build().unwrap();
    every_verb::<u8>(&pool, STREAMED_BYTES + 12_345);
    every_verb::<Trade>(&pool, STREAMED_BYTES / size_of::<Trade>() + 1);
    every_verb::<[f32; 3]>(&pool, STREAMED_BYTES / size_of::<[f32; 3]>() + 77);
}

#[test]
fn sums_and_extremes() {
    let pool = Pool::builder().workers(2).build().unwrap();
    for len in LENGTHS {
        let plain: Vec<i64> = (0..len as i64).map(|i| (i * 7919) % 1013 - 500).collect();
        let input = pool.copy_from_slice(&plain).unwrap().freeze();
        assert_eq!(
            pool.par_sum(&input).wait().unwrap(),
            plain.iter().sum::<i64>()
        );
        let least = plain.iter().copied().min();
        assert_eq!(pool.par_min(&input).wait().unwrap(), least);
        let greatest = plain.iter().copied().max();
        assert_eq!(pool.par_max(&input).wait().unwrap(), greatest);
    }
    let input = pool.copy_from_slice(&[f64::NAN; 5000]).unwrap().freeze();
    assert!(pool.par_min(&input).wait().unwrap().unwrap().is_nan());
    assert!(pool.par_sum(&input).wait().unwrap().is_nan());
    let mut values = vec![f64::NAN; 5000];
    values[4321] = -0.0;
    let input = pool.copy_from_slice(&values).unwrap().freeze();
    assert_eq!(pool.par_max(&input).wait().unwrap(), Some(0.0));
}

#[test]
fn parts_of_buffers_are_inputs_too() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let plain: Vec<Trade> = (0..10_000).map(Trade::make).collect();
    let whole = pool.copy_from_slice(&plain).unwrap().freeze();
    for range in [
        0..0,
        0..1,
        1..2,
        77..1234,
        5..10_000,
        9_999..10_000,
        10_000..10_000,
    ] {
        let part = whole.slice(range.clone());
        let inner = part.slice(part.len() / 3..);
        let start = range.start + range.len() / 3;
        let digests = pool.par_map(&inner, Trade::digest).wait().unwrap();
        let expected: Vec<u64> = plain[start..range.end].iter().map(Trade::digest).collect();
        assert_eq!(*digests, *expected, "{range:?}");
        // Both inputs from one buffer, overlapping.
        let shifted = whole.slice(..inner.len());
        let pairs = pool
            .par_zip_map(&inner, &shifted, |a, b| [a.id, b.id])
            .wait()
            .unwrap();
        for (i, [a, b]) in pairs.iter().enumerate() {
            assert_eq!((*a, *b), ((start + i) as u64, i as u64));
        }
    }
}

#[test]
fn an_output_is_the_next_input() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let mut data: SharedSlice<u64> = pool
        .par_generate(50_000, |i| i as u64)
        .wait()
        .unwrap()
        .freeze();
    for _ in 0..10 {
        data = pool.par_map(&data, |x| x * 3 + 1).wait().unwrap().freeze();
        let mut unique = data.try_into_vec().unwrap();
        pool.par_for_each_mut(&mut unique, |x| *x %= 1_000_003)
            .wait()
            .unwrap();
        data = unique.freeze();
    }
    let one = |x: u64| (0..10).fold(x, |x, _| (x * 3 + 1) % 1_000_003);
    for (index, x) in data.iter().enumerate() {
        assert_eq!(*x, one(index as u64));
    }
}
