//! Exchanges with a pool of procspawn's.

use serde::{Deserialize, Serialize};

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};

/// Bytes that are serialised as one piece, which is the best for it.
#[derive(Serialize, Deserialize)]
struct Bytes(#[serde(with = "serde_bytes")] Vec<u8>);

/// Both sides: what arrives need not be aligned.
fn sum_of(bytes: &Bytes) -> u64 {
    match bytemuck::try_cast_slice(&bytes.0) {
        Ok(words) => read(words),
        Err(_) => read(&bytemuck::allocation::pod_collect_to_vec::<u8, u64>(
            &bytes.0,
        )),
    }
}

/// The child's side.
fn answer((message, words): (Bytes, usize)) -> Bytes {
    let sum = sum_of(&message);
    let mut answer = vec![0_u8; words * 8];
    match bytemuck::try_cast_slice_mut(&mut answer) {
        Ok(words) => write(words, sum),
        // An allocator that aligns less than all do.
        Err(_) => return Bytes(Vec::new()),
    }
    Bytes(answer)
}

/// The parent's side.
pub(crate) struct Processes {
    pool: procspawn::Pool,
    message: Message,
}

impl Processes {
    pub(crate) fn start(message: Message) -> Result<Self, String> {
        Ok(Self {
            pool: procspawn::Pool::new(1).map_err(|error| error.to_string())?,
            message,
        })
    }
}

impl Exchange for Processes {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut bytes = vec![0_u8; self.message.words * 8];
        write(bytemuck::cast_slice_mut(&mut bytes), seed);
        // A wrong answer shows that something failed.
        let arguments = (Bytes(bytes), self.message.answer());
        let answer = self.pool.spawn(arguments, answer).join();
        answer.map_or(0, |answer| sum_of(&answer))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.pool.kill();
    }
}
