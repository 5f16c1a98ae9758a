//! What a record says of the machine and of who took part.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;

/// The three load averages.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Bytes that may be used without anybody's harm.
pub(crate) fn available_memory() -> u64 {
    field("/proc/meminfo", "MemAvailable")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or(1 << 30, |kib| kib << 10)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => String::new(),
    }
}

/// Facts that a reader needs to judge the figures.
pub(crate) fn facts() -> BTreeMap<String, String> {
    let pages = "/sys/kernel/mm/transparent_hugepage";
    let here = env!("CARGO_MANIFEST_DIR");
    let commit = said_by("git", &["-C", here, "describe", "--always", "--dirty"]);
    let facts = [
        ("allocator", crate::allocator::name().to_owned()),
        ("commit", commit),
        (
            "cpu",
            field("/proc/cpuinfo", "model name").unwrap_or_default(),
        ),
        (
            "glibc_tunables",
            env::var("GLIBC_TUNABLES").unwrap_or_default(),
        ),
        ("huge_pages", first_line(&format!("{pages}/enabled"))),
        (
            "huge_pages_shared",
            first_line(&format!("{pages}/shmem_enabled")),
        ),
        ("kernel", said_by("uname", &["-sr"])),
        ("load_before", load()),
        (
            "memory",
            field("/proc/meminfo", "MemTotal").unwrap_or_default(),
        ),
        (
            "processors",
            std::thread::available_parallelism().map_or(String::new(), |n| n.to_string()),
        ),
        ("rustc", said_by("rustc", &["--version"])),
    ];
    let facts = facts.into_iter();
    facts.map(|(name, fact)| (name.to_owned(), fact)).collect()
}

/// The versions of those who take part, as locked.
pub(crate) fn versions() -> BTreeMap<String, String> {
    const NAMES: [&str; 7] = [
        "crossbeam-channel",
        "iceoryx2",
        "ipc-channel",
        "mimalloc",
        "procspawn",
        "rayon",
        "tokio",
    ];
    let lock = include_str!("../../../Cargo.lock");
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let mut lines = lock.lines();
    let mut versions = BTreeMap::new();
    while let Some(line) = lines.next() {
        if line.starts_with("name = ") && NAMES.contains(&&*quoted(line)) {
            let version = lines.next().map(quoted).unwrap_or_default();
            versions.insert(quoted(line), version);
        }
    }
    versions.extend(crate::peer::python::versions());
    versions
}

/// Today, by the machine's clock.
pub(crate) fn today() -> String {
    said_by("date", &["-u", "+%Y-%m-%d"])
}

/// The time of day.
pub(crate) fn now() -> String {
    said_by("date", &["-u", "+%H:%M"])
}
