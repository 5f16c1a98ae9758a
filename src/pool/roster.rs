//! Who works here: one entry a worker, renewed when it is replaced.

use std::sync::Arc;

use crate::memory::owner::Owner;
use crate::pool::arena::Arena;

/// A worker as the parent knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) incarnation: u16,
    /// `None` until its process is there. It may serve, and finish, before it is known by number.
    pub(crate) pid: Option<u32>,
    pub(crate) arena: Arc<Arena>,
    /// Work may be given to it by name: it neither waits to succeed another nor retires.
    pub(crate) serves: bool,
}

/// The workers by index; `None` between a death and the replacement.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: Vec<Option<Member>>,
    /// The newest incarnation that each place has had.
    newest: Vec<u16>,
    /// How many workers each place has had.
    enlisted: Vec<u64>,
    /// Whether nobody is at a place, and somebody is to be who serves.
    awaited: Vec<bool>,
}

impl Roster {
    pub(crate) fn enlist(&mut self, worker: u16, member: Member) {
        let index = usize::from(worker);
        if self.members.len() <= index {
            self.members.resize_with(index + 1, || None);
            self.newest.resize(index + 1, 0);
            self.enlisted.resize(index + 1, 0);
        }
        self.set_awaited(worker, false);
        self.enlisted[index] += 1;
        self.newest[index] = member.incarnation;
        self.members[index] = Some(member);
    }

    /// Notes the process of the worker that was enlisted.
    pub(crate) fn introduce(&mut self, worker: u16, pid: u32) {
        if let Some(Some(member)) = self.members.get_mut(usize::from(worker)) {
            member.pid = Some(pid);
        }
    }

    pub(crate) fn dismiss(&mut self, worker: u16) -> Option<Member> {
        let member = self.members.get_mut(usize::from(worker))?.take()?;
        // Whoever had a successor did not serve any more; another is replaced where it was.
        self.set_awaited(worker, member.serves);
        Some(member)
    }

    /// Notes that a worker that serves is to come to a place, or that none is.
    pub(crate) fn set_awaited(&mut self, worker: u16, awaited: bool) {
        let index = usize::from(worker);
        if self.awaited.len() <= index {
            self.awaited.resize(index + 1, false);
        }
        self.awaited[index] = awaited;
    }

    /// Whether a worker that serves is to come to a place.
    pub(crate) fn awaits(&self, worker: u16) -> bool {
        let awaited = self.awaited.get(usize::from(worker));
        awaited.copied().unwrap_or(false)
    }

    /// The arena of exactly this incarnation.
    pub(crate) fn arena(&self, owner: Owner) -> Option<&Arc<Arena>> {
        let member = self.members.get(usize::from(owner.index()))?.as_ref()?;
        (member.incarnation == owner.incarnation()).then_some(&member.arena)
    }

    /// Whether there is a process at this place that serves.
    pub(crate) fn serves(&self, worker: u16) -> bool {
        let member = self.members.get(usize::from(worker));
        let member = member.and_then(Option::as_ref);
        member.is_some_and(|member| member.serves && member.pid.is_some())
    }

    /// The worker at a place, and how many have been there before the one that is there or comes.
    pub(crate) fn at(&self, worker: u16) -> (Option<&Member>, u64) {
        let index = usize::from(worker);
        let member = self.members.get(index).and_then(Option::as_ref);
        let enlisted = self.enlisted.get(index).copied().unwrap_or(0);
        (member, enlisted.saturating_sub(u64::from(member.is_some())))
    }

    /// Notes that the worker at a place serves from now on, or does no more.
    pub(crate) fn set_serves(&mut self, worker: u16, serves: bool) {
        if let Some(Some(member)) = self.members.get_mut(usize::from(worker)) {
            member.serves = serves;
        }
    }

    /// Who works in this place.
    pub(crate) fn owner(&self, worker: u16) -> Option<Owner> {
        let member = self.members.get(usize::from(worker))?.as_ref()?;
        Some(Owner::new(worker, member.incarnation))
    }

    /// Whether this incarnation works here, or has died and is not mourned yet.
    pub(crate) fn knows(&self, owner: Owner) -> bool {
        self.arena(owner).is_some()
    }

    /// Whether this incarnation has ever worked here. Numbers come round after 65536 deaths at one
    /// place: half of them count as past.
    pub(crate) fn knew(&self, owner: Owner) -> bool {
        let newest = self.newest.get(usize::from(owner.index()));
        newest.is_some_and(|newest| newest.wrapping_sub(owner.incarnation()) < 1 << 15)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let members = self.members.iter().flatten();
        members.filter_map(|member| member.pid).collect()
    }
}
