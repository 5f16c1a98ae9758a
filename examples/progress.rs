//! A bar that follows a long job, beside whoever awaits the job.
//!
//! ```text
//! cargo run --release --example progress -- 200000000
//! ```

use std::time::Duration;

use futures_util::StreamExt;
use gristmill::Pool;
use indicatif::{ProgressBar, ProgressStyle};

const BAR: &str = "{bar:40} {percent:>3} %  {human_pos} of {human_len}  {per_sec}, {eta} left";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let len = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 1 << 22,
    };
    let pool = Pool::new()?;
    let mut job = pool.par_generate(len, |i| {
        // Newton's method, from far away: some hundred nanoseconds an element.
        let x = i as f64;
        (0..40).fold(x + 1.0, |root, _| 0.5 * (root + x / root))
    });
    let mut progress = job.progress_stream(Duration::from_millis(100));
    let bar = ProgressBar::new(len as u64).with_style(ProgressStyle::with_template(BAR)?);
    let follow = async {
        while let Some(progress) = progress.next().await {
            bar.set_position(progress.done);
        }
        bar.finish();
    };
    let (roots, ()) = tokio::join!(job, follow);
    let roots = roots?;
    println!("the last root is {}", roots[len.max(1) - 1]);
    Ok(())
}
