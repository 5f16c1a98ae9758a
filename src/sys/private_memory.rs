//! How much memory this process has for itself.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

/// Reads it again and again from a file that stays open: 1 µs a time.
#[derive(Debug)]
pub(crate) struct PrivateMemory {
    file: File,
    page_bytes: u64,
}

impl PrivateMemory {
    /// `None` when the kernel does not tell: without `/proc`.
    pub(crate) fn open() -> Option<Self> {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten()?;
        Some(Self {
            file: File::open("/proc/self/statm").ok()?,
            page_bytes: u64::try_from(page_bytes).ok()?,
        })
    }

    /// Bytes of physical memory that are neither a file's nor shared; `None` when the kernel does
    /// not tell.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.file.read_at(&mut text, 0).ok()?;
        let text = str::from_utf8(&text[..len]).ok()?;
        // size resident shared ..., in pages
        let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
        let (resident, shared) = (numbers.nth(1)??, numbers.next()??);
        Some(resident.saturating_sub(shared) * self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_counts() {
        const SIZE: usize = 256 << 20;
        let memory = PrivateMemory::open().unwrap();
        let before = memory.bytes().unwrap();
        let touched = std::hint::black_box(vec![1_u8; SIZE]);
        // Other tests allocate and free at the same time, but not as much as this.
        assert!(memory.bytes().unwrap() > before + SIZE as u64 / 2);
        drop(touched);
    }
}
