//! A state of each worker's own, built once and borrowed by its tasks: here a table of primes that
//! takes its time to make, and a scratch buffer that is never allocated again.
//!
//! `cargo run --release --example worker_state`

use std::time::Instant;

use gristmill::{Error, Pool, TaskHandle};

/// Stands for what is dear to make and cannot be shared: a model, a connection, a plan of FFTW's.
struct Factoriser {
    primes: Vec<u64>,
    factors: Vec<u64>,
}

impl Factoriser {
    fn new(limit: u64) -> Self {
        let mut is_prime = vec![true; limit as usize + 1];
        let mut primes = Vec::new();
        for n in 2..=limit {
            if is_prime[n as usize] {
                primes.push(n);
                (n * n..=limit)
                    .step_by(n as usize)
                    .for_each(|m| is_prime[m as usize] = false);
            }
        }
        Self {
            primes,
            factors: Vec::new(),
        }
    }

    fn factorise(&mut self, mut n: u64) -> &[u64] {
        self.factors.clear();
        for &prime in &self.primes {
            if prime * prime > n {
                break;
            }
            while n.is_multiple_of(prime) {
                self.factors.push(prime);
                n /= prime;
            }
        }
        if n > 1 {
            self.factors.push(n);
        }
        &self.factors
    }
}

fn main() -> Result<(), Error> {
    let began = Instant::now();
    let pool = Pool::builder()
        .workers(2)
        .worker_state(2_000_000_u64, |&limit| Factoriser::new(limit))
        .build()?;
    println!(
        "two workers, each with its table, after {:?}",
        began.elapsed()
    );

    let numbers = (1..=2_000_u64).map(|i| i * 1_000_003 + 7);
    let tasks: Vec<(u64, TaskHandle<Vec<u64>>)> = numbers
        .map(|n| {
            let task = pool.spawn_with_state(n, |state: &mut Factoriser, n| {
                state.factorise(n.to_native()).to_vec()
            });
            task.map(|task| (n, task))
        })
        .collect::<Result<_, _>>()?;
    let mut most = (0, 0);
    for (n, task) in tasks {
        let factors = task.wait()?;
        assert_eq!(
            factors
                .iter()
                .map(|factor| factor.to_native())
                .product::<u64>(),
            n
        );
        most = most.max((factors.len(), n));
    }
    println!("most factors: {} of {}", most.0, most.1);

    // A panic takes the state along, which is made anew: nobody sees it half-changed.
    let bad = pool.spawn_with_state((), |state: &mut Factoriser, ()| -> u64 {
        state.primes.clear();
        panic!("with {} primes", state.primes.len())
    })?;
    println!("{}", bad.wait().expect_err("it panics"));
    let again = pool.spawn_with_state(91_u64, |state: &mut Factoriser, n| {
        state.factorise(n.to_native()).to_vec()
    })?;
    assert_eq!(**again.wait()?, [7, 13]);
    Ok(())
}
