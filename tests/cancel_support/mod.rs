//! Futures that are dropped before they are done, again and again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::future::{Either, select};

/// Any numbers, always the same.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// What a future gives; `None`: it was dropped after a few looks, or, one time in four, never.
pub(crate) async fn soon<F: Future>(future: F, random: &mut Random) -> Option<F::Output> {
    let patience = match random.below(4) {
        0 => u64::MAX,
        _ => random.below(3),
    };
    let mut looks = 0;
    let gives_up = poll_fn(move |context| {
        looks += 1;
        if looks > patience {
            return Poll::Ready(());
        }
        if patience < u64::MAX {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    });
    match select(pin!(future), gives_up).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
