//! A task under way: what must live until it has ended, and who is told.

use std::any::Any;
use std::sync::Arc;

use crate::error::TaskError;
use crate::memory::block::Block;
use crate::pool::caller::Caller;
use crate::pool::entry::{Entry, Place};
use crate::pool::lanes::Route;
use crate::pool::reply::ReplyBytes;
use crate::pool::terms::TaskTerms;
use crate::protocol::gauge::Work;

/// Where the outcome of a task is left.
pub(crate) type TaskEntry = Entry<Result<ReplyBytes, TaskError>>;

/// What must live until a task has ended.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) entry: Arc<TaskEntry>,
    /// Kept until the task has ended, as a worker reads it.
    pub(crate) arguments: Option<Block>,
    /// The context's block, what the caller sent along, and whatever else must live so long.
    pub(crate) keep: Option<Keep>,
    /// Many items in one task: when its worker dies, what they came to is looked up.
    pub(crate) batched: bool,
    /// Boxed, because most tasks have none.
    pub(crate) terms: Option<Box<TaskTerms>>,
    pub(crate) route: Route,
    /// The span that it was submitted in.
    pub(crate) caller: Option<Box<Caller>>,
}

impl Flight {
    /// From now on it is found there: by whoever cancels it, and by what its worker says of it.
    pub(super) fn settle_in(&mut self, slot: u32, generation: u32) {
        self.entry.set_place(Place::Slot { slot, generation });
        self.entry.begin();
        if let Some(caller) = &mut self.caller {
            caller.begin(Work::Task { slot, generation });
        }
    }
}

/// Something kept alive for workers that read it.
pub(crate) type Keep = Box<dyn Any + Send>;
