//! Functions in processes of their own: one for its effect, one for its result, one that crashes.
//!
//! ```sh
//! cargo run --example process
//! ```

use std::time::Duration;

use gristmill::{Process, TaskError, Worker};

/// A document, as it crosses to the process that works on it.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Document {
    title: String,
    text: String,
}

/// What comes back.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Summary {
    title: String,
    words: u64,
    longest: String,
}

fn summarise(document: &ArchivedDocument) -> Summary {
    let words = document.text.split_whitespace();
    let longest = words.clone().max_by_key(|word| word.len());
    Summary {
        title: document.title.as_str().to_owned(),
        words: words.count() as u64,
        longest: longest.unwrap_or_default().to_owned(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For its effect. It has its own statics, heap and signal handlers.
    let greeter = Process::builder().name("greeter");
    let greeter = greeter.spawn(String::from("world"), |name| {
        println!("hello, {name}, from process {}", std::process::id());
    })?;
    greeter.wait()?;

    // For its result, which is read where the process wrote it.
    let document = Document {
        title: "Hamlet".into(),
        text: "To be, or not to be, that is the question".into(),
    };
    let summary = Worker::spawn(document, summarise)?.wait()?;
    println!(
        "{}: {} words, the longest is {:?}",
        summary.title, summary.words, summary.longest
    );

    // Whatever happens there stays there.
    let crash: Worker<u64> = Worker::spawn((), |()| std::process::abort())?;
    match crash.wait() {
        Err(TaskError::WorkerDied(death)) => println!("as expected: {death}"),
        other => println!("it should have died: {other:?}"),
    }

    // A time limit is the caller's: wait for so long, then end it.
    let slow = Process::spawn((), |()| {
        loop {
            std::thread::park();
        }
    })?;
    if slow.wait_timeout(Duration::from_millis(100)).is_none() {
        slow.terminate()?;
        println!(
            "'{}' took too long: {}",
            slow.name(),
            slow.wait().unwrap_err()
        );
    }
    Ok(())
}
