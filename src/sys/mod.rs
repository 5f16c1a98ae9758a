//! The only syscalls of the crate; each states what it wants, what it leaves and how it fails.

#![allow(unsafe_code, reason = "system calls")]

pub(crate) mod affinity;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod environment;
pub(crate) mod eventfd;
pub(crate) mod executable;
pub(crate) mod failure;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod limit;
pub(crate) mod map;
pub(crate) mod memfd;
pub(crate) mod oom;
pub(crate) mod pidfd;
pub(crate) mod pipe;
pub(crate) mod private_memory;
pub(crate) mod process;
pub(crate) mod random;
#[cfg(feature = "named")]
pub(crate) mod robust;
pub(crate) mod sandbox;
#[cfg(feature = "named")]
pub(crate) mod shm;
pub(crate) mod socket;
