//! The hook that turns a process into a worker, seen from outside: it is linked into whatever uses
//! the crate, although nothing calls it, and it comes before `main`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
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

#[test]
#[ignore = "builds a package of its own"]
fn a_user_crate_works_with_fat_optimisation_and_without_unwinding() {
    // Both profiles are built by the tests above as well.
    let example = ["run", "--example", "real_use"];
    let printed = cargo(&[&example[..], &["--profile", "release-fat"]].concat());
    assert!(printed.contains("told as a death"), "{printed}");
    let printed = cargo(&example);
    assert!(printed.contains("told as a panic"), "{printed}");
}

#[test]
#[ignore = "builds a package of its own"]
fn a_closure_that_captures_does_not_compile_and_says_what_to_do() {
    let features = ["--features", "captures"];
    let output = run_cargo(&[&["build", "--example", "captures"][..], &features].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it compiled");
    // The compiler may break the sentence between two lines.
    let plain = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [
        "this closure captures variables",
        "pass what it needs as context",
    ] {
        assert!(plain.contains(told), "{errors}");
    }
    let source = include_str!("fixtures/host/examples/captures.rs");
    let line = source
        .lines()
        .position(|line| line.contains("par_map"))
        .unwrap()
        + 1;
    let place = format!("examples/captures.rs:{line}:");
    assert!(errors.contains(&place), "not {place} but\n{errors}");
}

/// Runs cargo in the fixture's package and gives what it prints.
fn cargo(arguments: &[&str]) -> String {
    let output = run_cargo(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}:\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn run_cargo(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let host = root.join("tests/fixtures/host");
    // The crates that were fetched for this package are enough for that one.
    fs::copy(root.join("Cargo.lock"), host.join("Cargo.lock")).unwrap();
    let (command, rest) = arguments.split_first().unwrap();
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([command, "--offline"])
        .args(rest)
        .current_dir(host)
        .env("HOST_VARIABLE", VARIABLE)
        .env(
            "CARGO_TARGET_DIR",
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("host"),
        )
        .output()
        .unwrap()
}
