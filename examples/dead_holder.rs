//! A worker dies holding a lock, in the middle of a transfer; the next to lock it is told, finds
//! what was written, and puts it right.
//!
//! `cargo run --example dead_holder`

use std::time::{Duration, Instant};

use gristmill::{Handle, LockError, Mutex, Pool, Region};

/// Two accounts, and what is on its way from the first to the second.
type Books = [i64; 3];

const TOTAL: i64 = 1000;

fn transfer(books: &Mutex<Books>, amount: i64, dies: bool) {
    let mut books = match books.lock_blocking() {
        Ok(guard) => guard,
        Err(LockError::Poisoned(guard)) => repair(books, guard),
        Err(error) => panic!("{error}"),
    };
    books[2] = amount;
    books[0] -= amount;
    if dies {
        println!(
            "worker {} dies, {amount} being on their way",
            std::process::id()
        );
        std::process::abort();
    }
    books[1] += amount;
    books[2] = 0;
}

/// What was taken and has not arrived goes back.
fn repair<'a>(
    mutex: &Mutex<Books>,
    mut books: gristmill::MutexGuard<'a, Books>,
) -> gristmill::MutexGuard<'a, Books> {
    println!(
        "worker {} finds {:?} and repairs it",
        std::process::id(),
        *books
    );
    books[0] = TOTAL - books[1];
    books[2] = 0;
    mutex.clear_poison();
    books
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let region = Region::new(2 << 20)?;
    let books = Mutex::new(&region, [TOTAL, 0, 0])?;
    let pool = Pool::builder().workers(2).region(&region).build()?;
    let name = books.handle().words();
    let began = Instant::now();
    let tasks = (0..20)
        .map(|number| {
            pool.spawn((name, number == 7), |arguments| {
                let words = [arguments.0[0].into(), arguments.0[1].into()];
                let books: Mutex<Books> = Handle::from_words(words).open().expect("it is there");
                transfer(&books, 10, arguments.1);
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut lost = 0;
    for task in tasks {
        if let Err(error) = task.wait() {
            println!("a task: {error}");
            lost += 1;
        }
    }
    let books = match books.lock_timeout(Duration::from_secs(10)) {
        Ok(guard) => *guard,
        // Nobody else came after the dead.
        Err(LockError::Poisoned(guard)) => *repair(&books, guard),
        Err(error) => return Err(format!("nobody should hold it: {error}").into()),
    };
    println!("{books:?} after {lost} death, in {:?}", began.elapsed());
    assert_eq!((lost, books[0] + books[1], books[2]), (1, TOTAL, 0));
    Ok(())
}
