//! Messages one way: one side sends as fast as it can, the other reads each and checks it.

pub(crate) mod channel;
pub(crate) mod iceoryx;
pub(crate) mod ours;
pub(crate) mod threads;

use crate::contest::{Turn, Work, timed};

/// Eight words, which are a cache line.
pub(crate) type Small = [u64; 8];

/// Messages that may wait on the way: small ones, and large ones.
pub(crate) const SMALL_CAPACITY: usize = 1024;
pub(crate) const LARGE_CAPACITY: usize = 4;

/// A buffer for messages of so many words. It is written, so that it has pages of its own: all that
/// were never written are one page of zeros.
pub(crate) fn buffer(words: usize) -> Vec<u64> {
    vec![1; words]
}

/// Makes a buffer the message of this number: two words differ from what was there.
pub(crate) fn stamp(message: &mut [u64], number: u64) {
    let last = message.len() - 1;
    message[0] = number;
    message[last] = !number;
}

/// Whoever receives: all words of each message are looked at.
#[derive(Default)]
pub(crate) struct Tally {
    number: u64,
    right: u64,
}

impl Tally {
    pub(crate) fn look(&mut self, message: &[u64]) {
        let sum = message.iter().fold(0_u64, |sum, w| sum.wrapping_add(*w));
        // A one for each word but two, which add up to all ones, or one less than none.
        let wanted = (message.len() as u64).wrapping_sub(3);
        let is_right = message.first() == Some(&self.number) && sum == wanted;
        self.right += u64::from(is_right);
        self.number += 1;
    }

    /// Of messages as bytes, which may lie anywhere.
    pub(crate) fn look_at_bytes(&mut self, message: &[u8]) {
        match bytemuck::try_cast_slice(message) {
            Ok(words) => self.look(words),
            Err(_) => self.look(&bytemuck::allocation::pod_collect_to_vec::<u8, u64>(
                message,
            )),
        }
    }

    pub(crate) fn right(&self) -> u64 {
        self.right
    }
}

/// Somebody on the way.
pub(crate) trait OneWay {
    /// The receiver is awake, and knows that so many messages follow.
    fn begin(&mut self, count: u64) -> Option<()>;

    /// Sends one message, which may be used again.
    fn send(&mut self, message: &[u64]) -> Option<()>;

    /// Sends them all, each made when it is its turn.
    fn send_all(&mut self, count: u64, words: usize) -> Option<()> {
        let mut message = buffer(words);
        (0..count).try_for_each(|number| {
            stamp(&mut message, number);
            self.send(&message)
        })
    }

    /// How many were right, when all have been received.
    fn end(&mut self) -> Option<u64>;
}

/// Turns of so many messages of so many words.
pub(crate) fn stream(mut peer: impl OneWay + 'static, count: usize, words: usize) -> Work {
    let count = count as u64;
    Box::new(move |_| {
        if peer.begin(count).is_none() {
            return Turn::new(f64::NAN, false);
        }
        let (right, time) = timed(|| {
            peer.send_all(count, words)?;
            peer.end()
        });
        Turn::new(time / count as f64, right == Some(count))
    })
}
