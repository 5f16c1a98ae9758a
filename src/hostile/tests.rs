//! The bodies of the fuzz targets, over the inputs that were kept and over pseudo-random ones.

use std::fs;
use std::path::Path;

use super::*;

/// Runs a body over `fuzz/seeds/<target>` and over `count` strings of pseudo-random bytes.
fn run(target: &str, body: fn(&[u8]), count: u64, longest: u64) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut kept = 0;
    // The published package has no `fuzz`.
    for file in fs::read_dir(&seeds).into_iter().flatten() {
        let path = file.expect("a seed").path();
        let data = fs::read(&path).expect("a seed");
        tell(&data, body, || path.display().to_string());
        kept += 1;
    }
    assert!(kept > 0 || !seeds.exists(), "{target} has no seeds");
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for number in 0..count {
        let length = next(&mut state) % longest;
        let data: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
        tell(&data, body, || format!("input {number} of {target}"));
    }
}

/// Names the input that a body fails over.
fn tell(data: &[u8], body: fn(&[u8]), name: impl Fn() -> String) {
    let failed = std::panic::catch_unwind(|| body(data)).is_err();
    assert!(!failed, "{}: {data:?}", name());
}

/// Marsaglia's xorshift, a multiplication behind it (Vigna 2016).
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
}

#[test]
fn hostile_control_areas_hurt_nobody() {
    run("control", control, 150, 800);
}

#[test]
fn any_bytes_make_a_report() {
    run("report", report, 20_000, 400);
}

#[test]
fn any_bytes_are_an_archive_or_refused() {
    run("archive", archive, 30_000, 200);
}

#[test]
fn the_heap_keeps_its_books() {
    run("heap", heap, 50, 600);
}

#[test]
fn work_is_neither_lost_nor_done_twice_when_workers_die() {
    run("ring_board", ring_board, 150, 800);
}
