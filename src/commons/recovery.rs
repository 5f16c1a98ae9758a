//! Handles of this process, and the sweep after the death of another.
//!
//! The sweep (`bury`) goes over everything that may name the dead, in an order in which what comes
//! later relies on what came before. It may be cut off by the death of the sweeper at any point:
//! then the place still says SWEPT, by a name that is dead, and the next one begins anew.

use crate::error::{RegionError, Result};
use crate::memory::owner::Owner;
use crate::sync::waitset::Door;

use super::inner::{Inner, Watch, watch};
use super::kind;
use super::member::{Seen, Stand};
use super::object::{self, Object};

/// How often an object that is being ended is looked at before it counts as gone.
const PATIENCE: u32 = 1000;

impl Inner {
    /// One handle more of this process to object `index`, of that generation if one is given.
    pub(super) fn acquire(&self, index: u32, generation: Option<u32>) -> Result<u32> {
        let me = self.me()?;
        let gone = || RegionError::Gone { object: index };
        let object = self.object(index).ok_or_else(gone)?;
        let mut handles = self.lock_handles();
        let count = handles.entry(index).or_insert(0);
        let is_first = *count == 0;
        if is_first {
            object.hold(me.index());
        }
        if let Some(found) = settled(object).filter(|found| generation.is_none_or(|g| g == *found))
        {
            *count += 1;
            return Ok(found);
        }
        if is_first {
            handles.remove(&index);
            let last = object.let_go(me.index());
            drop(handles);
            if last {
                self.end_unheld(index, object)?;
            }
        }
        Err(gone().into())
    }

    /// One handle less.
    pub(super) fn release(&self, index: u32) -> Result<()> {
        let me = self.me()?;
        let Some(object) = self.object(index) else {
            return Ok(());
        };
        let mut handles = self.lock_handles();
        let Some(count) = handles.get_mut(&index) else {
            return Ok(());
        };
        *count -= 1;
        if *count > 0 {
            return Ok(());
        }
        handles.remove(&index);
        let last = object.let_go(me.index());
        drop(handles);
        if last {
            self.end_unheld(index, object)?;
        }
        Ok(())
    }

    /// Ends a live object to which nobody has a handle.
    fn end_unheld(&self, index: u32, object: &Object) -> Result<()> {
        let me = self.me()?;
        loop {
            let seen = object.see();
            let is_live = matches!(seen.stand(), object::Stand::Live { .. });
            if !is_live || object.is_held() {
                return Ok(());
            }
            let Some(ended) = object.end(seen, me) else {
                return Ok(());
            };
            if !object.is_held() {
                return self.finish_end(index, object, ended);
            }
            if object.revive(ended).is_none() {
                return Ok(());
            }
            // Whoever came meanwhile may have gone again, and has seen an object that was ended.
        }
    }

    /// Frees what an ended object has, and its entry.
    pub(super) fn finish_end(
        &self,
        index: u32,
        object: &Object,
        ended: object::Seen,
    ) -> Result<()> {
        self.with_space(|space| space.free_of_object(index))?;
        object.free(ended);
        Ok(())
    }

    /// Looks at every place: buries the dead, and gives `living` those that are to be watched.
    pub(super) fn survey(
        &self,
        mut living: impl FnMut(u16, Seen) -> bool,
    ) -> Vec<(u16, Seen, Watch)> {
        let mut found = Vec::new();
        for (index, member) in (0..).zip(self.members()) {
            let seen = member.see();
            match seen.stand() {
                Stand::Free => {}
                _ if index == self.index => {}
                Stand::Live { pid } => {
                    if living(index, seen) {
                        continue;
                    }
                    match watch(member, seen, pid) {
                        Watch::Dead => self.bury(index, seen),
                        other => found.push((index, seen, other)),
                    }
                }
                Stand::Swept { by } => {
                    if Ok(by) != self.me().map_err(drop) && self.is_dead(by) {
                        self.bury(index, seen);
                    }
                }
            }
        }
        found
    }

    /// Sweeps after the process that `seen` says has place `index`, which is dead; or goes on where
    /// the dead sweeper of another left off.
    pub(super) fn bury(&self, index: u16, seen: Seen) {
        // This process stays a member meanwhile, under whose name it sweeps.
        let here = self.lock_membership();
        let (true, Ok(me)) = (*here, self.me()) else {
            return;
        };
        let Some(member) = self.member(index) else {
            return;
        };
        let dead = seen.name(index);
        let Some(swept) = member.take_over(seen, me) else {
            return;
        };
        if self.sweep(dead, me).is_ok() {
            member.free(swept);
            // Whose sweeper it was, or who waits for a place, looks again.
            self.ring_everybody();
        }
    }

    fn sweep(&self, dead: Owner, me: Owner) -> Result<()> {
        let lock = &self.header().lock;
        lock.recover(dead);
        lock.waiters.rouse(self);
        for index in 0..self.objects().len() as u32 {
            let Some(object) = self.object(index) else {
                break;
            };
            self.sweep_object(index, object, dead, me)?;
        }
        self.with_space(|space| space.free_of_member(dead))
    }

    fn sweep_object(&self, index: u32, object: &Object, dead: Owner, me: Owner) -> Result<()> {
        let seen = object.see();
        match seen.stand() {
            object::Stand::Made { by } | object::Stand::Ended { by } if by == dead => {
                let Some(ended) = object.end(seen, me) else {
                    return Ok(());
                };
                let _ = object.let_go(dead.index());
                let was_live = matches!(seen.stand(), object::Stand::Ended { .. });
                if was_live && object.is_held() && object.revive(ended).is_some() {
                    return self.end_unheld(index, object);
                }
                return self.finish_end(index, object, ended);
            }
            _ => {}
        }
        if !object.is_held_by(dead.index()) {
            return Ok(());
        }
        if self.acquire(index, None).is_ok() {
            self.recover_object(object, dead);
            let _ = object.let_go(dead.index());
            return self.release(index);
        }
        if object.let_go(dead.index()) {
            self.end_unheld(index, object)?;
        }
        Ok(())
    }

    fn recover_object(&self, object: &Object, dead: Owner) {
        let body = object.body();
        if let Some(start) = self.pointer(body.offset, body.size) {
            kind::recover(body.kind, (start, body.size), dead, self);
        }
    }

    /// A process that is awake anyway, and found something held, looks after the holder.
    pub(super) fn ring_myself(&self) {
        self.ring(self.index);
    }
}

/// The object's generation, if it is live; waits a little for one that is being ended, which may be
/// revived.
fn settled(object: &Object) -> Option<u32> {
    for _ in 0..PATIENCE {
        match object.see().stand() {
            object::Stand::Live { generation } => return Some(generation),
            object::Stand::Ended { .. } => std::thread::yield_now(),
            object::Stand::Free | object::Stand::Made { .. } => return None,
        }
    }
    None
}
