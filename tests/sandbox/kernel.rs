//! A kernel that cannot confine anybody. Threads of this test have a filter of their own that makes
//! the kernel answer as an older one would; what they start inherits it.

use std::collections::BTreeMap;
use std::thread;

use gristmill::{Error, Pool, Sandbox};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

#[cfg(target_arch = "x86_64")]
const ARCH: seccompiler::TargetArch = seccompiler::TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: seccompiler::TargetArch = seccompiler::TargetArch::aarch64;

/// What building a confined pool comes to where `call` fails with `errno`.
fn without(call: i64, errno: i32) -> Error {
    let old = thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            ARCH,
        );
        let program = BpfProgram::try_from(filter.unwrap()).unwrap();
        seccompiler::apply_filter(&program).unwrap();
        let builder = Pool::builder().workers(1);
        // It is the sandbox that is missed, not something else.
        builder.clone().build().unwrap();
        builder
            .sandbox(Sandbox::compute_only())
            .build()
            .unwrap_err()
    });
    old.join().unwrap()
}

#[track_caller]
fn is_missing(error: &Error, what: &str) {
    match error {
        Error::SandboxUnavailable { facility, wanted } => {
            assert!(facility.contains(what), "{error}");
            assert!(wanted.contains("Linux"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_kernel_without_landlock_is_named() {
    is_missing(
        &without(libc::SYS_landlock_create_ruleset, libc::ENOSYS),
        "Landlock",
    );
    // Built in, but switched off.
    is_missing(
        &without(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP),
        "Landlock",
    );
}

#[test]
fn a_kernel_without_filters_is_named() {
    is_missing(&without(libc::SYS_seccomp, libc::ENOSYS), "filter");
    is_missing(&without(libc::SYS_seccomp, libc::EINVAL), "filter");
}

#[test]
fn a_worker_that_cannot_be_confined_does_not_serve() {
    match without(libc::SYS_landlock_restrict_self, libc::E2BIG) {
        Error::SettingRefused { setting, reason } => {
            assert_eq!(setting, "sandbox");
            assert!(reason.contains("too long"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
