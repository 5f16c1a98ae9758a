//! Files through which workers tell a test how far they are, and a test tells workers to go on.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// Beyond this a test has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// Looks until there is something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "{what} never came");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A directory of a test's own.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("death-{}-{test}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the target directory is writable");
        Self(path)
    }

    /// A file's name, to be given to workers.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }

    /// What stands in a file, once somebody has written it.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.file(name);
        until(&path, || {
            fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
        .trim()
        .to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a line at the end of a file: in one piece, whoever else does.
pub(crate) fn say(file: &str, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("the test's directory is writable");
}

/// Waits, in a worker, until the test has made a file.
pub(crate) fn obey(file: &str) {
    until(file, || Path::new(file).exists().then_some(()));
}

/// What a process does, by its letter in procfs: `S` sleeps, `T` is stopped, `R` runs.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses too.
    stat.rsplit(") ").next()?.chars().next()
}

/// Whether a process waits in the kernel for something to happen.
pub(crate) fn sleeps(pid: u32) -> bool {
    state(pid) == Some('S')
}
