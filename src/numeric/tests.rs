//! Kernels against naive loops.

use std::fmt::Debug;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};

use bytemuck::{Pod, Zeroable};
use proptest::prelude::*;

use super::reduce::LANES;
use super::*;

/// Outputs begin at each of these places within a line, in elements.
const SHIFTS: [usize; 4] = [0, 1, 3, 7];

/// Longer than any head, several tiles and a tail.
const LONG: usize = 2100;

/// An element of any width; its bytes are all different for neighbouring indices.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
struct Wide<const BYTES: usize>([u8; BYTES]);

// SAFETY: an array of bytes may be all zeros.
#[expect(unsafe_code, reason = "derives do not know const generics")]
unsafe impl<const BYTES: usize> Zeroable for Wide<BYTES> {}
// SAFETY: transparent over an array of bytes.
#[expect(unsafe_code, reason = "derives do not know const generics")]
unsafe impl<const BYTES: usize> Pod for Wide<BYTES> {}

/// Stricter than a line: cannot go through a tile.
#[derive(Clone, Copy, PartialEq, Debug, Zeroable, Pod)]
#[repr(C, align(128))]
struct Page([u64; 16]);

fn wide<const BYTES: usize>(seed: usize) -> Wide<BYTES> {
    Wide(std::array::from_fn(|byte| {
        (seed.wrapping_mul(2_654_435_761) >> (byte % 4 * 8)) as u8 ^ byte as u8
    }))
}

/// Runs `kernel` over `len` places that begin `shift` elements into a buffer, then returns what it
/// wrote, having checked that it wrote there only.
fn written<R: Pod + PartialEq + Debug>(
    len: usize,
    shift: usize,
    kernel: impl FnOnce(&mut [MaybeUninit<R>]),
) -> Vec<R> {
    let mut sentinel = R::zeroed();
    bytemuck::bytes_of_mut(&mut sentinel).fill(0xA5);
    let mut buffer = vec![MaybeUninit::new(sentinel); shift + len + 9];
    kernel(&mut buffer[shift..shift + len]);
    // SAFETY: every element began as the sentinel, and kernels write values only.
    #[expect(unsafe_code, reason = "an oracle has to look")]
    let all: Vec<R> = buffer
        .iter()
        .map(|slot| unsafe { slot.assume_init() })
        .collect();
    assert!(
        all[..shift].iter().all(|value| *value == sentinel),
        "before the output"
    );
    assert!(
        all[shift + len..].iter().all(|value| *value == sentinel),
        "after the output"
    );
    all[shift..shift + len].to_vec()
}

fn map_is_naive<T: Debug, R: Pod + PartialEq + Debug>(
    make: impl Fn(usize) -> T,
    f: impl Fn(&T) -> R,
    lengths: impl Iterator<Item = usize>,
) {
    for len in lengths {
        let input: Vec<T> = (0..len).map(&make).collect();
        let expected: Vec<R> = input.iter().map(&f).collect();
        for store in [Store::Cached, Store::Streaming] {
            for shift in SHIFTS {
                let at = At::new();
                let found = written(len, shift, |out| map(&input, out, store, &at, &f));
                assert_eq!(found, expected, "{len} elements, {shift} in, {store:?}");
                assert_eq!(at.get(), None);
            }
        }
    }
}

/// Every short length, and those around the borders of one tile, two and three.
fn lengths() -> impl Iterator<Item = usize> {
    let borders = [512_usize, 1024, 1536].into_iter();
    (0..300)
        .chain(borders.flat_map(|border| border - 9..border + 10))
        .chain([LONG])
}

#[test]
fn map_of_floats_is_a_naive_loop() {
    map_is_naive(|i| i as f64, |x| x.sqrt() * 1.0001 + 3.0, lengths());
}

#[test]
fn wider_registers_round_alike() {
    let input: Vec<f64> = (0..LONG).map(|i| (i as f64).sin() * 1e3).collect();
    let f = |x: &f64| x * 1.1 + x.abs().sqrt() / 3.0 - x.mul_add(1.1, 0.7) * x;
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let expected: Vec<f64> = input.iter().map(f).collect();
    for store in [Store::Cached, Store::Streaming] {
        let found = written(LONG, 1, |out| map(&input, out, store, &At::new(), f));
        assert_eq!(bits(&found), bits(&expected));
    }
}

#[test]
fn map_narrows_and_widens() {
    map_is_naive(|i| i as f64, |x| *x as u8, lengths());
    map_is_naive(|i| i as u8, |x| f64::from(*x), lengths());
    map_is_naive(wide::<100>, |x| x.0[7], lengths());
}

