//! Wild stores over every address that a worker can see, and everything that must not notice.
//!
//! A worker that is hit by a fault dies of it, so a store is tried by having the kernel copy eight
//! bytes to the address: it looks at the same protection, and says `EFAULT` where a store would
//! be a fault. What a store through a pointer comes to, `wild` shows.

#![expect(unsafe_code, reason = "stores all over shared memory")]

use std::fs;
use std::ops::Range;

use gristmill::{Cause, Pool, SharedSlice, SharedVec, TaskError, TaskOutput};
use nix::sys::signal::Signal;

use crate::replaced;

/// As drawn in `docs/protocol.md`: what workers write of the control area, and where their arenas
/// stand in the part that they do not.
const CONTROL_WRITABLE: Range<u64> = 2 << 20..4 << 20;
const ARENAS: u64 = 0x1200;

const PAGE: u64 = 4096;
/// Results of this size and more are read in place.
const SEALED: usize = if cfg!(target_arch = "aarch64") {
    64 << 10
} else {
    16 << 10
};
const SEED: u64 = 0x5eed_0f5c_71bb_1e00;
const SMALL: usize = 256;
const LARGE: usize = 1 << 18;
/// Random addresses in each round, besides a word of every page.
const RANDOM: u64 = 5000;

/// What a worker is told: a seed, how often to try anywhere, whether to try every page, and the
/// part of the region that it works on.
type Orders = [u64; 5];

/// What it tells: how many stores it tried, how many landed, and where the first one did.
type Told = (u64, u64, u64);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // A linear congruential generator, of which the high bits are good enough.
        let multiplied = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d);
        self.0 = multiplied.wrapping_add(0x1405_7b7e_f767_814f);
        self.0 ^ self.0 >> 29
    }
}

/// Where the region that something lies in is mapped in this process: its first byte and its size.
fn region(inside: *const u64) -> (u64, u64) {
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs");
    let address = |text| u64::from_str_radix(text, 16).expect("an address");
    let mut found = (0, 0);
    let mut file = "";
    // The parts of one region follow one another, and have the file's number in common.
    for line in maps
        .lines()
        .filter(|line| line.contains("/memfd:gristmill"))
    {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-').expect("a range");
        let (start, end) = (address(start), address(end));
        if fields[4] != file {
            file = fields[4];
            if (found.0..found.0 + found.1).contains(&(inside as u64)) {
                break;
            }
            found = (start, 0);
        }
        found.1 = end - found.0;
    }
    found
}

/// A file of bytes to be copied from.
fn source(random: &mut Random) -> i32 {
    // SAFETY: a plain system call with a name that ends in zero.
    let file = unsafe { libc::memfd_create(c"noise".as_ptr(), 0) };
    assert!(file >= 0);
    let bytes: Vec<u8> = (0..4096).map(|_| (random.next() >> 40) as u8).collect();
    // SAFETY: the bytes are there.
    let written = unsafe { libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), 0) };
    assert_eq!(written, 4096);
    file
}

/// The number of this worker, which the name of its process tells.
fn own_number() -> u64 {
    let name = fs::read_to_string("/proc/self/comm").expect("procfs");
    let number = name.trim().strip_prefix("gristmill-w").expect("a worker");
    number.parse().expect("a number")
}

/// The arena of a worker.
fn arena_of(number: u64, base: u64) -> Range<u64> {
    let place = (base + ARENAS + number * 16) as *const u64;
    // SAFETY: in the region, which is mapped, and written before this process began.
    let [offset, size] = unsafe { place.cast::<[u64; 2]>().read() };
    offset..offset + size
}

/// Stores wherever this worker can, but for its own memory and the named targets' sake in that.
fn scribble(orders: &Orders, targets: &[u64]) -> Told {
    let &[seed, tries, every_page, own_start, own_end] = orders;
    let (base, size) = region(targets.as_ptr());
    let mut random = Random(seed);
    let file = source(&mut random);
    let arena = arena_of(own_number(), base);
    let own = [CONTROL_WRITABLE, arena, own_start..own_end];
    let (mut tried, mut landed, mut first) = (0, 0, 0);
    let mut store = |offset: u64, noise: u64| {
        let address = (base + (offset & !7)) as *mut libc::c_void;
        // SAFETY: none: this is the wild store whose harm is to be contained.
        let copied = unsafe { libc::pread(file, address, 8, (noise % 4000) as i64) };
        tried += 1;
        if copied > 0 {
            first = if landed == 0 { offset } else { first };
            landed += 1;
        }
    };
    let is_own = |offset| own.iter().any(|own| own.contains(&offset));
    if every_page != 0 {
        for page in (0..size).step_by(PAGE as usize) {
            let offset = page + random.next() % PAGE;
            if !is_own(offset) {
                store(offset, random.next());
            }
        }
    }
    for _ in 0..tries {
        let offset = random.next() % size;
        if !is_own(offset) {
            store(offset, random.next());
        }
    }
    for &target in targets {
        store(target, random.next());
    }
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    (tried, landed, first)
}

