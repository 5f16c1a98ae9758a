//! What a user reads.

use super::*;
use crate::protocol::panic::PanicReport;

#[test]
fn a_panic_names_element_and_place() {
    let report = PanicReport {
        message: "negative".into(),
        file: "src/main.rs".into(),
        line: 3,
        column: 9,
        ..PanicReport::default()
    };
    let error = Error::from(TaskError::from(report.with_element(7)));
    assert_eq!(
        error.to_string(),
        "the function panicked at element 7, in src/main.rs:3:9: negative"
    );
}

#[test]
fn a_death_names_process_signal_and_ranges() {
    let death = WorkerDeath {
        peak_memory: Some(3 << 20),
        attempts: 2,
        task: None,
        elements: Some(10..20),
        undefined: vec![10..20, 40..50],
        ..WorkerDeath::new(42, Cause::Signal(15))
    };
    assert_eq!(
        TaskError::from(death).to_string(),
        "worker 42 was ended by SIGTERM (signal 15) while it worked on elements 10..20, having \
         used at most 3 MiB of memory; it was attempt 2, all others ended likewise; undefined are \
         now elements 10..20 and 40..50; the worker has been replaced"
    );
}

#[test]
fn damage_says_what_was_wanted_and_found_and_what_became_of_the_pool() {
    let damage = Damage {
        rebuilt: true,
        undefined: vec![3..5, 7..9],
        ..Damage::new(
            "the state of a task",
            "one that its workers can leave",
            "0x7".into(),
        )
    };
    assert_eq!(
        TaskError::from(damage).to_string(),
        "a worker overwrote shared bookkeeping through a wild pointer: the state of a task was \
         0x7; wanted one that its workers can leave; all workers have been replaced, and the pool \
         goes on; undefined are now elements 3..5 and 7..9"
    );
}

#[test]
fn signals_are_named_by_their_numbers() {
    for (number, name) in [
        (1, "SIGHUP"),
        (6, "SIGABRT"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (19, "SIGSTOP"),
        (31, "SIGSYS"),
    ] {
        assert_eq!(Cause::Signal(number).signal_name(), Some(name));
    }
    for number in [i32::MIN, -1, 0, 32, 64, i32::MAX] {
        assert_eq!(Cause::Signal(number).signal_name(), None);
    }
}

#[test]
fn errors_are_small_and_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Error>();
    assert!(size_of::<Error>() <= 128, "{} bytes", size_of::<Error>());
}

#[test]
fn a_task_is_told_by_its_slot_and_generation() {
    for (slot, generation) in [(0, 0), (7, 1), (4095, u32::MAX), (65534, 1 << 16)] {
        let task = TaskId::new(slot, generation).unwrap();
        assert_eq!(task.parts(), (slot, generation));
        assert_eq!(task.to_string(), format!("{slot}.{generation}"));
    }
    assert_eq!(size_of::<Option<TaskId>>(), 6);
}