#[test]
fn map_of_every_width_is_a_naive_loop() {
    macro_rules! widths {
        ($($bytes:literal)*) => {$(
            map_is_naive(|i| i, |i| wide::<$bytes>(*i), (0..70).chain([511, 513, 2100]));
        )*};
    }
    widths!(0 1 2 3 4 5 7 8 12 16 24 31 32 33 48 64 65 96 128 200 512 513 1000);
    map_is_naive(|i| i, |i| [*i as u64; 3], lengths());
    map_is_naive(|i| i, |i| Page([*i as u64; 16]), 0..70);
    map_is_naive(|_| (), |()| 7_u16, lengths());
    map_is_naive(|i| i, |_| (), lengths());
}

#[test]
fn an_output_that_never_begins_a_line_is_written_all_the_same() {
    // Four floats an element, 4 bytes into a line: no element is ever aligned to 64.
    let mut lines = vec![[[0_f32; 16]; 4]; 40];
    let floats = lines.as_flattened_mut().as_flattened_mut();
    let skip = floats.as_ptr().align_offset(64) + 1;
    let (elements, _) = floats[skip..].as_chunks_mut::<4>();
    assert_eq!(elements.as_ptr().align_offset(64), usize::MAX);
    let input: Vec<f32> = (0..elements.len()).map(|i| i as f32).collect();
    // SAFETY: same layout, and kernels write values only.
    #[expect(unsafe_code, reason = "places that are initialised already")]
    let places = unsafe { &mut *(std::ptr::from_mut(elements) as *mut [MaybeUninit<[f32; 4]>]) };
    map(&input, places, Store::Streaming, &At::new(), |x| [*x; 4]);
    assert!(
        elements
            .iter()
            .zip(&input)
            .all(|(element, x)| *element == [*x; 4])
    );
}

#[test]
fn zip_map_is_a_naive_loop() {
    for len in lengths() {
        let a: Vec<f32> = (0..len).map(|i| i as f32 * 0.5).collect();
        let b: Vec<u16> = (0..len).map(|i| (i * 7) as u16).collect();
        let f = |a: &f32, b: &u16| f64::from(*a) - f64::from(*b);
        let expected: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f(a, b)).collect();
        for store in [Store::Cached, Store::Streaming] {
            let at = At::new();
            let found = written(len, 1, |out| zip_map(&a, &b, out, store, &at, f));
            assert_eq!(found, expected, "{len} elements, {store:?}");
        }
    }
}

#[test]
fn generate_counts_from_the_whole() {
    for len in lengths() {
        for store in [Store::Cached, Store::Streaming] {
            let found = written(len, 3, |out| {
                generate(1000, out, store, &At::new(), |i| i * i)
            });
            let expected: Vec<usize> = (1000..1000 + len).map(|i| i * i).collect();
            assert_eq!(found, expected, "{len} elements, {store:?}");
        }
    }
}

#[test]
fn for_each_mut_visits_each_once() {
    for len in 0..300 {
        let mut data: Vec<usize> = (0..len).collect();
        for_each_mut(&mut data, &At::new(), |x| *x = *x * 3 + 1);
        assert!(data.iter().enumerate().all(|(i, x)| *x == i * 3 + 1));
    }
}

#[test]
#[should_panic(expected = "one output an input")]
fn map_refuses_a_longer_output() {
    map(
        &[1_u8],
        &mut [MaybeUninit::<u8>::uninit(); 2],
        Store::Cached,
        &At::new(),
        |x| *x,
    );
}

/// Runs `kernel`, which panics, and returns where it stood.
fn stood(kernel: impl FnOnce(&At)) -> Option<usize> {
    let at = At::new();
    // `resume_unwind` in the closures keeps the panic hook, and the terminal, quiet.
    panic::catch_unwind(AssertUnwindSafe(|| kernel(&at))).expect_err("the kernel panics");
    at.get()
}

fn boom(now: bool) {
    if now {
        panic::resume_unwind(Box::new(()));
    }
}