/// Something that the parent holds, and a private copy of its bytes.
struct Kept<'a> {
    name: String,
    bytes: &'a [u8],
    copy: Vec<u8>,
}

impl<'a> Kept<'a> {
    fn new(name: impl Into<String>, bytes: &'a [u8]) -> Self {
        let copy = bytes.to_vec();
        let name = name.into();
        Self { name, bytes, copy }
    }

    /// Offsets of some of its words in the region; none if it lies elsewhere.
    fn targets(&self, (base, size): (u64, u64)) -> Vec<u64> {
        let start = self.bytes.as_ptr() as u64;
        let words = self.bytes.len() as u64 / 8;
        let some = [0, words / 3, words / 2, words.saturating_sub(1)];
        let inside = start >= base && start < base + size && words > 0;
        let offsets = some.map(|word| start.wrapping_sub(base) + word * 8);
        offsets.into_iter().filter(|_| inside).collect()
    }

    #[track_caller]
    fn check(&self) {
        assert!(self.bytes == self.copy, "{} has changed", self.name);
    }
}

fn bytes_of(elements: &[u64]) -> &[u8] {
    bytemuck::cast_slice(elements)
}

fn value(seed: u64, index: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index
}

fn checksum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(7, |sum: u64, x| sum.rotate_left(5) ^ x)
}

/// Results of several sizes, of all workers.
fn results(pool: &Pool) -> Vec<TaskOutput<Vec<u64>>> {
    let sizes = [8_u64, 100, 1000, 2040, 2100, 5000, 1 << 14, 1 << 17];
    let tasks: Vec<_> = (0..3 * sizes.len())
        .map(|number| {
            let wanted = (number as u64, sizes[number % sizes.len()]);
            let task = pool.spawn(wanted, |wanted| {
                let (seed, len) = (wanted.0.to_native(), wanted.1.to_native());
                (0..len).map(|index| value(seed, index)).collect::<Vec<_>>()
            });
            task.expect("room")
        })
        .collect();
    let results = tasks.into_iter().map(|task| task.wait().expect("a result"));
    results.collect()
}

/// Tasks that scribble, and behind them tasks whose arguments and contexts lie there meanwhile.
fn tasks_that_scribble(pool: &Pool, targets: &SharedSlice<u64>, round: u64) -> u64 {
    let scribblers: Vec<_> = (0..2)
        .map(|number| {
            let orders: Orders = [SEED ^ round << 8 ^ number, RANDOM, 1, 0, 0];
            let task = pool.spawn_with((orders, targets.clone()), (), |(orders, targets), ()| {
                scribble(orders, targets)
            });
            task.expect("room")
        })
        .collect();
    let honest: Vec<_> = (0..40_u64)
        .map(|number| {
            let len = [3, 12, 500, 200_000][number as usize % 4];
            let arguments: Vec<u64> = (0..len).map(|index| value(number, index)).collect();
            let sum = checksum(arguments.iter().copied());
            let task = pool.spawn_with([number; 9], arguments, |context, arguments| {
                let sum = checksum(arguments.iter().map(|x| x.to_native()));
                (sum, checksum(context.iter().copied()))
            });
            (task.expect("room"), sum, checksum([number; 9].into_iter()))
        })
        .collect();
    let mut tried = 0;
    for task in scribblers {
        let told = task.wait().expect("it survives");
        let (stores, landed, first) = (told.0.to_native(), told.1.to_native(), told.2.to_native());
        assert_eq!(landed, 0, "of {stores} stores, the first at {first:#x}");
        tried += stores;
    }
    for (task, sum, of_context) in honest {
        let found = task.wait().expect("honest work");
        assert_eq!(found.0.to_native(), sum, "arguments have changed");
        assert_eq!(found.1.to_native(), of_context, "a context has changed");
    }
    tried
}

/// A job whose chunks scribble over all but their own output.
fn chunks_that_scribble(
    pool: &Pool,
    input: &SharedSlice<u64>,
    targets: &SharedSlice<u64>,
) -> SharedVec<u64> {
    let mut output = pool.alloc_zeroed::<u64>(input.len()).expect("room");
    let (base, _) = region(input.as_ptr());
    let start = output.as_ptr() as u64 - base;
    let unit = if input.len() < LARGE { PAGE } else { 2 << 20 };
    let end = (start + 8 * input.len() as u64).next_multiple_of(unit);
    let orders: Orders = [SEED, 500, 0, start, end];
    let context = (orders, targets.clone());
    let job = pool.par_map_into_with(context, input, &mut output, |(orders, targets), &x| {
        // The elements are their own numbers, with a pattern above.
        let number = x & 0xf_ffff;
        if number % 32768 == 100 {
            let every_page = u64::from(number == 100);
            let orders = [
                orders[0] ^ number,
                orders[1],
                every_page,
                orders[3],
                orders[4],
            ];
            let (tried, landed, first) = scribble(&orders, targets);
            assert_eq!(landed, 0, "of {tried} stores, the first at {first:#x}");
        }
        x ^ 1
    });
    job.wait().expect("it survives");
    assert!(output.iter().zip(&**input).all(|(y, x)| *y == x ^ 1));
    output
}

