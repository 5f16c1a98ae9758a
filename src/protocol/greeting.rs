//! What two unrelated programs say to each other before they share anything, and how each message
//! of theirs begins. Reading is total: whoever connects may send any bytes.
//!
//! ```text
//! hello    0       8          12       16       24                32        64
//!          [ magic ][ version ][ flags ][ layout ][ started       ][ nonce   ]
//! proof    0       32
//!          [ mac   ]
//! verdict  0       4         8
//!          [ magic ][ reason ]
//! message  0      4        8
//!          [ kind ][ bytes ][ the bytes … ]
//! ```

/// The bytes `gristmt` and 1.
const MAGIC: u64 = u64::from_le_bytes(*b"gristmt\x01");

/// The bytes `verd`.
const VERDICT_MAGIC: u32 = u32::from_le_bytes(*b"verd");

/// Set by whoever wants the other to prove that it has the key.
const KEYED: u32 = 1;

/// Of what is said here, and in which order.
const VERSION: u32 = 1;

/// How large the first word is.
pub(crate) const HELLO_BYTES: usize = 64;

/// How large the proof that one has the key is.
pub(crate) const PROOF_BYTES: usize = 32;

/// How large the last word before messages is.
pub(crate) const VERDICT_BYTES: usize = 8;

/// How large the beginning of a message is.
pub(crate) const HEAD_BYTES: usize = 8;

/// The longest message.
pub(crate) const MOST_BYTES: usize = 64 << 10;

/// The first word of each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Whether it wants a proof that the other has the key, and gives one itself.
    pub(crate) is_keyed: bool,
    /// What regions look like to it.
    pub(crate) layout: u64,
    /// When its process began, as the kernel counts.
    pub(crate) started: u64,
    /// Never the same twice: what a proof is about.
    pub(crate) nonce: [u8; 32],
}

/// Why a first word is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHello {
    /// These are the words of something else.
    Stranger,
    /// It is this crate of another version.
    Version(u32),
}

impl Hello {
    /// As it is sent.
    pub(crate) fn to_bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(if self.is_keyed { KEYED } else { 0 }).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.layout.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.started.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.nonce);
        bytes
    }

    /// What was received, if it is a first word.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, BadHello> {
        let Ok(bytes) = <&[u8; HELLO_BYTES]>::try_from(bytes) else {
            return Err(BadHello::Stranger);
        };
        if word(bytes, 0) != MAGIC {
            return Err(BadHello::Stranger);
        }
        let version = half(bytes, 8);
        let flags = half(bytes, 12);
        if version != VERSION || flags & !KEYED != 0 {
            return Err(BadHello::Version(version));
        }
        let mut nonce = [0; 32];
        nonce.copy_from_slice(&bytes[32..64]);
        Ok(Self {
            is_keyed: flags & KEYED != 0,
            layout: word(bytes, 16),
            started: word(bytes, 24),
            nonce,
        })
    }

    /// The version that this program speaks.
    pub(crate) fn version() -> u32 {
        VERSION
    }
}

/// What one end has to say when it has heard the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// Let us go on.
    Welcome = 1,
    /// Its user is none of those that are let in.
    WrongUser = 2,
    /// It does not have the key.
    WrongKey = 3,
    /// It speaks another version, or shares memory of another layout.
    OtherVersion = 4,
    /// It asks for no key, and here one is asked for.
    KeyMissing = 5,
    /// It asks for a key, and here there is none.
    KeyUnexpected = 6,
}

impl Verdict {
    const ALL: [Self; 6] = [
        Self::Welcome,
        Self::WrongUser,
        Self::WrongKey,
        Self::OtherVersion,
        Self::KeyMissing,
        Self::KeyUnexpected,
    ];

    /// As it is sent.
    pub(crate) fn to_bytes(self) -> [u8; VERDICT_BYTES] {
        let word = u64::from(VERDICT_MAGIC) | u64::from(self as u32) << 32;
        word.to_le_bytes()
    }

    /// What was received, if it is a verdict. One may come in place of whatever else is due.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <&[u8; VERDICT_BYTES]>::try_from(bytes).ok()?;
        let reason = half(bytes, 4);
        (half(bytes, 0) == VERDICT_MAGIC)
            .then(|| Self::ALL.into_iter().find(|&each| each as u32 == reason))
            .flatten()
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Bytes of the program's own.
    Bytes = 1,
    /// The same, with a descriptor beside them.
    Descriptor = 2,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Bytes, Self::Descriptor];

    /// The beginning of a message of `bytes` bytes.
    pub(crate) fn head(self, bytes: usize) -> [u8; HEAD_BYTES] {
        let word = u64::from(self as u32) | (bytes as u64) << 32;
        word.to_le_bytes()
    }

    /// What a message is, and what follows its head; `None` if it is not a message.
    pub(crate) fn split(message: &[u8]) -> Option<(Self, &[u8])> {
        let (head, body) = message.split_first_chunk::<HEAD_BYTES>()?;
        let kind = half(head, 0);
        let kind = Self::ALL.into_iter().find(|&each| each as u32 == kind)?;
        (half(head, 4) as usize == body.len()).then_some((kind, body))
    }
}

/// The number at `at`, which the caller knows to be inside.
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(half(bytes, at)) | u64::from(half(bytes, at + 4)) << 32
}

fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let part: [u8; 4] = core::array::from_fn(|index| bytes[at + index]);
    u32::from_le_bytes(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            is_keyed: true,
            layout: 0x0123_4567_89ab_cdef,
            started: 77,
            nonce: [9; 32],
        }
    }

    #[test]
    fn what_is_said_is_heard() {
        assert_eq!(Hello::from_bytes(&hello().to_bytes()), Ok(hello()));
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_bytes(&verdict.to_bytes()), Some(verdict));
        }
        for kind in Kind::ALL {
            let message = [&kind.head(3)[..], b"abc"].concat();
            assert_eq!(Kind::split(&message), Some((kind, &b"abc"[..])));
            assert_eq!(Kind::split(&message[..10]), None, "cut off");
        }
    }

    #[test]
    fn another_version_is_told_from_a_stranger() {
        let mut bytes = hello().to_bytes();
        bytes[8] = 9;
        assert_eq!(Hello::from_bytes(&bytes), Err(BadHello::Version(9)));
        bytes[0] ^= 1;
        assert_eq!(Hello::from_bytes(&bytes), Err(BadHello::Stranger));
        assert_eq!(
            Hello::from_bytes(b"GET / HTTP/1.1"),
            Err(BadHello::Stranger)
        );
        assert_eq!(Hello::from_bytes(b""), Err(BadHello::Stranger));
    }

    proptest! {
        #[test]
        fn any_bytes_are_heard_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Hello::from_bytes(&bytes);
            let _ = Verdict::from_bytes(&bytes);
            if let Some((_, body)) = Kind::split(&bytes) {
                prop_assert!(body.len() + HEAD_BYTES == bytes.len());
            }
        }
    }
}
