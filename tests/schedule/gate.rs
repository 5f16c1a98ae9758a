//! What holds a worker until the test lets it go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// Beyond this a test has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

#[track_caller]
pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < LIMIT, "{what} never came");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What holds a worker until the test lets it go.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("schedule-{}-{test}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(path.with_extension("at"));
        Self(path)
    }

    pub(crate) fn file(&self) -> String {
        self.0.to_str().expect("a plain path").to_owned()
    }

    /// Waits until a worker stands before it; its process.
    pub(crate) fn reached(&self) -> u32 {
        let at = self.0.with_extension("at");
        let mut pid = None;
        until("a worker at the gate", || {
            let text = fs::read_to_string(&at).unwrap_or_default();
            pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
            pid.is_some()
        });
        pid.expect("until says so")
    }

    pub(crate) fn open(&self) {
        fs::write(&self.0, "").expect("the target directory is writable");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("at"));
    }
}

/// Stands before a gate, in a worker.
pub(crate) fn stand(file: &str) {
    let gate = Path::new(file);
    let at = gate.with_extension("at");
    fs::write(at, format!("{}\n", process::id())).expect("the target directory is writable");
    until("the gate", || gate.exists());
}
