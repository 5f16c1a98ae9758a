//! The hook that turns a process into a worker, seen from outside: it is linked into whatever uses
//! the crate, although nothing calls it, and it comes before `main`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use gristmill as _;

/// What makes a process a worker.
const VARIABLE: &str = concat!(
    "GRISTMILL_WORKER_",
    env!("CARGO_PKG_VERSION_MAJOR"),
    "_",
    env!("CARGO_PKG_VERSION_MINOR"),
    "_",
    env!("CARGO_PKG_VERSION_PATCH"),
);

#[test]
fn this_executable_has_the_hook() {
    let output = Command::new(env::current_exe().unwrap())
        .env(VARIABLE, "nonsense")
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(70));
    // The test harness would print how many tests it runs.
    assert!(output.stdout.is_empty());
}

#[test]
#[ignore = "builds a package of its own"]
fn every_kind_of_target_has_the_hook() {
    let targets = cargo(&["test", "--all-targets", "--", "--nocapture"]);
    // A unit test, an integration test and a bench without harness.
    assert_eq!(targets.matches("checked").count(), 3, "{targets}");
    let documented = cargo(&["test", "--doc"]);
    assert!(documented.contains("2 passed"), "{documented}");
    for target in [&["run"][..], &["run", "--example", "example"]] {
        let printed = cargo(target);
        assert!(printed.contains("checked"), "{printed}");
    }
}

#[test]
#[ignore = "builds a package of its own"]
fn link_time_optimisation_keeps_the_hook() {
    for target in [&["run"][..], &["run", "--example", "example"]] {
        let printed = cargo(&[target, &["--profile", "release-fat"]].concat());
        assert!(printed.contains("checked"), "{printed}");
    }
}

/// Runs cargo in the fixture's package and gives what it prints.
fn cargo(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let host = root.join("tests/fixtures/host");
    // The crates that were fetched for this package are enough for that one.
    fs::copy(root.join("Cargo.lock"), host.join("Cargo.lock")).unwrap();
    let (command, rest) = arguments.split_first().unwrap();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([command, "--offline"])
        .args(rest)
        .current_dir(host)
        .env("HOST_VARIABLE", VARIABLE)
        .env(
            "CARGO_TARGET_DIR",
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("host"),
        )
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}:\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}
