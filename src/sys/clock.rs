//! The clock that all processes of the machine share.

use std::time::Duration;

/// Nanoseconds of monotonic time, the same number in every process; never fails.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes of its type; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Processor time that the process `pid` has used, in the program and in the kernel; `None` if
/// there is no such process or the kernel does not say.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is valid for writes of its type.
    let found = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if found != 0 {
        return None;
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes of its type; a clock whose process has ended is refused.
    let told = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (told == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// When the process `pid` began, in the kernel's ticks since the machine did; `None` if there is no
/// such process. A number that is used again belongs to a process that began later.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The namespace in which this process has its number, for which alone [`started`] can answer; zero
/// if the kernel does not say.
pub(crate) fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// The time that is `later` than `start`; far away if it is more than the clock can say.
pub(crate) fn after(start: u64, later: Duration) -> u64 {
    let later = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
    start.saturating_add(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_has_an_end() {
        let first = now();
        assert!(first > 0 && now() >= first);
        assert_eq!(after(5, Duration::from_micros(1)), 1005);
        assert_eq!(after(5, Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_process_began_once() {
        let own = started(std::process::id()).unwrap();
        assert_eq!(started(std::process::id()), Some(own));
        assert!(started(1).unwrap() <= own);
        assert_eq!(started(1 << 22), None);
    }

    #[test]
    fn processor_time_is_told_of_processes_that_are_there() {
        let mut last = processor_time(std::process::id()).unwrap();
        for _ in 0..3 {
            std::hint::black_box((0..1_000_000_u32).fold(1, |x, i| std::hint::black_box(x ^ i)));
            let now = processor_time(std::process::id()).unwrap();
            assert!(now > last);
            last = now;
        }
        assert_eq!(processor_time(1 << 22), None);
    }
}
