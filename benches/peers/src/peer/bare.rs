//! The least that an exchange can be: words in shared memory, watched or slept upon. The answer
//! takes the place of the message.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, hint, ptr};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};
use crate::remote::SERVE;

const SLEEP: u32 = 0;
const SPIN: u32 = 1;
const FUTEX: u32 = 2;
const EXIT: u32 = 3;

#[repr(C, align(128))]
struct Word(AtomicU32);

/// The beginning of the shared memory; the message follows.
#[repr(C)]
struct Header {
    mode: Word,
    request: Word,
    reply: Word,
}

const HEADER: usize = 4096;
const _: () = assert!(size_of::<Header>() <= HEADER);

/// The shared memory of two.
struct Shared {
    start: NonNull<u8>,
    size: usize,
}

impl Shared {
    fn map(file: impl AsFd, words: usize) -> Result<Self, String> {
        let size = HEADER + words * 8;
        let length = NonZeroUsize::new(size).ok_or("empty")?;
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping where the kernel likes.
        let start = unsafe { mmap(None, length, rights, flags, file, 0) };
        let start = start.map_err(|error| error.to_string())?.cast();
        Ok(Self { start, size })
    }

    fn header(&self) -> &Header {
        // SAFETY: it begins with a page for the header, whose fields are atomic, and zero is a
        // value of each.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// So many words of the message, which whoever's turn it is may refer to.
    fn message(&self, words: usize) -> *mut [u64] {
        let start = self.start.as_ptr().wrapping_add(HEADER).cast::<u64>();
        assert!(HEADER + words * 8 <= self.size, "within the mapping");
        ptr::slice_from_raw_parts_mut(start, words)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody refers to any more.
        let _ = unsafe { munmap(self.start.cast(), self.size) };
    }
}

fn sleep_on(word: &AtomicU32, value: u32) {
    let op = libc::FUTEX_WAIT;
    let no_limit = ptr::null::<libc::timespec>();
    // SAFETY: the word lives as long as the call; a return for any reason is looked into.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, no_limit) };
}

fn wake(word: &AtomicU32) {
    // SAFETY: only the word's address is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// The parent's side.
pub(crate) struct Bare {
    shared: Shared,
    child: Child,
    message: Message,
    mode: u32,
    number: u32,
}

impl Bare {
    /// Both look at a flag without pause.
    pub(crate) fn spinning(message: Message) -> Result<Self, String> {
        Self::start(message, SPIN)
    }

    /// Both sleep until they are woken.
    pub(crate) fn sleeping(message: Message) -> Result<Self, String> {
        Self::start(message, FUTEX)
    }

    fn start(message: Message, mode: u32) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let file = memfd_create(c"bare", MFdFlags::MFD_CLOEXEC);
        let file: OwnedFd = file.map_err(|error| error.to_string())?;
        let file = File::from(file);
        let size = HEADER + message.words * 8;
        file.set_len(size as u64).map_err(text)?;
        let shared = Shared::map(&file, message.words)?;
        let mut command = Command::new(env::current_exe().map_err(text)?);
        let name = format!("bare/{}", message.name());
        let child = command.args([SERVE, &name]).stdin(Stdio::from(file));
        let child = child.spawn().map_err(text)?;
        Ok(Self {
            shared,
            child,
            message,
            mode,
            number: 0,
        })
    }

    fn set_mode(&self, mode: u32) {
        let word = &self.shared.header().mode.0;
        word.store(mode, Ordering::SeqCst);
        wake(word);
        wake(&self.shared.header().request.0);
    }
}

impl Exchange for Bare {
    fn begin(&mut self, _count: usize) {
        self.set_mode(self.mode);
    }

    fn exchange(&mut self, seed: u64) -> u64 {
        // SAFETY: the child has answered the last request, and reads after the next.
        write(
            unsafe { &mut *self.shared.message(self.message.touched) },
            seed,
        );
        let header = self.shared.header();
        self.number = self.number.wrapping_add(1);
        header.request.0.store(self.number, Ordering::SeqCst);
        if self.mode == FUTEX {
            wake(&header.request.0);
        }
        loop {
            let reply = header.reply.0.load(Ordering::Acquire);
            if reply == self.number {
                // SAFETY: the child has answered, and writes no more.
                return read(unsafe { &*self.shared.message(self.message.answer()) });
            }
            match self.mode {
                FUTEX => sleep_on(&header.reply.0, reply),
                _ => hint::spin_loop(),
            }
        }
    }

    fn end(&mut self) {
        if self.mode == SPIN {
            self.set_mode(SLEEP);
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.set_mode(EXIT);
        let _ = self.child.wait();
    }
}

/// The child's side: its standard input is the shared memory.
pub(crate) fn serve(message: Message) {
    // SAFETY: standard input, which nobody else here uses or closes.
    let input = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(0) });
    let Ok(shared) = Shared::map(&*input, message.words) else {
        return;
    };
    let header = shared.header();
    let mut seen = 0;
    loop {
        let mode = header.mode.0.load(Ordering::SeqCst);
        let request = header.request.0.load(Ordering::SeqCst);
        if request == seen {
            match mode {
                SLEEP => sleep_on(&header.mode.0, SLEEP),
                SPIN => hint::spin_loop(),
                FUTEX => sleep_on(&header.request.0, seen),
                _ => return,
            }
            continue;
        }
        // SAFETY: the parent has asked, and writes again when it has the answer.
        let sum = read(unsafe { &*shared.message(message.touched) });
        // SAFETY: as above.
        write(unsafe { &mut *shared.message(message.answer()) }, sum);
        seen = request;
        header.reply.0.store(seen, Ordering::SeqCst);
        if mode == FUTEX {
            wake(&header.reply.0);
        }
    }
}
