//! What this process may use of the machine: cores, and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// How many cores this process may keep busy: affinity and the quota of its control group counted.
/// One where the kernel does not say.
pub(crate) fn available() -> usize {
    allowed(quota())
}

/// The same by a quota that is known: no more than a system call, where to find out about a quota
/// takes a dozen.
pub(crate) fn allowed(quota: Option<usize>) -> usize {
    let cores = match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count())
            .filter(|&core| set.is_set(core) == Ok(true))
            .count(),
        // More cores than such a set has bits.
        Err(_) => thread::available_parallelism().map_or(1, usize::from),
    };
    cores.min(quota.unwrap_or(usize::MAX)).max(1)
}

/// How many cores the control group lets this process keep busy, if that is less than it may run
/// on; as it was when a thread asked first that could tell, also in a process that this one is a
/// fork of.
pub(crate) fn quota() -> Option<usize> {
    static QUOTA: OnceLock<Option<usize>> = OnceLock::new();
    if let Some(quota) = QUOTA.get() {
        return *quota;
    }
    let most = thread::available_parallelism().ok()?.get();
    let own = allowed(None);
    let quota = (most < own).then_some(most);
    // A thread that may run on few cores sees no quota that is larger.
    if quota.is_some() || own >= online() {
        let _ = QUOTA.set(quota);
    }
    quota
}

/// How many cores the machine has, as far as the kernel says.
fn online() -> usize {
    // SAFETY: the call takes a number and touches no memory of ours.
    let cores = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(cores).unwrap_or(usize::MAX)
}

/// The core that runs this thread right now; a hint, for it may move at any time. `None` where the
/// kernel does not say.
pub(crate) fn current() -> Option<u32> {
    // SAFETY: the call takes no argument and touches no memory of ours.
    let core = unsafe { libc::sched_getcpu() };
    u32::try_from(core).ok()
}

/// Lets whoever waits for this core run first.
pub(crate) fn yield_now() {
    // SAFETY: the call takes no argument and touches no memory of ours.
    unsafe { libc::sched_yield() };
}

/// The bytes of memory that this process may have: the machine's, or less if its control group
/// says so. `u64::MAX` where nothing says anything.
pub(crate) fn memory_limit() -> u64 {
    let machine = meminfo(&["MemTotal"]).unwrap_or(u64::MAX);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_files(&groups)
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .fold(machine, u64::min)
}

/// The bytes that the machine can still give without killing anybody, swap included; `u64::MAX`
/// where the kernel does not say. An estimate, out of date when it returns.
pub(crate) fn memory_available() -> u64 {
    meminfo(&["MemAvailable", "SwapFree"]).unwrap_or(u64::MAX)
}

/// The sum of some lines of `/proc/meminfo`, in bytes.
fn meminfo(names: &[&str]) -> Option<u64> {
    sum_of(&fs::read_to_string("/proc/meminfo").ok()?, names)
}

/// Adds up `name: value kB` for each of `names`; `None` if one is missing or not a number.
fn sum_of(meminfo: &str, names: &[&str]) -> Option<u64> {
    let value = |name: &&str| -> Option<u64> {
        let rest = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'))?;
        let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    names.iter().map(value).sum()
}

/// The files that may limit a process in `groups` (the text of `/proc/self/cgroup`): those of its
/// group and of every group above, in both versions. In a container the path is that of the host
/// and only the topmost file exists, so a missing file means nothing.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(
            group
                .ancestors()
                .map(|above| Path::new(root).join(above).join(name)),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_something_to_offer() {
        assert!(available() >= 1);
        let all = thread::available_parallelism();
        assert_eq!(Some(available()), all.ok().map(usize::from));
        assert_eq!(allowed(Some(1)), 1);
        assert!(memory_limit() > 0);
        assert!(memory_available() > 0);
    }

    #[test]
    fn meminfo_is_read_by_whole_names() {
        let text = "MemTotal:       100 kB\nSwapFree:  5 kB\nSwapFreeX: 7 kB\nOdd: x kB\n";
        assert_eq!(sum_of(text, &["MemTotal", "SwapFree"]), Some(105 * 1024));
        assert_eq!(sum_of(text, &["Swap"]), None);
        assert_eq!(sum_of(text, &["Odd"]), None);
    }

    #[test]
    fn both_versions_of_control_groups_are_asked() {
        let asked = limit_files("0::/a/b\n");
        let expected = ["a/b/memory.max", "a/memory.max", "memory.max"];
        assert_eq!(
            asked,
            expected.map(|file| Path::new("/sys/fs/cgroup").join(file))
        );
        let asked = limit_files("3:cpu,memory:/c\n2:pids:/c\nnonsense\n");
        let expected = ["c/memory.limit_in_bytes", "memory.limit_in_bytes"];
        assert_eq!(
            asked,
            expected.map(|file| Path::new("/sys/fs/cgroup/memory").join(file))
        );
    }
}
