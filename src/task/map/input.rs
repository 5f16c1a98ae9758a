//! Where items come from: an iterator, which has the next one or none, or a stream, which may have
//! it later.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

/// The input of a map: [`Items`] of an iterator, or [`Incoming`] ones of a stream.
///
/// Sealed: there are these two.
pub trait Source: sealed::Input {
    /// What it gives.
    type Item;

    #[doc(hidden)]
    fn poll_item(&mut self, context: Option<&mut Context<'_>>) -> Poll<Option<Self::Item>>;

    #[doc(hidden)]
    fn size_hint(&self) -> (usize, Option<usize>);
}

mod sealed {
    pub trait Input {}
}

/// The items of an iterator.
pub struct Items<I>(pub(super) I);

impl<I> sealed::Input for Items<I> {}

impl<I: Iterator> Source for Items<I> {
    type Item = I::Item;

    fn poll_item(&mut self, _: Option<&mut Context<'_>>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<I> fmt::Debug for Items<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// The items of a stream, as they come in.
pub struct Incoming<S>(pub(super) Pin<Box<S>>);

impl<S> sealed::Input for Incoming<S> {}

impl<S: Stream> Source for Incoming<S> {
    type Item = S::Item;

    fn poll_item(&mut self, context: Option<&mut Context<'_>>) -> Poll<Option<S::Item>> {
        match context {
            Some(context) => self.0.as_mut().poll_next(context),
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}
