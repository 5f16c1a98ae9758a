//! The smallest useful program: a buffer, a function, all cores.

use gristmill::{Error, Pool};

fn main() -> Result<(), Error> {
    let pool = Pool::new()?;
    let xs = pool.alloc_from_fn(1 << 20, |i| i as f64)?.freeze();
    let roots = pool.par_map(&xs, |x| x.sqrt()).wait()?;
    let sum = pool.spawn_with(roots.freeze(), (), |roots, ()| roots.iter().sum::<f64>())?;
    println!(
        "the square roots below 2^20 add up to {}",
        sum.wait()?.to_native()
    );
    Ok(())
}
