//! The end of the parent, in each way it can come: no worker outlives it, nothing is left behind.
//!
//! The tests start this executable again as a program that owns a pool, a scenario, and look at it
//! from outside.

mod processes;
mod program;
mod scenario;

use std::env;
use std::panic;
use std::process::ExitCode;

use nix::sys::signal::Signal;

use program::Program;

/// A name and what is tried.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("sigkill_leaves_nothing", sigkill_leaves_nothing),
    (
        "sigkill_while_starting_leaves_nothing",
        sigkill_while_starting_leaves_nothing,
    ),
    ("exit_while_jobs_run", exit_while_jobs_run),
    ("panic_in_main_while_jobs_run", panic_in_main_while_jobs_run),
    ("pool_dropped_in_a_future", pool_dropped_in_a_future),
    (
        "runtime_dropped_while_jobs_run",
        runtime_dropped_while_jobs_run,
    ),
    (
        "interrupt_is_the_parents_decision",
        interrupt_is_the_parents_decision,
    ),
    (
        "interrupt_ends_all_if_the_parent_lets_it",
        interrupt_ends_all_if_the_parent_lets_it,
    ),
    ("idle_workers_sleep", idle_workers_sleep),
    (
        "forked_children_disturb_nothing",
        forked_children_disturb_nothing,
    ),
    (
        "daemons_die_with_the_program_and_others_survive",
        processes::daemons_die_with_the_program_and_others_survive,
    ),
    (
        "a_process_leaves_the_terminal_to_the_program",
        processes::a_process_leaves_the_terminal_to_the_program,
    ),
    (
        "forked_workers_die_with_the_program_and_with_the_pool",
        processes::forked_workers_die_with_the_program_and_with_the_pool,
    ),
    (
        "a_process_that_waits_costs_nothing",
        processes::a_process_that_waits_costs_nothing,
    ),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(program::SCENARIO) {
        scenario::run(&name);
        return ExitCode::SUCCESS;
    }
    // As cargo's own harness does: names, or parts of names, choose.
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let listed = env::args().any(|word| word == "--list");
    let ignored = env::args().any(|word| word == "--ignored");
    let mut failed = 0;
    for (name, test) in TESTS {
        let chosen = wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
        if !chosen || ignored {
            continue;
        }
        if listed {
            println!("{name}: test");
            continue;
        }
        let ended_well = panic::catch_unwind(test).is_ok();
        println!(
            "test {name} ... {}",
            if ended_well { "ok" } else { "FAILED" }
        );
        failed += usize::from(!ended_well);
    }
    ExitCode::from(u8::from(failed > 0))
}

fn sigkill_leaves_nothing() {
    for busy in ["busy", "idle", "busy", "stopped"] {
        let mut program = Program::start(if busy == "idle" { "idle" } else { "busy" });
        let workers = program.workers();
        if busy == "stopped" {
            workers[0].signal(Signal::SIGSTOP);
        }
        program.signal(Signal::SIGKILL);
        for worker in workers {
            worker.ends();
        }
        assert_eq!(program.end().signal, Some(Signal::SIGKILL as i32));
        program.left_nothing();
    }
}

fn sigkill_while_starting_leaves_nothing() {
    // Killed from within, by a thread that waits for the first worker to be listed by the kernel.
    for _ in 0..10 {
        let mut program = Program::start("die_while_starting");
        let workers = program.children();
        assert_eq!(program.end().signal, Some(Signal::SIGKILL as i32));
        for worker in workers {
            worker.ends();
        }
        program.left_nothing();
    }
}

fn exit_while_jobs_run() {
    let mut program = Program::start("exit");
    let workers = program.workers();
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    workers.into_iter().for_each(|worker| worker.ends());
    program.left_nothing();
}

fn panic_in_main_while_jobs_run() {
    let mut program = Program::start("panic");
    let workers = program.workers();
    program.go_on();
    // Unwinding dropped the pool, which waited for nobody but the workers it had killed.
    assert_eq!(program.end().code, Some(101));
    workers.into_iter().for_each(|worker| worker.ends());
    program.left_nothing();
}

fn pool_dropped_in_a_future() {
    let mut program = Program::start("drop_in_future");
    let workers = program.workers();
    program.go_on();
    // While the program lives on.
    workers.into_iter().for_each(|worker| worker.ends());
    assert_eq!(program.line(), "closed");
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    program.left_nothing();
}

fn runtime_dropped_while_jobs_run() {
    // Its last steps also have three listeners: the supervisor, a runtime and a blocked thread.
    let mut program = Program::start("drop_runtime");
    let workers = program.workers();
    program.go_on();
    assert_eq!(program.line(), "runtime gone");
    // The pool was not: its workers, which it then replaced, work for another runtime.
    assert_eq!(program.line(), "works on");
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    workers.into_iter().for_each(|worker| worker.ends());
    program.left_nothing();
}

fn interrupt_is_the_parents_decision() {
    let mut program = Program::start("ignore_interrupt");
    let workers = program.workers();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        program.signal_group(signal);
        program.go_on();
        assert_eq!(program.line(), "works on", "after {signal}");
    }
    assert!(
        workers.iter().all(|worker| worker.lives()),
        "a worker took it for itself"
    );
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    workers.into_iter().for_each(|worker| worker.ends());
}

fn interrupt_ends_all_if_the_parent_lets_it() {
    let mut program = Program::start("busy");
    let workers = program.workers();
    program.signal_group(Signal::SIGINT);
    assert_eq!(program.end().signal, Some(Signal::SIGINT as i32));
    workers.into_iter().for_each(|worker| worker.ends());
    program.left_nothing();
}

fn idle_workers_sleep() {
    let mut program = Program::start("idle");
    let workers = program.workers();
    workers.iter().for_each(|worker| worker.sleeps());
    let ticks = || workers.iter().map(|worker| worker.ticks()).sum::<u64>() + program.ticks();
    let before = ticks();
    // The length of the measurement, not a wait for anything.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let used = ticks() - before;
    // A single process that spins or polls takes about a hundred.
    assert!(
        used <= 10,
        "{used} ticks of a hundredth of a second while idle"
    );
    program.go_on();
    assert_eq!(program.end().code, Some(0));
}

fn forked_children_disturb_nothing() {
    let mut program = Program::start("fork");
    let workers = program.workers();
    program.go_on();
    // One line a child, which says what it was refused, and what the parent found afterwards.
    let found = program.line();
    assert_eq!(found, "children: 8 of 8 refused everything, none hung");
    assert_eq!(program.line(), "works on");
    assert!(workers.iter().all(|worker| worker.lives()));
    program.go_on();
    assert_eq!(program.end().code, Some(0));
    workers.into_iter().for_each(|worker| worker.ends());
    program.left_nothing();
}
