//! Processes by `fork`: a copy of this one, which goes on from here.

use std::fs;
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, fork};

use super::failure::SysError;

/// `PR_GET_TID_ADDRESS`, which not every flavour of libc names.
const PR_GET_TID_ADDRESS: i32 = 40;

/// How many threads this process has, if the kernel says so.
pub(crate) fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// Forks this process into a sibling, a child of its own parent: `None` in the copy, its number
/// here. The thread of the parent that started this process counts as the one that started the
/// sibling, also for the death signal.
///
/// It is the bare system call, for the C library has none that makes siblings. What the library's
/// `fork` does besides is done here or not needed: the thread's number in the library's own
/// records is renewed by the kernel, which knows the place; the list of robust mutexes is announced
/// again; and locks of other threads need no repair if there are no other threads. Handlers of
/// `pthread_atfork` are not called.
///
/// # Safety
/// This process has one thread.
pub(crate) unsafe fn sibling() -> Result<Option<i32>, SysError> {
    const WHAT: &str = "fork a sibling";
    let mut robust: (*mut libc::c_void, libc::size_t) = (ptr::null_mut(), 0);
    // SAFETY: both may be written, and live through the call.
    let has_robust = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            0,
            &raw mut robust.0,
            &raw mut robust.1,
        )
    } == 0;
    // SAFETY: plain C data, for which all zeros is a value.
    let mut plan: libc::clone_args = unsafe { std::mem::zeroed() };
    plan.flags = libc::CLONE_PARENT as u64;
    if let Some(place) = tid_place() {
        // As the library does: written now, registered again, cleared at the end.
        plan.flags |= (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
        plan.child_tid = place.addr() as u64;
    }
    // SAFETY: the copy has its own memory and this stack; the caller vouches that no other thread's
    // state is torn in it. The kernel writes to `place` in the copy only, where the library keeps
    // the number of this thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut plan, size_of_val(&plan)) };
    match Errno::result(pid).map_err(SysError::of(WHAT))? {
        0 => {
            if has_robust {
                // SAFETY: the list's head is this thread's own, in the copy as in the original.
                unsafe { libc::syscall(libc::SYS_set_robust_list, robust.0, robust.1) };
            }
            Ok(None)
        }
        pid => Ok(Some(pid as i32)),
    }
}

/// Where the C library keeps the number of this thread, as it told the kernel; `None` where it
/// told something else, or the kernel does not repeat it. Then the copy's library goes by the
/// number of the original's thread, which no thread of the copy can have meanwhile.
fn tid_place() -> Option<*mut i32> {
    let mut place: *mut i32 = ptr::null_mut();
    // SAFETY: the kernel writes a pointer to `place`.
    let answer = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut place) };
    if answer != 0 || place.is_null() {
        return None;
    }
    // SAFETY: the library registered this place for the kernel to write to, so it is mapped.
    let value = unsafe { place.read_volatile() };
    // SAFETY: takes nothing and gives a number.
    (i64::from(value) == unsafe { libc::syscall(libc::SYS_gettid) }).then_some(place)
}

/// Forks this process: `None` in the child, its number here.
///
/// # Safety
/// In the child only this thread exists. It may use nothing that another thread held at this
/// moment, but for the C library's allocator.
pub(crate) unsafe fn child() -> Result<Option<i32>, SysError> {
    // SAFETY: the caller's promise.
    match unsafe { fork() }.map_err(SysError::of("fork a worker"))? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child.as_raw())),
    }
}

/// Gives every signal its default again: handlers that were inherited speak for another process.
pub(crate) fn reset_signals() {
    for each in Signal::iterator() {
        // SAFETY: the default installs no handler. Two signals refuse, and have none.
        let _ = unsafe { signal(each, SigHandler::SigDfl) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;

    /// In a child that has one thread, as a server has.
    #[test]
    fn a_sibling_is_our_child_and_knows_its_number() {
        let (mut read, write) = std::io::pipe().expect("a pipe");
        // SAFETY: the child makes system calls, and leaves by `_exit`.
        let server = match unsafe { child() }.expect("a child") {
            Some(pid) => pid,
            None => {
                let knew = tid_place().is_some();
                // SAFETY: one thread.
                let code = match unsafe { sibling() } {
                    // What the library has for its number, if it was found, is this thread's.
                    Ok(None) => 10 + i32::from(tid_place().is_some() == knew),
                    Ok(Some(pid)) => {
                        let _ = (&write).write_all(&pid.to_ne_bytes());
                        0
                    }
                    Err(_) => 1,
                };
                // SAFETY: ends the server, or the sibling.
                unsafe { libc::_exit(code) }
            }
        };
        let end = |pid| waitpid(Pid::from_raw(pid), None).expect("our child");
        assert!(matches!(end(server), WaitStatus::Exited(_, 0)));
        let mut pid = [0; 4];
        read.read_exact(&mut pid).expect("the server told it");
        let status = end(i32::from_ne_bytes(pid));
        assert!(matches!(status, WaitStatus::Exited(_, 11)), "{status:?}");
    }
}
