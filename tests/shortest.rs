//! The program of fifteen lines.

use gristmill::Pool;

#[tokio::main(flavor = "current_thread")]
async fn main_of_a_user() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new()?;
    let xs = pool.alloc_from_fn(1_000_000, |i| i as f64)?.freeze();
    let roots = pool.par_map(&xs, |x| x.sqrt()).await?;
    let squares = pool.par_map(&xs, |x| x * x);
    let squares = tokio::task::spawn_blocking(|| squares.wait()).await??;
    let words = pool.spawn(String::from("to be or not"), |text| {
        text.split(' ').map(String::from).collect::<Vec<_>>()
    })?;
    assert_eq!((roots[81], squares[9]), (9.0, 81.0));
    assert_eq!(words.await?[1], "be");
    Ok(())
}

#[test]
fn fifteen_lines_do() {
    main_of_a_user().unwrap();
}
