//! A key that both ends have, and the proof that they do: an HMAC with SHA-256 over both first
//! words, one for each direction.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::terms::Role;
use crate::protocol::greeting::{HELLO_BYTES, PROOF_BYTES};

/// The shared key. It is shown to nobody.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What both ends have said first: the client's words, then the listener's.
pub(super) type Transcript = [[u8; HELLO_BYTES]; 2];

impl Key {
    pub(super) fn new(bytes: &[u8]) -> Self {
        // A key of any length will do for it; the error is the type's, not this case's.
        let mac = Hmac::new_from_slice(bytes);
        Self(mac.unwrap_or_else(|_| unreachable!("an HMAC takes keys of any length")))
    }

    /// A proof of one end is none of the other, so that nobody can give back what was just heard.
    fn mac(&self, role: Role, transcript: &Transcript) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(match role {
            Role::Listener => b"gristmill listener",
            Role::Client => b"gristmill client  ",
        });
        mac.update(&transcript[0]);
        mac.update(&transcript[1]);
        mac
    }

    /// What `role` proves itself with.
    pub(super) fn prove(&self, role: Role, transcript: &Transcript) -> [u8; PROOF_BYTES] {
        self.mac(role, transcript).finalize().into_bytes().into()
    }

    /// Whether `proof` is that of `role`; takes as long whether or not.
    pub(super) fn verify(&self, role: Role, transcript: &Transcript, proof: &[u8]) -> bool {
        self.mac(role, transcript).verify_slice(proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_key_one_end_and_one_conversation() {
        let key = Key::new(b"a key");
        let words = [[1; HELLO_BYTES], [2; HELLO_BYTES]];
        let proof = key.prove(Role::Client, &words);
        assert!(key.verify(Role::Client, &words, &proof));
        assert!(!key.verify(Role::Listener, &words, &proof));
        assert!(!key.verify(Role::Client, &[words[1], words[0]], &proof));
        assert!(!key.verify(Role::Client, &words, &proof[..31]));
        assert!(!Key::new(b"another").verify(Role::Client, &words, &proof));
        assert!(!Key::new(b"").verify(Role::Client, &words, &proof));
    }

    /// The second test case of RFC 4231.
    #[test]
    fn it_is_the_standards_hmac() {
        let mut mac = Key::new(b"Jefe").0;
        mac.update(b"what do ya want for nothing?");
        let expected = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95,
            0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9,
            0x64, 0xec, 0x38, 0x43,
        ];
        assert_eq!(mac.finalize().into_bytes()[..], expected);
    }
}