#[test]
fn a_panic_tells_its_element() {
    let input: Vec<usize> = (0..300).collect();
    for bad in 0..input.len() {
        for store in [Store::Cached, Store::Streaming] {
            let mut out = vec![MaybeUninit::<u64>::uninit(); 303];
            let out = &mut out[3..];
            let place = stood(|at| {
                map(&input, out, store, at, |x| {
                    boom(*x == bad);
                    0
                });
            });
            assert_eq!(place, Some(bad), "map, {store:?}");
            let place = stood(|at| {
                generate(50, out, store, at, |i| {
                    boom(i == bad + 50);
                    0
                });
            });
            assert_eq!(place, Some(bad), "generate, {store:?}");
            let place = stood(|at| {
                zip_map(&input, &input, out, store, at, |a, b| {
                    boom(a + b == 2 * bad);
                    0
                });
            });
            assert_eq!(place, Some(bad), "zip_map, {store:?}");
        }
        let place = stood(|at| {
            fold(&input, at, 0, |a, x| {
                boom(*x == bad);
                a + x
            });
        });
        assert_eq!(place, Some(bad), "fold");
        let mut data = input.clone();
        let place = stood(|at| {
            for_each_mut(&mut data, at, |x| {
                boom(*x == bad);
                *x += 1000;
            });
        });
        assert_eq!(place, Some(bad), "for_each_mut");
        assert!(
            data.iter()
                .enumerate()
                .all(|(i, x)| *x == i + if i < bad { 1000 } else { 0 })
        );
    }
}

#[test]
fn the_tree_of_lanes_is_fixed() {
    // Written out by hand: lanes, then halves.
    let values: Vec<f64> = (0..1000).map(|i| 0.1 * f64::from(i) - 7.3).collect();
    for len in 0..values.len() {
        let mut lanes = [0.0; LANES];
        for (i, x) in values[..len].iter().enumerate() {
            lanes[i % LANES] += x;
        }
        let quarter: Vec<f64> = (0..8).map(|i| lanes[i] + lanes[i + 8]).collect();
        let pairs: Vec<f64> = (0..4).map(|i| quarter[i] + quarter[i + 4]).collect();
        let expected = (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
        assert_eq!(
            sum(&values[..len], &At::new()).to_bits(),
            expected.to_bits(),
            "{len}"
        );
    }
}

#[test]
fn sums_of_nothing_and_of_small_integers() {
    assert_eq!(sum::<f64>(&[], &At::new()).to_bits(), 0.0_f64.to_bits());
    assert_eq!(sum(&[-0.0_f32], &At::new()).to_bits(), 0.0_f32.to_bits());
    assert_eq!(sum(&[1_u8; 255], &At::new()), 255);
    assert_eq!(sum(&[-1_i64; 70], &At::new()), -70);
}

#[test]
fn the_least_passes_over_nan() {
    let at = At::new();
    assert_eq!(min::<f64>(&[], &at), None);
    assert!(min(&[f64::NAN; 40], &at).is_some_and(f64::is_nan));
    for nan in 0..40 {
        let mut values: Vec<f64> = (0..40).map(f64::from).collect();
        values[nan] = f64::NAN;
        assert_eq!(min(&values, &at), Some(if nan == 0 { 1.0 } else { 0.0 }));
        assert_eq!(max(&values, &at), Some(if nan == 39 { 38.0 } else { 39.0 }));
    }
}

proptest! {
    #[test]
    fn reductions_agree_with_iterators(values in prop::collection::vec(any::<i32>(), 0..400)) {
        let at = At::new();
        let wide: Vec<i64> = values.iter().map(|x| i64::from(*x)).collect();
        prop_assert_eq!(sum(&wide, &at), wide.iter().sum::<i64>());
        prop_assert_eq!(min(&values, &at), values.iter().min().copied());
        prop_assert_eq!(max(&values, &at), values.iter().max().copied());
        let folded = fold(&wide, &at, 1_i64, |a, x| a.wrapping_mul(31).wrapping_add(*x));
        let naive = wide.iter().fold(1_i64, |a, x| a.wrapping_mul(31).wrapping_add(*x));
        prop_assert_eq!(folded, naive);
    }

    #[test]
    fn least_and_greatest_agree_with_the_method(
        values in prop::collection::vec(prop_oneof![9 => any::<f32>(), 1 => Just(f32::NAN)], 1..99),
    ) {
        let least = min(&values, &At::new()).expect("not empty");
        let greatest = max(&values, &At::new()).expect("not empty");
        let expected = values.iter().copied().fold(f32::NAN, f32::min);
        prop_assert!(least == expected || least.is_nan() && expected.is_nan());
        let expected = values.iter().copied().fold(f32::NAN, f32::max);
        prop_assert!(greatest == expected || greatest.is_nan() && expected.is_nan());
    }

    #[test]
    fn map_anywhere(len in 0..3000_usize, shift in 0..70_usize, skip in 0..5_usize) {
        let input: Vec<u32> = (0..(len + skip) as u32).collect();
        let input = &input[skip..];
        let at = At::new();
        let expected: Vec<Wide<6>> = input.iter().map(|x| wide(*x as usize)).collect();
        let found = written(len, shift, |out| {
            map(input, out, Store::Streaming, &at, |x| wide::<6>(*x as usize));
        });
        prop_assert_eq!(found, expected);
    }
}