#[test]
fn wild_stores_anywhere_change_nothing_that_others_read() {
    let pool = Pool::builder().workers(2).memory_budget(64 << 20).build();
    let pool = pool.expect("a pool");
    let fresh = |len: usize| {
        let elements = pool.alloc_from_fn(len, |index| 0xabc << 24 | index as u64);
        elements.expect("room").freeze()
    };
    let inputs = [fresh(SMALL), fresh(LARGE)];
    let finished: Vec<SharedVec<u64>> = [SMALL, LARGE]
        .map(|len| pool.par_generate(len, |index| value(3, index as u64)))
        .into_iter()
        .map(|job| job.wait().expect("room"))
        .collect();
    let results = results(&pool);
    let mut kept = Vec::new();
    for input in &inputs {
        kept.push(Kept::new(
            format!("an input of {}", input.len()),
            bytes_of(input),
        ));
    }
    for output in &finished {
        let name = format!("a finished output of {}", output.len());
        kept.push(Kept::new(name, bytes_of(output)));
    }
    for result in &results {
        let bytes = result.as_bytes();
        kept.push(Kept::new(
            format!("a result of {} bytes", bytes.len()),
            bytes,
        ));
    }
    let region = region(inputs[0].as_ptr());
    let targets = kept.iter().flat_map(|kept| kept.targets(region));
    let targets: Vec<u64> = targets.collect();
    let sealed = results
        .iter()
        .filter(|result| result.as_bytes().len() >= SEALED);
    let sealed = sealed.count();
    assert!(sealed >= 6 && targets.len() == 4 * (4 + sealed), "{sealed}");
    let targets = pool.copy_from_slice(&targets).expect("room").freeze();
    let check = || kept.iter().for_each(Kept::check);
    let mut tried = 0;
    let mut outputs = Vec::new();
    for round in 0..3 {
        tried += tasks_that_scribble(&pool, &targets, round);
        check();
        for input in &inputs {
            outputs.push(chunks_that_scribble(&pool, input, &targets));
            check();
        }
    }
    for (output, input) in outputs.iter().zip(inputs.iter().cycle()) {
        assert!(output.iter().zip(&**input).all(|(y, x)| *y == x ^ 1));
    }
    assert!(tried > 100_000, "{tried} stores");
    let sum = pool.par_sum(&inputs[1]).wait().expect("it serves");
    assert_eq!(sum, inputs[1].iter().sum::<u64>());
}

#[test]
fn a_store_that_may_land_does() {
    let pool = Pool::builder().workers(1).memory_budget(8 << 20).build();
    let pool = pool.expect("a pool");
    let input = pool.alloc_from_fn(SMALL, |index| index as u64);
    let input = input.expect("room").freeze();
    let mut output = pool.alloc_zeroed::<u64>(SMALL).expect("room");
    let (base, _) = region(input.as_ptr());
    let targets = [output.as_ptr(), input.as_ptr()].map(|target| target as u64 - base);
    let targets = pool.copy_from_slice(&targets).expect("room").freeze();
    let orders: Orders = [SEED, 0, 0, 0, 0];
    let context = (orders, targets.clone());
    let job = pool.par_map_into_with(context, &input, &mut output, |(orders, targets), _| {
        let (tried, landed, first) = scribble(orders, targets);
        assert_eq!((tried, landed, first), (2, 1, targets[0]));
        first
    });
    job.wait().expect("its own output is its to write");
}

#[test]
fn what_the_parent_says_and_others_reply_is_locked() {
    let pool = Pool::builder().workers(2).memory_budget(8 << 20).build();
    let pool = pool.expect("a pool");
    let anchor = pool.copy_from_slice(&[0_u64; 8]).expect("room").freeze();
    // The identity, bits of open jobs, an arena's place, a job, a chunk's range, a task; the reply
    // of another worker to the task in slot 0, and how it says where that is.
    for place in [0_u64, 0x1040, ARENAS, 0x6200, 0x8200, 0x10_8200, 64, 96] {
        let of_reply = matches!(place, 64 | 96);
        let task = pool.spawn_with((anchor.clone(), place), of_reply, |context, of_reply| {
            let (anchor, &place) = context;
            let (base, _) = region(anchor.as_ptr());
            let start = match *of_reply {
                true => arena_of(1 - own_number(), base).start,
                false => 0,
            };
            // SAFETY: none: this is the wild store whose harm is to be contained.
            unsafe { ((base + start + place) as *mut u64).write_volatile(0xBAD) };
        });
        match task.expect("room").wait().expect_err("it faults") {
            TaskError::WorkerDied(death) => {
                assert_eq!(
                    death.cause,
                    Cause::Signal(Signal::SIGSEGV as i32),
                    "{place:#x}"
                );
                replaced(&pool, &[death.pid]);
            }
            other => panic!("{place:#x}: {other}"),
        }
    }
    let sum = pool.par_sum(&anchor).wait().expect("it serves");
    assert_eq!(sum, 0);
}
