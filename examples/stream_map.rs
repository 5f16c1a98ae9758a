//! A million readings from an endless source, through a function in worker processes, as a stream.
//!
//! ```text
//! cargo run --release --example stream_map -- 100000    (a million unless said otherwise)
//! ```
//! What bounds memory is that no more is pulled from the source than the read-ahead; the peaks are
//! shown at the end.

use std::error::Error;
use std::time::Instant;

use gristmill::Pool;
use indicatif::{ProgressBar, ProgressStyle};
use rkyv::{Archive, Serialize};

/// What comes in.
#[derive(Archive, Serialize)]
struct Reading {
    sensor: u32,
    celsius: f64,
    label: String,
}

/// What goes out.
#[derive(Archive, Serialize)]
struct Verdict {
    sensor: u32,
    kelvin: f64,
    alarm: bool,
}

/// A source that never ends.
fn readings() -> impl Iterator<Item = Reading> {
    (0_u32..).map(|number| Reading {
        sensor: number % 1000,
        celsius: f64::from(number % 150),
        label: format!("hall {}", number % 7),
    })
}

/// Runs in a worker, on a reading that stays where it is.
fn judge(reading: &ArchivedReading) -> Verdict {
    let celsius = reading.celsius.to_native();
    Verdict {
        sensor: reading.sensor.to_native(),
        kelvin: celsius + 273.15,
        alarm: celsius > 140.0 && reading.label == "hall 3",
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let pool = Pool::builder().workers(2).build()?;
    let bar = ProgressBar::new(count);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {per_sec} {eta}",
    )?);

    let began = Instant::now();
    let mut verdicts = pool.map(readings(), judge).ordered()?.into_iter();
    let (mut alarms, mut hottest, mut peak) = (0, 0.0_f64, 0);
    for done in 1..=count {
        let verdict = verdicts.next().ok_or("an endless source has ended")??;
        alarms += u64::from(verdict.alarm);
        hottest = hottest.max(verdict.kelvin.to_native());
        if done % 1000 == 0 {
            bar.set_position(done);
            peak = peak.max(pool.memory_stats().in_use);
        }
    }
    let time = began.elapsed();
    bar.finish();

    let rate = count as f64 / time.as_secs_f64() / 1e6;
    println!("{count} items in {time:.2?}: {rate:.2} million a second");
    println!("{alarms} alarms, {hottest:.2} K at most");
    println!(
        "shared memory for items on their way, at most: {} KiB",
        peak >> 10
    );
    println!(
        "physical memory of this process, at most: {}",
        resident().unwrap_or("?".into())
    );
    Ok(())
}

/// The kernel's own account of the most that this process ever held.
fn resident() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
