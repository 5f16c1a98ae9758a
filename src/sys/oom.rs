//! How often the kernel killed somebody because memory ran out.

use std::fs;
use std::path::Path;

/// Kills so far; `None` where the kernel does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OomKills {
    /// In the control group of this process.
    pub(crate) group: Option<u64>,
    /// On the machine.
    pub(crate) machine: Option<u64>,
}

impl OomKills {
    /// Reads the counters; an old or unreadable file is none.
    pub(crate) fn now() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let machine = fs::read_to_string("/proc/vmstat").unwrap_or_default();
        Self {
            group: groups.lines().find_map(group_kills),
            machine: count_in(&machine),
        }
    }
}

/// Kills in the group of a line of `/proc/self/cgroup`. In a container the path is that of the
/// host, so that the file is found at the root instead.
fn group_kills(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.events"),
        list if list.split(',').any(|one| one == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.oom_control")
        }
        _ => return None,
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().find_map(|above| {
        let file = Path::new(root).join(above).join(name);
        count_in(&fs::read_to_string(file).ok()?)
    })
}

/// The value of the line `oom_kill`.
fn count_in(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    value?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 5\n";
        assert_eq!(count_in(events), Some(2));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(count_in("oom_kill x\n"), None);
    }

    #[test]
    fn counters_do_not_fall() {
        let before = OomKills::now();
        let after = OomKills::now();
        assert!(before.machine <= after.machine && before.group <= after.group);
    }
}
