//! What makes a process a worker: one environment variable, written by the pool, read by the hook.
//!
//! ```text
//! GRISTMILL_WORKER_0_1_0=<region fd>:<event fd>:<command fd>:<index>:<incarnation>:<parent's pid>
//! ```
//!
//! The version stands in the name: a program may have two versions of this crate linked into it,
//! each with a hook, and only the one that spawned the worker may answer.

use std::{fmt, os::fd::RawFd, str::FromStr};

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
}

/// The variable holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected six numbers with colons between them (three descriptors above 2, the worker below \
     4096, its incarnation, its parent's process id)"
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
        } = self;
        write!(
            f,
            "{region}:{event}:{commands}:{index}:{incarnation}:{parent}"
        )
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        fn number<T: FromStr>(text: &str) -> Result<T, BadToken> {
            text.parse().map_err(|_| BadToken)
        }
        let fields: Vec<&str> = text.split(':').collect();
        let &[region, event, commands, index, incarnation, parent] = &fields[..] else {
            return Err(BadToken);
        };
        let token = Self {
            region: number(region)?,
            event: number(event)?,
            commands: number(commands)?,
            index: number(index)?,
            incarnation: number(incarnation)?,
            parent: number(parent)?,
        };
        let Self {
            region,
            event,
            commands,
            ..
        } = token;
        let above = region > 2 && event > 2 && commands > 2;
        let apart = region != event && event != commands && commands != region;
        (above && apart && token.index < 4096 && token.parent > 0)
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
            parent in 1..i32::MAX,
        ) {
            let (event, commands) = (region + apart, region + 2 * apart);
            let token = Token { region, event, commands, index, incarnation, parent };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn any_text_is_answered(text in "[0-9:+ -]{0,24}|.*") {
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
            "3:4:5:0:0",
            "3:4:5:0:0:9:",
            "3:4:5:0:0:9:9",
            "2:4:5:0:0:9",
            "3:3:5:0:0:9",
            "3:5:5:0:0:9",
            "3:4:3:0:0:9",
            "3:-1:5:0:0:9",
            "3:4:5:4096:0:9",
            "3:4:5:0:65536:9",
            "3:4:5:0:0:0",
            " 3:4:5:0:0:9",
        ];
        for text in bad {
            assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
        }
    }
}
