//! Buffers in the pool's shared memory.

use bytemuck::Pod;

use crate::error::Error;
use crate::memory::heap::Contents;
use crate::pool::Pool;
use crate::shared::SharedVec;

impl Pool {
    /// A buffer of `len` zeros.
    ///
    /// Does not block on workers. Fresh memory is zero already; recycled memory is cleared.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget or the machine is full.
    pub fn alloc_zeroed<T: Pod>(&self, len: usize) -> Result<SharedVec<T>, Error> {
        self.engine().allocate(len, Contents::Zeroed)
    }

    /// A buffer of `len` elements with whatever the memory held before: for outputs that will be
    /// overwritten, without the cost of clearing them.
    ///
    /// Every bit pattern is a valid `T`, so reading it is safe, only meaningless. The bytes are
    /// zeros or what buffers of this pool held earlier; never another program's.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget or the machine is full.
    pub fn alloc_uninit<T: Pod>(&self, len: usize) -> Result<SharedVec<T>, Error> {
        self.engine().allocate(len, Contents::Any)
    }

    /// A buffer whose element `i` is `f(i)`, computed on the calling thread.
    ///
    /// To compute it in the workers, see [`Pool::par_generate`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget or the machine is full.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let squares = pool.alloc_from_fn(10, |i| i as u64 * i as u64)?;
    /// assert_eq!(squares[9], 81);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn alloc_from_fn<T: Pod>(
        &self,
        len: usize,
        mut f: impl FnMut(usize) -> T,
    ) -> Result<SharedVec<T>, Error> {
        let mut vec = self.alloc_uninit::<T>(len)?;
        for (index, element) in vec.iter_mut().enumerate() {
            *element = f(index);
        }
        Ok(vec)
    }

    /// A buffer with a copy of `source`: the one copy that data from elsewhere needs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget or the machine is full.
    pub fn copy_from_slice<T: Pod>(&self, source: &[T]) -> Result<SharedVec<T>, Error> {
        let mut vec = self.alloc_uninit::<T>(source.len())?;
        vec.copy_from_slice(source);
        Ok(vec)
    }
}
