//! Exchanges with a pool of procspawn's.

use serde::{Deserialize, Serialize};

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};

/// Bytes that are serialised as one piece, which is the best for it.
#[derive(Serialize, Deserialize)]
struct Bytes(#[serde(with = "serde_bytes")] Vec<u8>);

fn sum_of(bytes: Bytes) -> u64 {
    match bytemuck::try_cast_slice(&bytes.0) {
        Ok(words) => read(words),
        Err(_) => read(&bytemuck::allocation::pod_collect_to_vec::<u8, u64>(
            &bytes.0,
        )),
    }
}

/// The parent's side.
pub(crate) struct Processes {
    pool: procspawn::Pool,
    words: usize,
}

impl Processes {
    pub(crate) fn start(message: Message) -> Result<Self, String> {
        Ok(Self {
            pool: procspawn::Pool::new(1).map_err(|error| error.to_string())?,
            words: message.words,
        })
    }
}

impl Exchange for Processes {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut bytes = vec![0_u8; self.words * 8];
        write(bytemuck::cast_slice_mut(&mut bytes), seed);
        // A wrong answer shows that something failed.
        self.pool.spawn(Bytes(bytes), sum_of).join().unwrap_or(0)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.pool.kill();
    }
}
