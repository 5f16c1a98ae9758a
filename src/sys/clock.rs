//! The clock that all processes of the machine share.

use std::time::Duration;

/// Nanoseconds of monotonic time, the same number in every process; never fails.
pub(crate) fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// As [`now`], but of the kernel's last tick, of which there are 100 to 1,000 a second: some
/// nanoseconds even where a virtual machine makes the processor's counter dear.
#[inline]
pub(crate) fn last_tick() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds by a clock that exists on every Linux.
#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes of its type.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
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
    field_of_stat(pid, 19)?.parse().ok()
}

/// Whether the first thread of the process `pid` sleeps just now, for whatever reason; `None` if
/// there is no such process or the kernel does not say.
pub(crate) fn sleeps(pid: u32) -> Option<bool> {
    field_of_stat(pid, 0).map(|state| matches!(&*state, "S" | "D"))
}

/// What the kernel says of a process, the state being the first.
fn field_of_stat(pid: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields
        .split_ascii_whitespace()
        .nth(index)
        .map(str::to_owned)
}

/// The namespace in which this process has its number, for which alone [`started`] can answer; zero
/// if the kernel does not say.
pub(crate) fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// A count that goes on with time, in a fraction of the time that a look at the clock takes. What
/// a tick is, [`Tempo`] knows.
#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: reads a counter that every such processor has.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        now()
    }
}

/// How long a tick is, about: measured against the clock, for guesses only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tempo {
    /// Of 1024 ticks.
    nanoseconds: u64,
}

impl Tempo {
    /// From how ticks and clock went on since both were looked at (`(ticks(), now())`).
    pub(crate) fn since(before: (u64, u64)) -> Self {
        let passed = ticks().saturating_sub(before.0).max(1);
        let time = now().saturating_sub(before.1);
        // Slower than a tick in 16 ns, no counter is.
        let nanoseconds = (time.saturating_mul(1024) / passed).clamp(1, 16 * 1024);
        Self { nanoseconds }
    }

    /// How long ago the count was `before`, in nanoseconds.
    #[inline]
    pub(crate) fn elapsed(self, before: u64) -> u64 {
        // A counter that differs between cores may seem to go back.
        let passed = ticks().saturating_sub(before);
        passed.saturating_mul(self.nanoseconds) / 1024
    }
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
    fn a_process_that_waits_sleeps() {
        assert_eq!(sleeps(1 << 22), None);
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        // It may be seen at work, or not to be seen yet, but it does not end by itself.
        while sleeps(child.id()) != Some(true) {
            assert_eq!(child.try_wait().unwrap(), None);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn ticks_keep_about_the_time_of_the_clock() {
        let begin = (ticks(), now());
        while now() < begin.1 + 200_000 {}
        let tempo = Tempo::since(begin);
        let (before, start) = (ticks(), now());
        while now() < start + 1_000_000 {}
        let time = tempo.elapsed(before);
        // As roughly as guesses need it, on a machine that is busy.
        assert!((250_000..1_000_000_000).contains(&time), "{time} ns");
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
