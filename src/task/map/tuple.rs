//! Tuples as items, whose parts a function gets one by one.

use crate::protocol::archive::Payload;

/// A tuple of two to six [payloads](Payload), whose archived parts
/// [`Pool::starmap`](crate::Pool::starmap) hands over.
pub trait Tuple: Payload + 'static {
    /// A tuple of references to the archived parts.
    type Parts<'a>;

    #[doc(hidden)]
    fn parts(archived: &Self::Archived) -> Self::Parts<'_>;
}

macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Payload + 'static),+> Tuple for ($($part,)+) {
            type Parts<'a> = ($(&'a $part::Archived,)+);

            fn parts(archived: &Self::Archived) -> Self::Parts<'_> {
                ($(&archived.$index,)+)
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
