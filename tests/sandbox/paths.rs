//! Paths that a sandbox leaves open.

use std::fs::{self, OpenOptions};
use std::io::Write;

use gristmill::{Cause, Error, Pool, Sandbox, TaskError, Violation};

use super::tempdir::Directory;
use super::{EACCES, EPERM, SIGSYS, confined};

/// Reads a file in a worker; the error number if it cannot.
fn read(pool: &Pool, path: &str) -> Result<String, i32> {
    let task = pool.spawn(path.to_owned(), |path| {
        fs::read_to_string(path.as_str()).map_err(|error| error.raw_os_error().unwrap_or(-1))
    });
    task.unwrap().wait().unwrap().to_owned().unwrap()
}

/// Writes a file in a worker; 0 or the error number.
fn write(pool: &Pool, path: &str) -> Result<i32, TaskError> {
    let task = pool.spawn(path.to_owned(), |path| {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path.as_str());
        match file.and_then(|mut file| file.write_all(b"written")) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        }
    });
    task.unwrap().wait().map(|errno| errno.to_native())
}

fn in_directory(directory: &Directory, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

fn refused(errno: i32) -> bool {
    [EPERM, EACCES].contains(&errno)
}

#[test]
fn what_may_be_read_is_read_and_nothing_else() {
    let (open, closed) = (Directory::new(), Directory::new());
    for directory in [&open, &closed] {
        fs::write(directory.path().join("file"), "text").unwrap();
    }
    let one_file = in_directory(&closed, "alone");
    fs::write(&one_file, "alone").unwrap();
    let sandbox = Sandbox::compute_only()
        .allow_read(open.path())
        .allow_read(&one_file);
    let pool = confined(sandbox.clone());
    assert_eq!(
        read(&pool, &in_directory(&open, "file")).as_deref(),
        Ok("text")
    );
    assert_eq!(read(&pool, &one_file).as_deref(), Ok("alone"));
    let other = in_directory(&closed, "file");
    assert!(read(&pool, &other).is_err_and(refused));
    let name = closed.path().file_name().unwrap().to_str().unwrap();
    let around = in_directory(&open, &format!("../{name}/file"));
    assert_eq!(fs::read_to_string(&around).unwrap(), "text");
    assert!(read(&pool, &around).is_err_and(refused));
    assert!(refused(write(&pool, &in_directory(&open, "file")).unwrap()));
    assert!(refused(write(&pool, &in_directory(&open, "new")).unwrap()));
    assert!(!open.path().join("new").exists());

    let pool = confined(sandbox.on_violation(Violation::Kill));
    assert_eq!(read(&pool, &one_file).as_deref(), Ok("alone"));
    assert!(read(&pool, &other).is_err_and(refused));
    match write(&pool, &one_file) {
        Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Signal(SIGSYS)),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_to_string(&one_file).unwrap(), "alone");
}

#[test]
fn what_may_be_written_is_written_and_nothing_else() {
    let (open, closed) = (Directory::new(), Directory::new());
    let victim = in_directory(&closed, "file");
    fs::write(&victim, "text").unwrap();
    let pool = confined(Sandbox::compute_only().allow_write(open.path()));
    let new = in_directory(&open, "new");
    assert_eq!(write(&pool, &new).unwrap(), 0);
    assert_eq!(fs::read_to_string(&new).unwrap(), "written");
    assert_eq!(read(&pool, &new).as_deref(), Ok("written"));
    assert!(refused(write(&pool, &victim).unwrap()));
    assert!(refused(
        write(&pool, &in_directory(&closed, "new")).unwrap()
    ));
    let task = pool.spawn((new.clone(), victim.clone()), |paths| {
        let (new, victim) = (paths.0.as_str(), paths.1.as_str());
        let moved = format!("{new}-moved");
        [
            fs::rename(new, &moved).is_ok(),
            fs::remove_file(&moved).is_ok(),
            fs::create_dir(new).is_ok(),
            fs::remove_dir(new).is_ok(),
            fs::remove_file(victim).is_ok(),
            fs::rename(victim, new).is_ok(),
            std::os::unix::fs::symlink(victim, new).is_ok(),
            fs::hard_link(victim, new).is_ok(),
        ]
    });
    let done = *task.unwrap().wait().unwrap();
    assert_eq!(done, [true, true, true, true, false, false, false, false]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "text");
}

#[test]
fn a_path_that_is_not_there_is_an_error_of_build() {
    let directory = Directory::new();
    let missing = directory.path().join("missing");
    let builder = Pool::builder().sandbox(Sandbox::compute_only().allow_read(&missing));
    match builder.build() {
        Err(Error::InvalidConfig { setting, found, .. }) => {
            assert_eq!(setting, "sandbox");
            assert!(found.contains("missing"), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_that_cannot_be_kept_to_paths_are_an_error_of_build() {
    let setup = || {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    };
    let directory = Directory::new();
    let builder = Pool::builder().workers(1).worker_setup(setup);
    match builder
        .clone()
        .sandbox(Sandbox::compute_only().allow_read(directory.path()))
        .build()
    {
        Err(Error::SettingRefused { setting, reason }) => {
            assert_eq!(setting, "sandbox");
            assert!(reason.contains("busy"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Without paths the filter holds for them as well.
    builder.sandbox(Sandbox::compute_only()).build().unwrap();
}
