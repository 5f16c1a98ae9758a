//! The identity of the running executable, compared before any function offset is believed.
//!
//! It is made of the linker's build id, where there is one, of the program headers (the layout of
//! code and data) and of the file's device, inode and size. The time of modification is no part:
//! touching the file of a running program must not make it refuse its next worker.

use std::{fs, os::unix::fs::MetadataExt, sync::OnceLock};

use crate::sys::executable::Executable;

/// Identity of an executable: equal in all processes that run the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct ImageId([u64; 4]);

const _: () = assert!(size_of::<ImageId>() == 32);

impl ImageId {
    /// The identity of the executable of this process; found out once, also for forks of it.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<ImageId> = OnceLock::new();
        *CURRENT.get_or_init(Self::find)
    }

    fn find() -> Self {
        let image = Executable::current();
        let mut digest = Digest::new();
        digest.write(image.build_id().unwrap_or_default());
        for header in image.headers() {
            let kind = u64::from(header.p_type) << 32 | u64::from(header.p_flags);
            digest.words([
                kind,
                header.p_offset,
                header.p_vaddr,
                header.p_filesz,
                header.p_memsz,
            ]);
        }
        // Without `/proc` no worker could be started; then the rest has to do.
        if let Ok(file) = fs::metadata("/proc/self/exe") {
            digest.words([file.dev(), file.ino(), file.size()]);
        }
        Self(digest.lanes)
    }

    /// As written to shared memory.
    pub(crate) const fn to_words(self) -> [u64; 4] {
        self.0
    }
}

/// FNV-1a in four lanes of 64 bits that start apart. It tells builds apart; it keeps nobody out.
struct Digest {
    lanes: [u64; 4],
}

impl Digest {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn new() -> Self {
        let mut digest = Self {
            lanes: [Self::OFFSET_BASIS; 4],
        };
        for (lane, first) in digest.lanes.iter_mut().zip(0..) {
            *lane = step(*lane, first);
        }
        digest
    }

    fn write(&mut self, bytes: &[u8]) {
        for lane in &mut self.lanes {
            *lane = bytes.iter().fold(*lane, |hash, &byte| step(hash, byte));
        }
    }

    fn words<const N: usize>(&mut self, words: [u64; N]) {
        words
            .into_iter()
            .for_each(|word| self.write(&word.to_le_bytes()));
    }
}

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(Digest::PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_counts() {
        let digest = |bytes: &[u8]| {
            let mut digest = Digest::new();
            digest.write(bytes);
            digest.lanes
        };
        // Published values of FNV-1a: a lane that starts with one more byte, zero.
        assert_eq!(step(Digest::OFFSET_BASIS, b'a'), 0xaf63_dc4c_8601_ec8c);
        let reference = digest(b"gristmill");
        for at in 0..9 {
            let mut other = *b"gristmill";
            other[at] ^= 1;
            let other = digest(&other);
            assert!(
                reference
                    .iter()
                    .zip(other)
                    .all(|(left, right)| *left != right)
            );
        }
        assert_ne!(digest(b""), digest(b"\0"));
    }

    #[test]
    fn it_stays_the_same_and_is_not_nothing() {
        let id = ImageId::current();
        assert_eq!(id, ImageId::find());
        assert_eq!(id, ImageId(id.to_words()));
        assert_ne!(id.to_words(), Digest::new().lanes);
    }
}
