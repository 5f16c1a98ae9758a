//! The state that the program keeps in each worker, and its initializer.

#![expect(unsafe_code, reason = "calls the functions that the parent named")]

use core::any::Any;

use crate::memory::region::Region;
use crate::protocol::life::{Birth, BirthCall, BirthFunction, Life, find_birth};
use crate::protocol::panic::{self, PanicReport};
use crate::protocol::range::Span;
use crate::protocol::settings::Setting;
use crate::protocol::task::StatePlace;

/// The state and how it is made.
///
/// # Invariants
/// A task that panicked while it had the state takes it along: the next one gets a new one.
pub(crate) struct State<'a> {
    region: &'a Region,
    maker: Option<(BirthFunction, Span)>,
    value: Option<Box<dyn Any>>,
    is_lent: bool,
}

impl<'a> State<'a> {
    /// Runs the initializer and makes the state.
    pub(super) fn begin(
        region: &'a Region,
        life: &Life,
    ) -> Result<Self, (Setting, Box<PanicReport>)> {
        let named = |setting| move |report| (setting, report);
        if let Some(initializer) = life.initializer {
            let run = || {
                let (function, context) = resolve(initializer);
                function(&BirthCall { region, context });
            };
            panic::catch(run).map_err(named(Setting::Initializer))?;
        }
        let mut state = Self {
            region,
            maker: None,
            value: None,
            is_lent: false,
        };
        if let Some(birth) = life.state {
            let make = || {
                state.maker = Some(resolve(birth));
                state.make();
            };
            panic::catch(make).map_err(named(Setting::State))?;
        }
        Ok(state)
    }

    fn make(&mut self) {
        if let Some((function, context)) = self.maker {
            let call = BirthCall {
                region: self.region,
                context,
            };
            self.value = function(&call);
        }
    }

    /// After a task: takes the state back, or lets go of what a panic may have left half-done.
    pub(super) fn end_loan(&mut self, panicked: bool) {
        let was_lent = core::mem::take(&mut self.is_lent);
        if was_lent && panicked {
            self.discard();
        }
    }

    /// Drops the state. If that panics, nobody is left to hear of it.
    pub(super) fn discard(&mut self) {
        let value = self.value.take();
        let _ = panic::catch(|| drop(value));
    }
}

impl StatePlace for State<'_> {
    fn borrow(&mut self) -> Option<&mut dyn Any> {
        if self.value.is_none() {
            self.make();
        }
        self.is_lent = true;
        self.value.as_deref_mut()
    }
}

/// # Panics
/// When the parent's words were overwritten.
fn resolve(birth: Birth) -> (BirthFunction, Span) {
    // SAFETY: the parent named a `BirthFunction`, and the handshake has shown that it runs the
    // same image.
    match unsafe { find_birth(birth.function) } {
        Ok(function) => (function, birth.context),
        Err(error) => panic!("{error}"),
    }
}
