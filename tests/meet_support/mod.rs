//! A directory of its own for each test, and the other end of a socket by hand.

#![allow(
    dead_code,
    unsafe_code,
    reason = "each test binary uses a part of it; forks"
)]

use std::future::Future;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::{env, fs, process, thread};

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, socket,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, fork};

/// A directory of one test, removed with all that is in it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gristmill-meet-{}-{number}", process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        Self(directory)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("socket")
    }

    pub(crate) fn open_to_all(&self) {
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o777)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A connection that knows nothing of how to behave.
pub(crate) fn connect(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let address = UnixAddr::new(path).unwrap();
    nix::sys::socket::connect(socket.as_raw_fd(), &address).unwrap();
    socket
}

pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) {
    let parts = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &parts, &[], flags, None).unwrap();
}

/// The same, with a descriptor beside it, so many times.
pub(crate) fn send_descriptors(socket: &OwnedFd, bytes: &[u8], fd: &impl AsRawFd, count: usize) {
    let descriptors = vec![fd.as_raw_fd(); count];
    let beside = [ControlMessage::ScmRights(&descriptors)];
    let parts = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &parts, &beside, flags, None).unwrap();
}

/// Listens, and knows nothing of how to behave.
pub(crate) fn listen(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let address = UnixAddr::new(path).unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), &address).unwrap();
    nix::sys::socket::listen(&socket, Backlog::new(8).unwrap()).unwrap();
    socket
}

/// The next that has connected there.
pub(crate) fn accept(socket: &OwnedFd) -> OwnedFd {
    let fd = nix::sys::socket::accept(socket.as_raw_fd()).unwrap();
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::empty();
    let bytes = recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, flags)
        .unwrap()
        .bytes;
    buffer[..bytes].to_vec()
}

/// Gives up root for good, in this process.
pub(crate) fn become_user(id: u32) {
    nix::unistd::setgid(Gid::from_raw(id)).unwrap();
    nix::unistd::setuid(Uid::from_raw(id)).unwrap();
}

/// What `body` gives in a forked child.
pub(crate) fn in_a_fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `body` alone, which waits for no other thread, and ends at once.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = body();
            // SAFETY: ends the child without running its parent's handlers.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            status => panic!("{status:?}"),
        },
    }
}

struct Thread(thread::Thread);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Thread(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
