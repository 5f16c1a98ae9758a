//! A function's name between processes: its offset in the executable that both of them run.
//!
//! The loader puts the executable at another address in each process, and adds the same number to
//! every address in it; what is left after subtracting that number is the same in all of them.
//! Whether both run the same executable is the business of [`ImageId`](super::image::ImageId).

use crate::sys::executable::Executable;

/// A function of the executable, as it is written into shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub(crate) struct FunctionId(u64);

/// The pointer leads out of the executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the function at {address:#x} is not part of the executable: it lies in a shared library \
     (a `dylib` crate, or `-C prefer-dynamic`), which a worker need not have loaded at the same \
     place. Link the crate that contains it into the executable"
)]
pub(crate) struct NotInImage {
    /// Where it points to.
    pub(crate) address: usize,
}

/// The number names no code: it was overwritten, or comes from another executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no code of this executable stands at offset {offset:#x}; the task was overwritten")]
pub(crate) struct BadFunction {
    /// What was read.
    pub(crate) offset: u64,
}

impl FunctionId {
    /// The name of the function at `pointer`.
    pub(crate) fn of(pointer: *const ()) -> Result<Self, NotInImage> {
        // Exposed, because the worker makes a pointer from the number alone.
        let address = pointer.expose_provenance();
        Executable::current()
            .code_offset(address)
            .map(Self)
            .ok_or(NotInImage { address })
    }

    /// Where it lies in this process. That it is the *start* of a function, and of which type, no
    /// check can tell: whoever calls it relies on the writer.
    pub(crate) fn resolve(self) -> Result<*const (), BadFunction> {
        Executable::current()
            .code_address(self.0)
            .ok_or(BadFunction { offset: self.0 })
    }

    /// As read from shared memory; nothing is believed before [`resolve`](Self::resolve).
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As written to shared memory.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_function_survives_the_journey() {
        let pointer = a_function_survives_the_journey as fn() as *const ();
        let id = FunctionId::of(pointer).expect("part of the executable");
        assert_eq!(FunctionId::from_bits(id.to_bits()).resolve(), Ok(pointer));
    }

    #[test]
    fn what_lies_elsewhere_is_refused() {
        let library = libc::getppid as *const ();
        assert_eq!(
            FunctionId::of(library),
            Err(NotInImage {
                address: library.addr()
            })
        );
        let data = crate::protocol::token::VARIABLE.as_ptr().cast::<()>();
        assert_eq!(
            FunctionId::of(data),
            Err(NotInImage {
                address: data.addr()
            })
        );
    }

    proptest! {
        #[test]
        fn any_number_resolves_inside_or_not_at_all(bits: u64) {
            if let Ok(pointer) = FunctionId::from_bits(bits).resolve() {
                prop_assert_eq!(FunctionId::of(pointer), Ok(FunctionId::from_bits(bits)));
            }
        }
    }
}
