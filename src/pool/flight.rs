//! A task under way: what must live until it has ended, and who is told.

use std::any::Any;

use crate::error::TaskError;
use crate::memory::block::Block;
use crate::pool::caller::Caller;
use crate::pool::entry::{Entry, Place};
use crate::pool::lanes::Route;
use crate::pool::reply::ReplyBytes;
use crate::pool::terms::TaskTerms;
use crate::primitive::pair::Half;
use crate::protocol::gauge::Work;

/// Where the outcome of a task is left.
pub(crate) type TaskEntry = Entry<Result<ReplyBytes, TaskError>>;

/// What a task's caller has of its entry, or its flight.
pub(crate) type TaskHalf = Half<TaskEntry>;

/// What must live until a task has ended. It moves into the books and out again with every task,
/// so it is small.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) entry: TaskHalf,
    pub(crate) route: Route,
    /// What most tasks have nothing of.
    extras: Option<Box<Extras>>,
    /// Which use of its slot it is, once it has one.
    pub(crate) generation: u32,
}

const _: () = assert!(size_of::<Flight>() == 40);

/// What few tasks have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Kept until the task has ended, as a worker reads it.
    pub(crate) arguments: Option<Block>,
    /// The context's block, what the caller sent along, and whatever else must live so long.
    pub(crate) keep: Option<Keep>,
    /// Many items in one task: when its worker dies, what they came to is looked up.
    pub(crate) batched: bool,
    /// What was asked of it.
    pub(crate) terms: Option<Box<TaskTerms>>,
    /// The span that it was submitted in.
    pub(crate) caller: Option<Box<Caller>>,
}

impl Extras {
    /// These, if there are any.
    pub(crate) fn of(
        terms: Option<Box<TaskTerms>>,
        caller: Option<Box<Caller>>,
    ) -> Option<Box<Self>> {
        (terms.is_some() || caller.is_some()).then(|| {
            Box::new(Self {
                terms,
                caller,
                ..Self::default()
            })
        })
    }
}

impl Flight {
    /// Of a task that goes by the plain route unless it is told another.
    pub(crate) fn new(entry: TaskHalf, extras: Option<Box<Extras>>) -> Self {
        Self {
            entry,
            route: Route::PLAIN,
            extras,
            generation: 0,
        }
    }

    /// Keeps its arguments as well.
    pub(crate) fn keep_arguments(&mut self, block: Block) {
        self.extras.get_or_insert_default().arguments = Some(block);
    }

    /// Whether its arguments have a block of their own.
    pub(crate) fn keeps_arguments(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| extras.arguments.is_some())
    }

    /// What was asked of it, if anything was.
    pub(crate) fn terms(&self) -> Option<&TaskTerms> {
        self.extras.as_ref()?.terms.as_deref()
    }

    pub(crate) fn terms_mut(&mut self) -> Option<&mut TaskTerms> {
        self.extras.as_mut()?.terms.as_deref_mut()
    }

    /// What was asked of it, to be added to.
    pub(crate) fn some_terms(&mut self) -> &mut TaskTerms {
        let extras = self.extras.get_or_insert_default();
        let plain = || Box::new(TaskTerms::PLAIN);
        extras.terms.get_or_insert_with(plain)
    }

    /// Whether it is many items in one task.
    pub(crate) fn is_batched(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.batched)
    }

    /// What its caller sent along.
    #[inline]
    pub(super) fn into_keep(self) -> Option<Keep> {
        self.extras?.keep
    }

    /// From now on it is found there: by whoever cancels it, and by what its worker says of it.
    pub(super) fn settle_in(&mut self, slot: u32, generation: u32) {
        self.generation = generation;
        self.entry.set_place(Place::Slot { slot, generation });
        self.entry.begin();
        if let Some(extras) = &mut self.extras
            && let Some(caller) = &mut extras.caller
        {
            caller.begin(Work::Task { slot, generation });
        }
    }
}

/// Something kept alive for workers that read it.
pub(crate) type Keep = Box<dyn Any + Send>;
