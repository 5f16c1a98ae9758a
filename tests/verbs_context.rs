//! What a closure takes along: each kind of context, in each kind of nesting.

use std::collections::{BTreeMap, HashMap};

use bytemuck::{Pod, Zeroable};
use gristmill::{Pool, Rkyv};

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Line {
    slope: f64,
    offset: f32,
    steps: [u16; 2],
}

#[derive(Debug, rkyv::Archive, rkyv::Serialize)]
struct Model {
    name: String,
    layers: Vec<Vec<f32>>,
    labels: BTreeMap<u32, String>,
    parent: Option<Box<Parent>>,
}

#[derive(Debug, rkyv::Archive, rkyv::Serialize)]
struct Parent {
    name: String,
}

fn model() -> Model {
    Model {
        name: "child".into(),
        layers: vec![vec![1.0, 2.0], vec![], vec![3.0]],
        labels: (0..50).map(|i| (i, format!("label {i}"))).collect(),
        parent: Some(Box::new(Parent {
            name: "parent".into(),
        })),
    }
}

#[test]
fn plain_values() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let xs = pool.alloc_from_fn(5000, |i| i as f64).unwrap().freeze();
    let ys = pool
        .par_map_with(0.5, &xs, |half: &f64, x| x * half)
        .wait()
        .unwrap();
    assert_eq!(ys[4999], 2499.5);
    let taps = [1.0, -2.0, 0.25];
    let ys = pool.par_map_with(taps, &xs, |t: &[f64; 3], x| t[0] * x * x + t[1] * x + t[2]);
    assert_eq!(ys.wait().unwrap()[10], 80.25);
    let line = Line {
        slope: 3.0,
        offset: -1.5,
        steps: [7, 9],
    };
    let ys = pool.par_map_with(line, &xs, |line: &Line, x| {
        line.slope * x + f64::from(line.offset) + f64::from(line.steps[1])
    });
    assert_eq!(ys.wait().unwrap()[100], 307.5);
    // More than a page of it.
    let table = [[3_u8; 64]; 256];
    let sums = pool.par_generate_with(table, 256, |table: &[[u8; 64]; 256], i| {
        table[i].iter().map(|&x| u32::from(x)).sum::<u32>()
    });
    assert!(sums.wait().unwrap().iter().all(|&sum| sum == 192));
}

#[test]
fn shared_slices() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let table = pool
        .alloc_from_fn(1000, |i| (i * i) as u64)
        .unwrap()
        .freeze();
    let picks = pool
        .alloc_from_fn(10_000, |i| (i * 7 % 500) as u32)
        .unwrap()
        .freeze();
    let part = table.slice(100..600);
    let found = pool.par_map_with(part, &picks, |table, &pick| table[pick as usize]);
    for (found, pick) in found.wait().unwrap().iter().zip(picks.iter()) {
        assert_eq!(*found, (u64::from(*pick) + 100).pow(2));
    }
    let empty = pool.alloc_zeroed::<u64>(0).unwrap().freeze();
    let lengths = pool.par_generate_with((empty, table), 10, |(none, all), i| {
        none.len() + all.len() + i
    });
    assert_eq!(lengths.wait().unwrap()[9], 1009);
}

#[test]
fn archives() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let xs = pool.alloc_from_fn(2000, |i| i as u32).unwrap().freeze();
    let ys = pool.par_map_with(Rkyv(model()), &xs, |model, &x| {
        let label = model
            .labels
            .get(&(x % 60).into())
            .map_or(0, |label| label.len());
        let parent = model.parent.as_ref().map_or(0, |parent| parent.name.len());
        let weight = model.layers[2][0].to_native();
        (label * 100 + parent) as f32 + weight
    });
    let ys = ys.wait().unwrap();
    assert_eq!((ys[5], ys[45], ys[55]), (709.0, 809.0, 9.0));
    let prices: HashMap<String, f64> = HashMap::from([("a".into(), 1.5), ("b".into(), 2.5)]);
    let ys = pool.par_generate_with(Rkyv(prices), 2, |prices, i| {
        prices[["a", "b"][i]].to_native()
    });
    assert_eq!(*ys.wait().unwrap(), [1.5, 2.5]);
}

#[test]
fn tuples_of_tuples() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let table = pool.copy_from_slice(&[10_u16, 20, 30]).unwrap().freeze();
    let other = pool.copy_from_slice(&[1.0_f64, 2.0]).unwrap().freeze();
    let context = (
        1_u8,
        (table, (Rkyv(String::from("four")), 0.5_f64)),
        Rkyv(vec![7_u64, 8]),
        other,
        [3_u16; 5],
        (),
    );
    let ys = pool.par_generate_with(
        context,
        3,
        |(one, (table, (four, half)), list, other, threes, ()), i| {
            f64::from(*one)
                + f64::from(table[i])
                + four.len() as f64
                + *half
                + list[1].to_native() as f64
                + other[1]
                + f64::from(threes[4])
        },
    );
    assert_eq!(*ys.wait().unwrap(), [28.5, 38.5, 48.5]);
}

/// A context is in every verb the same.
#[test]
fn every_verb_sees_its_context() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let table = pool.copy_from_slice(&[1_u64, 10, 100]).unwrap().freeze();
    let context = || (table.clone(), Rkyv(String::from("abc")), 5_u64);
    let xs = pool.alloc_from_fn(9000, |i| i as u64).unwrap().freeze();
    let worth = |i: u64| i * 100 + 3 + 5;
    let zip = pool.par_zip_map_with(context(), &xs, &xs, |(t, s, n), a, b| {
        (a + b) / 2 * t[2] + s.len() as u64 + n
    });
    let mut data = pool.copy_from_slice(&xs).unwrap();
    pool.par_for_each_mut_with(context(), &mut data, |(t, s, n), x| {
        *x = *x * t[2] + s.len() as u64 + n;
    })
    .wait()
    .unwrap();
    let chunks = pool.par_chunks_with(context(), &xs, |(t, s, n), input: &[u64], output| {
        for (x, y) in input.iter().zip(output) {
            *y = x * t[2] + s.len() as u64 + n;
        }
    });
    let sum = pool.par_reduce_with(
        context(),
        &xs,
        || 0,
        |(t, s, n), sum: u64, x| sum + x * t[2] + s.len() as u64 + n,
        |a, b| a + b,
    );
    let expected: Vec<u64> = (0..9000).map(worth).collect();
    assert_eq!(*zip.wait().unwrap(), *expected);
    assert_eq!(*data, *expected);
    assert_eq!(*chunks.wait().unwrap(), *expected);
    assert_eq!(sum.wait().unwrap(), expected.iter().sum::<u64>());
}
