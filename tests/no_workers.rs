//! A pool that cannot replace its workers says why. Alone in its process, whose limits it changes.

use gristmill::{Pool, TaskError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_refusal_of_the_kernel_is_told() {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // What is open stays so; nothing new can be opened.
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("a lower limit");
    for pid in pool.worker_pids() {
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a worker");
    }
    let outcome = pool.spawn(1_u8, |x| x + 1).map(|task| task.wait());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
    match outcome {
        Ok(Err(error @ TaskError::NoWorkers { .. })) => {
            let text = error.to_string();
            assert!(text.contains("EMFILE"), "{text}");
            let TaskError::NoWorkers { reason, .. } = error else {
                unreachable!("as above");
            };
            assert!(reason.is_some_and(|why| why.contains("EMFILE")));
        }
        other => panic!("{other:?}"),
    }
}
