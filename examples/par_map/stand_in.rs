//! Stands in for gristmill until the crate's front door is built.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rayon::prelude::*;

pub(crate) struct Pool(usize);
pub(crate) struct Builder(usize);
pub(crate) struct SharedVec<T>(Vec<T>);
pub(crate) struct SharedSlice<T>(Arc<Vec<T>>);
pub(crate) struct ParMap<T, F>(SharedSlice<T>, F);
pub(crate) struct Running<R>(Vec<R>, PhantomData<R>);

impl Pool {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(2))
    }
    pub(crate) fn builder() -> Builder {
        Builder(2)
    }
    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        vec![0; self.0]
    }
    pub(crate) fn alloc_zeroed<T: bytemuck::Pod>(&self, len: usize) -> io::Result<SharedVec<T>> {
        Ok(SharedVec(vec![T::zeroed(); len]))
    }
    pub(crate) fn alloc_from_fn<T>(
        &self,
        len: usize,
        f: impl Fn(usize) -> T,
    ) -> io::Result<SharedVec<T>> {
        Ok(SharedVec((0..len).map(f).collect()))
    }
    pub(crate) fn par_map<T, R, F: Fn(&T) -> R>(&self, x: &SharedSlice<T>, f: F) -> ParMap<T, F> {
        ParMap(SharedSlice(x.0.clone()), f)
    }
}
impl Builder {
    pub(crate) fn workers(self, workers: usize) -> Self {
        Self(workers)
    }
    pub(crate) fn build(self) -> io::Result<Pool> {
        Ok(Pool(self.0))
    }
}
impl<T: Sync + Send, F: Sync + Send> ParMap<T, F> {
    pub(crate) fn wait<R: Send>(self) -> io::Result<SharedVec<R>>
    where
        F: Fn(&T) -> R,
    {
        Ok(SharedVec(self.0.par_iter().map(self.1).collect()))
    }
    pub(crate) fn start<R: Send>(self) -> io::Result<Running<R>>
    where
        F: Fn(&T) -> R,
    {
        Ok(Running(self.wait()?.0, PhantomData))
    }
}
impl<R> Running<R> {
    pub(crate) fn is_finished(&self) -> bool {
        true
    }
    pub(crate) fn progress(&self) -> (usize, usize) {
        (self.0.len(), self.0.len())
    }
    pub(crate) fn wait(self) -> io::Result<SharedVec<R>> {
        Ok(SharedVec(self.0))
    }
}
impl<T> SharedVec<T> {
    pub(crate) fn freeze(self) -> SharedSlice<T> {
        SharedSlice(Arc::new(self.0))
    }
}
impl<T> Deref for SharedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}
impl<T> DerefMut for SharedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
impl<T> Deref for SharedSlice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}
