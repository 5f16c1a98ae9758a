//! Programs that start processes of their own, and the end of those.

#![expect(unsafe_code, reason = "ignores a signal, and forks workers")]

use std::fs;
use std::os::unix::process::parent_id;
use std::thread;
use std::time::Duration;

use gristmill::{Builder, Pool, Process, StartMethod, Worker};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::program::Program;
use crate::scenario::{say, wait_for_word};

/// Runs the program of that name, if it is one of these.
pub(crate) fn run(name: &str) -> bool {
    match name {
        "daemon_and_survivor" => daemon_and_survivor(),
        "process_and_interrupt" => process_and_interrupt(),
        "process_idle" => process_idle(),
        "forked_by_a_server" => started_by(Builder::start_method, StartMethod::ForkServer),
        "forked" => started_by(forks, ()),
        _ => return false,
    }
    true
}

fn forks(builder: Builder, (): ()) -> Builder {
    // SAFETY: the workers run nothing.
    unsafe { builder.fork() }
}

/// Owns a pool whose workers are no ordinary ones.
fn started_by<T>(by: fn(Builder, T) -> Builder, how: T) {
    let builder = Pool::builder().workers(2).memory_budget(1 << 28);
    let pool = by(builder, how).build().expect("a pool");
    let task = pool.spawn(1_u64, |x| x.to_native() + 1).expect("submitted");
    assert_eq!(*task.wait().expect("it ends well"), 2);
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    // All children, the server among them.
    say(&format!("workers {}", lists.collect::<String>()));
    wait_for_word();
    drop(pool);
    say("dropped");
    wait_for_word();
}

pub(crate) fn forked_workers_die_with_the_program_and_with_the_pool() {
    for (scenario, count) in [("forked_by_a_server", 3), ("forked", 2)] {
        for killed in [true, false] {
            let mut program = Program::start(scenario);
            let processes = program.workers();
            assert_eq!(processes.len(), count);
            match killed {
                true => program.signal(Signal::SIGKILL),
                false => {
                    program.go_on();
                    assert_eq!(program.line(), "dropped");
                }
            }
            processes.into_iter().for_each(|process| process.ends());
            if !killed {
                program.go_on();
                assert_eq!(program.end().code, Some(0));
            }
            program.end();
            program.left_nothing();
        }
    }
}

fn forever(_: &()) {
    loop {
        thread::park();
    }
}

fn daemon() -> Process {
    Process::spawn((), forever).expect("started")
}

fn tell(processes: &[&Process]) {
    let pids: Vec<String> = processes.iter().map(|it| it.pid().to_string()).collect();
    say(&format!("workers {}", pids.join(" ")));
}

fn daemon_and_survivor() {
    let survivor = Process::builder().daemon(false);
    let survivor = survivor.spawn(std::process::id(), |parent| {
        while parent_id() == parent.to_native() {
            thread::sleep(Duration::from_millis(1));
        }
        // Without the end of a line: it goes out because the process ends as a program does.
        print!("survived");
    });
    tell(&[&daemon(), &survivor.expect("started")]);
    wait_for_word();
}

pub(crate) fn daemons_die_with_the_program_and_others_survive() {
    for graceful in [false, true] {
        let mut program = Program::start("daemon_and_survivor");
        let mut pids = program.workers().into_iter();
        let (daemon, survivor) = (pids.next().expect("two"), pids.next().expect("two"));
        assert!(daemon.lives() && survivor.lives());
        match graceful {
            true => program.go_on(),
            false => program.signal(Signal::SIGKILL),
        }
        program.end();
        daemon.ends();
        assert_eq!(program.line(), "survived");
        survivor.ends();
        program.left_nothing();
    }
}

fn process_and_interrupt() {
    for terminal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: ignoring installs no handler.
        unsafe { signal(terminal, SigHandler::SigIgn) }.expect("a signal that can be ignored");
    }
    let process = daemon();
    // Once a nested one has answered, the first has long set its signals.
    let answer = Worker::spawn((), |()| 5_u64).expect("started").wait();
    assert_eq!(*answer.expect("it ends well"), 5);
    tell(&[&process]);
    wait_for_word();
    assert!(process.is_alive());
}

pub(crate) fn a_process_leaves_the_terminal_to_the_program() {
    let mut program = Program::start("process_and_interrupt");
    let processes = program.workers();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        program.signal_group(signal);
    }
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    processes.into_iter().for_each(|process| process.ends());
}

fn process_idle() {
    let process = daemon();
    tell(&[&process]);
    wait_for_word();
}

pub(crate) fn a_process_that_waits_costs_nothing() {
    let mut program = Program::start("process_idle");
    let processes = program.workers();
    processes.iter().for_each(|process| process.sleeps());
    let ticks = || processes[0].ticks() + program.ticks();
    let before = ticks();
    // The length of the measurement, not a wait for anything.
    thread::sleep(Duration::from_secs(1));
    let used = ticks() - before;
    // Whoever polls or spins takes about a hundred.
    assert!(used <= 10, "{used} ticks of a hundredth of a second");
    program.go_on();
    assert_eq!(program.end().code, Some(0));
}
