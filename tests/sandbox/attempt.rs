//! What a worker in a sandbox must not be able to do: each thing by its name, tried for real.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

/// What the attempts are aimed at.
#[derive(rkyv::Archive, rkyv::Serialize)]
pub(crate) struct Target {
    /// A file that is there, in a directory that is there.
    pub(crate) file: String,
    /// The port of a TCP listener.
    pub(crate) port: u16,
    /// The process that owns the pool.
    pub(crate) parent: u32,
    /// Where a word of that process is.
    pub(crate) word: u64,
}

/// Fail with an error in any sandbox: only to look.
pub(crate) const LOOKS: &[&str] = &[
    "read a file",
    "ask about a file",
    "list a directory",
    "read the parent's memory file",
    "read a link",
    "live on after the parent",
    "change the flags of an open file",
    "raise a limit",
];

/// Fail with an error, or kill.
pub(crate) const ACTS: &[&str] = &[
    "write a file",
    "make a file",
    "remove a file",
    "rename a file",
    "cut a file",
    "make a directory",
    "connect by TCP",
    "listen by TCP",
    "send by UDP",
    "connect by a Unix socket",
    "make a pair of sockets",
    "make a pipe",
    "make a memory file",
    "run a program",
    "fork",
    "trace the parent",
    "write the parent's memory",
    "write the parent's memory file",
    "signal the parent",
    "signal the parent's group",
    "hold the parent by a descriptor",
    "make a ring for system calls",
    "load a program into the kernel",
    "use the kernel's keys",
    "watch the machine's performance",
    "leave the namespaces",
    "mount",
    "change the root",
];

/// Not tried without a sandbox: they need privileges, or would stop the test itself.
pub(crate) const NOT_FOR_ALL: &[&str] = &[
    "trace the parent",
    "signal the parent's group",
    "load a program into the kernel",
    "make a ring for system calls",
    "use the kernel's keys",
    "watch the machine's performance",
    "leave the namespaces",
    "mount",
    "change the root",
    "raise a limit",
    "change the flags of an open file",
    "live on after the parent",
];

/// Does it; the error number if it was refused.
pub(crate) fn attempt(what: &str, target: &ArchivedTarget) -> i32 {
    match act(what, target) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

fn act(what: &str, target: &ArchivedTarget) -> io::Result<()> {
    let file = target.file.as_str();
    let beside = |name: &str| format!("{file}-{name}-{}", std::process::id());
    let memory = format!("/proc/{}/mem", target.parent);
    let port = target.port.to_native();
    let parent = target.parent.to_native() as libc::pid_t;
    match what {
        "read a file" => fs::read(file).map(drop),
        "ask about a file" => fs::metadata(file).map(drop),
        "list a directory" => fs::read_dir("/proc").map(drop),
        "read the parent's memory file" => File::open(memory).map(drop),
        "read a link" => fs::read_link("/proc/self/exe").map(drop),
        "write a file" => OpenOptions::new().write(true).open(file).map(drop),
        "make a file" => {
            let path = beside("made");
            File::create(&path)?;
            fs::remove_file(path)
        }
        "remove a file" => remove(&beside("gone")),
        "rename a file" => {
            fs::rename(file, beside("moved")).and_then(|()| fs::rename(beside("moved"), file))
        }
        "cut a file" => {
            let path = std::ffi::CString::new(file).expect("no zero");
            // SAFETY: a path that lives until the call has returned.
            done(unsafe { libc::truncate(path.as_ptr(), 8) }.into())
        }
        "make a directory" => {
            let path = beside("directory");
            fs::create_dir(&path)?;
            fs::remove_dir(path)
        }
        "connect by TCP" => TcpStream::connect(("127.0.0.1", port)).map(drop),
        "listen by TCP" => TcpListener::bind("127.0.0.1:0").map(drop),
        "send by UDP" => UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(b"x", ("127.0.0.1", port)))
            .map(drop),
        "connect by a Unix socket" => UnixDatagram::unbound().map(drop),
        "make a pair of sockets" => UnixStream::pair().map(drop),
        "make a pipe" => io::pipe().map(drop),
        "run a program" => Command::new("/bin/true").status().map(drop),
        "fork" => fork(),
        "trace the parent" => call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, parent.into()]),
        "write the parent's memory" => write_word(parent, target.word.to_native()),
        "write the parent's memory file" => OpenOptions::new().write(true).open(memory).map(drop),
        "signal the parent" => call(libc::SYS_kill, [parent.into(), 0]),
        "signal the parent's group" => call(libc::SYS_kill, [0, 0]),
        "hold the parent by a descriptor" => call(libc::SYS_pidfd_open, [parent.into(), 0]),
        "live on after the parent" => call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0]),
        "change the flags of an open file" => call(libc::SYS_fcntl, [1, 4]),
        "raise a limit" => raise_limit(),
        "make a memory file" => {
            nix::sys::memfd::memfd_create(c"x", nix::sys::memfd::MFdFlags::empty())
                .map(drop)
                .map_err(Into::into)
        }
        "make a ring for system calls" => call(libc::SYS_io_uring_setup, [1, 0]),
        "load a program into the kernel" => call(libc::SYS_bpf, [0, 0]),
        "use the kernel's keys" => call(libc::SYS_keyctl, [0, 0]),
        "watch the machine's performance" => call(libc::SYS_perf_event_open, [0, 0]),
        "leave the namespaces" => call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0]),
        "mount" => call(libc::SYS_mount, [0, 0]),
        "change the root" => call(libc::SYS_chroot, [c"/".as_ptr() as i64, 0]),
        other => panic!("there is no attempt to {other}"),
    }
}

fn done(answer: i64) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn call(number: i64, arguments: [i64; 2]) -> io::Result<()> {
    let [first, second] = arguments;
    // SAFETY: integers, null where memory is meant, or a text that lives for ever.
    done(unsafe { libc::syscall(number, first, second, 0, 0, 0) })
}

/// Of a file that the caller has to make where it can.
fn remove(path: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        child => {
            // SAFETY: null means that the status is not wanted.
            done(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }.into())
        }
    }
}

fn write_word(parent: libc::pid_t, word: u64) -> io::Result<()> {
    let value = u64::MAX;
    let here = libc::iovec {
        iov_base: (&raw const value).cast_mut().cast(),
        iov_len: 8,
    };
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(word as usize),
        iov_len: 8,
    };
    // SAFETY: one vector each, of which the kernel reads `here`; `there` is an atomic word.
    done(
        unsafe { libc::process_vm_writev(parent, &raw const here, 1, &raw const there, 1, 0) }
            as i64,
    )
}

fn raise_limit() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads one structure, which lives until the call has returned.
    done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) }.into())
}
