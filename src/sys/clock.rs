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
}
