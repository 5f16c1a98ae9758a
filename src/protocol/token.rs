//! What makes a process a worker: one environment variable, written by the pool, read by the hook.
//!
//! ```text
//! GRISTMILL_WORKER_0_1_0=<region fd>:<event fd>:<command fd>:<index>:<incarnation>
//!                        :<parent's pid>:<set-up function or ->:<ruleset fd or ->:<policy>
//! ```
//!
//! What a worker runs before it is confined, and that it is to be confined, stand here and not in
//! shared memory, where a worker before it may have written.
//!
//! The version stands in the name: a program may have two versions of this crate linked into it,
//! each with a hook, and only the one that spawned the worker may answer.

use std::{fmt, os::fd::RawFd, str::FromStr};

use super::function::FunctionId;
use crate::sys::sandbox::Policy;

/// The variable's name.
pub(crate) const VARIABLE: &str = concat!(
    "GRISTMILL_WORKER_",
    env!("CARGO_PKG_VERSION_MAJOR"),
    "_",
    env!("CARGO_PKG_VERSION_MINOR"),
    "_",
    env!("CARGO_PKG_VERSION_PATCH"),
);

/// Everything that a worker must know before it can read the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// Descriptor of the region's memfd.
    pub(crate) region: RawFd,
    /// Descriptor of the eventfd that wakes the parent.
    pub(crate) event: RawFd,
    /// Descriptor of the eventfd that wakes the supervisor.
    pub(crate) commands: RawFd,
    /// Which worker it is, below 4096.
    pub(crate) index: u16,
    /// How many it was before.
    pub(crate) incarnation: u16,
    /// The process that spawned it.
    pub(crate) parent: i32,
    /// What the program wants done before the first task.
    pub(crate) setup: Option<FunctionId>,
    /// To what it is to be confined before the first task.
    pub(crate) sandbox: Option<Confinement>,
}

/// How a worker is to be confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Confinement {
    /// Descriptor of the ruleset.
    pub(crate) ruleset: RawFd,
    pub(crate) policy: Policy,
}

/// The variable holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected nine fields with colons between them (three descriptors above 2, the worker below \
     4096, its incarnation, its parent's process id, a function, a fourth descriptor, a policy)"
)]
pub(crate) struct BadToken;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            region,
            event,
            commands,
            index,
            incarnation,
            parent,
            setup,
            sandbox,
        } = self;
        write!(
            f,
            "{region}:{event}:{commands}:{index}:{incarnation}:{parent}"
        )?;
        match setup {
            Some(setup) => write!(f, ":{}", setup.to_bits())?,
            None => write!(f, ":{NONE}")?,
        }
        match sandbox {
            Some(Confinement { ruleset, policy }) => write!(f, ":{ruleset}:{}", policy.to_bits()),
            None => write!(f, ":{NONE}:{NONE}"),
        }
    }
}

/// Stands for a field that is not there.
const NONE: &str = "-";

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        fn number<T: FromStr>(text: &str) -> Result<T, BadToken> {
            text.parse().map_err(|_| BadToken)
        }
        let fields: Vec<&str> = text.split(':').collect();
        let &[
            region,
            event,
            commands,
            index,
            incarnation,
            parent,
            setup,
            ruleset,
            policy,
        ] = &fields[..]
        else {
            return Err(BadToken);
        };
        let setup = match setup {
            NONE => None,
            bits => Some(FunctionId::from_bits(number(bits)?)),
        };
        let sandbox = match (ruleset, policy) {
            (NONE, NONE) => None,
            (ruleset, policy) => Some(Confinement {
                ruleset: number(ruleset)?,
                policy: Policy::from_bits(number(policy)?).ok_or(BadToken)?,
            }),
        };
        let token = Self {
            region: number(region)?,
            event: number(event)?,
            commands: number(commands)?,
            index: number(index)?,
            incarnation: number(incarnation)?,
            parent: number(parent)?,
            setup,
            sandbox,
        };
        let mut descriptors = vec![token.region, token.event, token.commands];
        descriptors.extend(token.sandbox.map(|sandbox| sandbox.ruleset));
        descriptors.sort_unstable();
        let distinct = descriptors.windows(2).all(|pair| pair[0] < pair[1]);
        (descriptors[0] > 2 && distinct && token.index < 4096 && token.parent > 0)
            .then_some(token)
            .ok_or(BadToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            region in 3..500, apart in 1..500, index in 0_u16..4096, incarnation: u16,
            parent in 1..i32::MAX, setup: Option<u64>, policy in proptest::option::of(0_u8..8),
        ) {
            let sandbox = policy.map(|bits| Confinement {
                ruleset: region + 3 * apart,
                policy: Policy::from_bits(bits).unwrap(),
            });
            let setup = setup.map(FunctionId::from_bits);
            let (event, commands) = (region + apart, region + 2 * apart);
            let token = Token {
                region, event, commands, index, incarnation, parent, setup, sandbox,
            };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn any_text_is_answered(text in "[0-9:+ -]{0,24}|([0-9]:){5}[0-9-]:[0-9-]:[0-9-]|.*") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert!(token.region > 2 && token.event > 2 && token.index < 4096);
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "1",
            "yes",
            ":::::",
            "3:4:5:0:0:9",
            "3:4:5:0:0:9:-:-",
            "3:4:5:0:0:9:-:-:-:",
            "2:4:5:0:0:9:-:-:-",
            "3:3:5:0:0:9:-:-:-",
            "3:5:5:0:0:9:-:-:-",
            "3:4:3:0:0:9:-:-:-",
            "3:-1:5:0:0:9:-:-:-",
            "3:4:5:4096:0:9:-:-:-",
            "3:4:5:0:65536:9:-:-:-",
            "3:4:5:0:0:0:-:-:-",
            " 3:4:5:0:0:9:-:-:-",
            "3:4:5:0:0:9:x:-:-",
            "3:4:5:0:0:9::-:-",
            // A sandbox that is half asked for is none to go on without.
            "3:4:5:0:0:9:-:6:-",
            "3:4:5:0:0:9:-:-:0",
            "3:4:5:0:0:9:-:4:0",
            "3:4:5:0:0:9:-:5:0",
            "3:4:5:0:0:9:-:2:0",
            "3:4:5:0:0:9:-:6:8",
        ];
        for text in bad {
            assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
        }
    }
}
