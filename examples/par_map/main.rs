//! Black–Scholes prices over a large buffer: sequentially, with rayon's threads, and with
//! gristmill's worker processes; the three must agree to the bit.
//!
//! `cargo run --release --example par_map` fills 64 Mi f64 (512 MiB) and prints a table.
//! `--help` tells the rest: NumPy files in and out, and a worker killed in the middle.

mod arguments;
mod element;
mod engine;
mod npy;
mod price;
mod progress;
mod report;

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::ops::Deref;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Arguments, Parsed, USAGE};
use element::{Element, Width};
use engine::{Engine, Shared};
use progress::Bar;
use rayon::prelude::*;
use report::Table;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(arguments)) => run(&arguments),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("par_map: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let engine = Engine::start(arguments.workers)?;
    let Some(path) = &arguments.input else {
        let len = arguments.elements;
        let input = engine.fill(len, price::sample)?;
        return compare(arguments, &engine, &input, &[len as u64]);
    };
    let about = |error: npy::NpyError| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| about(error.into()))?;
    let bytes = file.metadata().map_err(|error| about(error.into()))?.len();
    let mut reader = BufReader::new(file);
    let header = npy::read_header(&mut reader).map_err(about)?;
    match header.width {
        Width::F32 => {
            let input = load::<f32>(&engine, &header, bytes, reader, path)?;
            compare(arguments, &engine, &input, &header.shape)
        }
        Width::F64 => {
            let input = load::<f64>(&engine, &header, bytes, reader, path)?;
            compare(arguments, &engine, &input, &header.shape)
        }
    }
}

/// Reads the array straight into memory that the workers see: there is no other copy.
fn load<T: Element>(
    engine: &Engine,
    header: &npy::Header,
    file_bytes: u64,
    mut reader: BufReader<File>,
    path: &Path,
) -> Outcome<Shared<T>> {
    let about = |error: npy::NpyError| format!("{}: {error}", path.display());
    // A promise of terabytes is refused before memory is asked for.
    npy::check_length(header, &mut reader, file_bytes).map_err(about)?;
    let mut buffer = engine.buffer::<T>(header.len)?;
    npy::read_data(&mut reader, header, &mut buffer).map_err(about)?;
    Ok(buffer.freeze())
}

/// Prices `input` in three ways, compares, reports, and writes the prices if a file was named.
///
/// At most three buffers are alive at a time: the input, the sequential prices as the reference,
/// and the prices in question.
fn compare<T: Element>(
    arguments: &Arguments,
    engine: &Engine,
    input: &Shared<T>,
    shape: &[u64],
) -> Outcome<()> {
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(engine.workers())
        .build()?;
    let mut table = Table::new::<T>(input.len(), shape);

    let bar = Bar::new("sequential", input.len());
    let start = Instant::now();
    let mut reference = Vec::with_capacity(input.len());
    for piece in input.chunks(1 << 18) {
        reference.extend(piece.iter().map(T::price));
        bar.set(reference.len());
    }
    let sequential = start.elapsed();
    bar.finish();
    table.row("sequential", sequential);

    for name in ["rayon", "rayon again"] {
        let bar = Bar::new(name, input.len());
        let start = Instant::now();
        let prices: Vec<T> = threads.install(|| input.par_iter().map(T::price).collect());
        let elapsed = start.elapsed();
        bar.finish();
        table.row(&format!("{name}, {} threads", engine.workers()), elapsed);
        same(name, &prices, &reference)?;
    }

    // The first time the kernel has to find memory for the output, in a virtual machine perhaps
    // from its host; the second time the pool has it at hand.
    let bar = Bar::new("gristmill", input.len());
    let start = Instant::now();
    let (prices, killed) = engine.price(input, &bar, arguments.kill)?;
    let elapsed = start.elapsed();
    bar.finish();
    table.row(&format!("gristmill, {} workers", engine.workers()), elapsed);
    same("gristmill", &prices, &reference)?;
    drop(prices);

    let bar = Bar::new("gristmill again", input.len());
    let start = Instant::now();
    let (prices, _) = engine.price(input, &bar, false)?;
    let elapsed = start.elapsed();
    bar.finish();
    let name = format!("gristmill again, {} workers", engine.workers());
    table.row(&name, elapsed);
    same("gristmill", &prices, &reference)?;

    print!("{table}");
    println!("the three agree to the bit");
    if let Some(killed) = killed {
        println!("{killed}");
    }
    if let Some(path) = &arguments.output {
        save(path, shape, &prices).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("prices written to {}", path.display());
    }
    Ok(())
}

/// Bits, not values: a NaN equals itself, and zeros differ by sign.
fn same<T: Element>(who: &str, prices: &impl Deref<Target = [T]>, reference: &[T]) -> Outcome<()> {
    if bytemuck::cast_slice::<T, u8>(prices) == bytemuck::cast_slice::<T, u8>(reference) {
        return Ok(());
    }
    let differs = |(a, b): (&T, &T)| bytemuck::bytes_of(a) != bytemuck::bytes_of(b);
    let place = prices.iter().zip(reference).position(differs);
    Err(match place {
        Some(index) => format!("{who} differs from the sequential loop at element {index}"),
        None => format!(
            "{who} has {} elements, not {}",
            prices.len(),
            reference.len()
        ),
    }
    .into())
}

fn save<T: Element>(path: &Path, shape: &[u64], prices: &[T]) -> std::io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    npy::write(&mut writer, shape, prices)?;
    writer.flush()
}
