//! Tasks that ask for tasks: counts what lies below a directory, each directory being a task.
//!
//! `cargo run --release --example crawl [directory]`
//!
//! A task submits nothing itself. It returns what it wants done, and whoever reads the results
//! submits that, so no worker waits for another, however deep it goes.

use std::error::Error;
use std::fs;

use gristmill::{Pool, TaskSet};
use rkyv::string::ArchivedString;
use rkyv::{Archive, Serialize};

/// What a directory has in it.
#[derive(Archive, Serialize, Default)]
struct Found {
    directories: Vec<String>,
    files: u64,
    bytes: u64,
    /// Why it cannot be read, if it cannot.
    refused: Option<String>,
}

fn look(directory: &ArchivedString) -> Found {
    let entries = match fs::read_dir(directory.as_str()) {
        Ok(entries) => entries,
        Err(error) => {
            return Found {
                refused: Some(format!("{}: {error}", directory.as_str())),
                ..Found::default()
            };
        }
    };
    let mut found = Found::default();
    for entry in entries.flatten() {
        // Links are not followed, so there is an end.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        match (metadata.is_dir(), entry.path().to_str()) {
            (true, Some(path)) => found.directories.push(path.to_owned()),
            _ => {
                found.files += 1;
                found.bytes += metadata.len();
            }
        }
    }
    found
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).unwrap_or_else(|| "src".into());
    let pool = Pool::new()?;
    let mut tasks = TaskSet::new();
    tasks.push(pool.spawn(root.clone(), look)?);
    let (mut directories, mut files, mut bytes, mut refused) = (0_u64, 0, 0, 0_u64);
    while let Some((_, found)) = tasks.wait_next() {
        let found = found?;
        directories += 1;
        files += found.files.to_native();
        bytes += found.bytes.to_native();
        refused += u64::from(found.refused.is_some());
        for directory in found.directories.iter() {
            tasks.push(pool.spawn(directory.as_str().to_owned(), look)?);
        }
    }
    println!("{root}: {directories} directories, {files} files, {bytes} bytes; {refused} refused");
    Ok(())
}
