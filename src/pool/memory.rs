//! Buffers in the pool's shared memory.

use bytemuck::Pod;

use crate::error::Error;
use crate::memory::MemoryStats;
use crate::memory::heap::Contents;
use crate::pool::Pool;
use crate::shared::SharedVec;

impl Pool {
    /// What the pool's shared memory takes at this moment.
    ///
    /// One system call; blocks no worker.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let buffer = pool.alloc_zeroed::<u8>(3 << 20)?;
    /// let stats = pool.memory_stats();
    /// assert_eq!(stats.in_use, 3 << 20);
    /// assert!(stats.committed >= stats.in_use && stats.committed <= stats.budget);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[must_use]
    pub fn memory_stats(&self) -> MemoryStats {
        self.engine().heap().stats()
    }

    /// Gives the memory that is kept warm for the next buffers back to the kernel.
    pub fn trim_memory(&self) {
        self.engine().heap().trim();
    }

    /// A buffer of `len` zeros.
    ///
    /// Does not wait for workers, but may wait for the kernel to provide memory, as all
    /// allocations do. Fresh memory is zero already; recycled memory is cleared.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget or the machine is full, [`Error::InvalidArgument`]
    /// for more bytes than there are addresses, [`Error::Forked`] in a process forked from the
    /// pool's owner.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let mut counts = pool.alloc_zeroed::<u32>(256)?;
    /// counts[7] += 1;
    /// assert_eq!(counts.iter().sum::<u32>(), 1);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
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
    /// As [`Pool::alloc_zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let mut squares = pool.alloc_uninit::<f32>(100)?;
    /// for (index, square) in squares.iter_mut().enumerate() {
    ///     *square = (index * index) as f32;
    /// }
    /// assert_eq!(squares[9], 81.0);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn alloc_uninit<T: Pod>(&self, len: usize) -> Result<SharedVec<T>, Error> {
        self.engine().allocate(len, Contents::Any)
    }

    /// A buffer whose element `i` is `f(i)`, computed on the calling thread.
    ///
    /// To compute it in the workers, see [`Pool::par_generate`]. A panic of `f` is the caller's.
    ///
    /// # Errors
    /// As [`Pool::alloc_zeroed`].
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
    /// As [`Pool::alloc_zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.copy_from_slice(&[3.0, 1.0, 2.0])?;
    /// assert_eq!(*xs, [3.0, 1.0, 2.0]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn copy_from_slice<T: Pod>(&self, source: &[T]) -> Result<SharedVec<T>, Error> {
        let mut vec = self.alloc_uninit::<T>(source.len())?;
        vec.copy_from_slice(source);
        Ok(vec)
    }
}
