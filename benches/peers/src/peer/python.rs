//! Python: its pools and what its processes share, in a virtual environment that a script makes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::contest::Work;
use crate::remote::Remote;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// Where the environment is; made once, which takes half a minute and the network.
fn environment() -> Result<&'static Path, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        eprintln!("making the Python environment …");
        let output = Command::new(format!("{HERE}/make-venv")).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("no word").to_owned();
            return Err(format!("no virtual environment: {last}"));
        }
        let place = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(PathBuf::from(place))
    };
    let made = MADE.get_or_init(make).as_ref();
    made.map(PathBuf::as_path).map_err(Clone::clone)
}

/// The versions of what takes part.
pub(crate) fn versions() -> Vec<(String, String)> {
    let pinned = include_str!("../../python/requirements.txt").lines();
    let split = |line: &str| {
        let (name, version) = line.split_once("==")?;
        Some((name.to_owned(), version.to_owned()))
    };
    pinned.filter_map(split).collect()
}

/// A process with a pool, which is stopped whenever it is not its turn: some of them poll.
struct Paused {
    remote: Option<Work>,
    group: Pid,
}

impl Paused {
    fn signal(&self, signal: Signal) {
        // It fails when all have ended, which a wrong answer shows.
        let _ = killpg(self.group, signal);
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        // Its input ends, and it ends its pool.
        drop(self.remote.take());
        // Whatever of it has survived that.
        self.signal(Signal::SIGKILL);
    }
}

/// A pool at work: `tasks`, `batches`, `call`, `map`, `start/fork` or `start/spawn`.
pub(crate) fn pool(peer: &str, work: &str, size: usize) -> Result<Work, String> {
    serve("pools.py", peer, work, size)
}

/// What processes share, at work: `stream`, `lock` and others, with the steps of a turn.
pub(crate) fn shared(peer: &str, work: &str, size: usize) -> Result<Work, String> {
    serve("shared.py", peer, work, size)
}

fn serve(script: &str, peer: &str, work: &str, size: usize) -> Result<Work, String> {
    let python = environment()?.join("bin/python");
    let mut command = Command::new(python);
    command.arg(format!("{HERE}/{script}"));
    command.args([peer, work, &size.to_string()]);
    // Settings of another machine's library, which has no such kernel here.
    command.env_remove("OPENBLAS_CORETYPE");
    command.env_remove("OPENBLAS_L2_SIZE");
    command.process_group(0);
    let end_with_us = || {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: the closure makes one system call and nothing else.
    unsafe { command.pre_exec(end_with_us) };
    let remote = Remote::launch(&mut command)?;
    let group = Pid::from_raw(remote.pid() as i32);
    let mut paused = Paused {
        remote: None,
        group,
    };
    paused.remote = Some(remote.work()?);
    paused.signal(Signal::SIGSTOP);
    Ok(Box::new(move |check| {
        paused.signal(Signal::SIGCONT);
        let turn = match &mut paused.remote {
            Some(work) => work(check),
            None => unreachable!("it is taken when this is dropped"),
        };
        paused.signal(Signal::SIGSTOP);
        turn
    }))
}
