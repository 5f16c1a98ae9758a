//! What makes a process a worker: one environment variable, written by the pool, read by the hook.
//!
//! ```text
//! GRISTMILL_WORKER_0_1_0=<region fd>:<event fd>:<command fd>:<index>:<incarnation>
//!                        :<parent's pid>:<set-up function or ->:<ruleset fd or ->:<policy>
//! ```
//!
//! or, for a process that runs one function:
//!
//! ```text
//! GRISTMILL_WORKER_0_1_0=process:<envelope fd>:<parent's pid, or 0 to outlive it>
//! ```
//!
//! or, for a server that forks workers, with what is to be in each of them:
//!
//! ```text
//! GRISTMILL_WORKER_0_1_0=server:<region fd>:<event fd>:<command fd>:<socket fd>:<preload>
//!                        :<parent's pid>:<set-up function or ->:<ruleset fd or ->:<policy>
//! ```
//!
//! What a worker runs before it is confined, and that it is to be confined, stand here and not in
//! shared memory, where a worker before it may have written.
//!
//! The version stands in the name: a program may have two versions of this crate linked into it,
//! each with a hook, and only the one that spawned the worker may answer.

use std::{
    fmt,
    os::fd::{OwnedFd, RawFd},
    str::FromStr,
    sync::Arc,
};

use super::function::FunctionId;
use crate::memory::region::Region;
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

/// How a worker comes by the region.
#[derive(Debug)]
pub(crate) enum Access {
    /// By its memfd.
    File(OwnedFd),
    /// By the mapping that a fork of the parent has already, and keeps for good.
    Mapped(Arc<Region>),
}

/// What a parent gives a worker.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The region.
    pub(crate) region: Access,
    /// The eventfd that wakes the parent.
    pub(crate) event: OwnedFd,
    /// The eventfd that wakes the parent's supervisor.
    pub(crate) commands: OwnedFd,
    /// Which worker this is, below 4096.
    pub(crate) index: u16,
    /// How many it was before.
    pub(crate) incarnation: u16,
    /// What the program wants done before the first task.
    pub(crate) setup: Option<FunctionId>,
    /// To what this worker confines itself before the first task.
    pub(crate) sandbox: Option<(OwnedFd, Policy)>,
}

/// The first words of processes that are no workers.
const SOLO: &str = "process";
const SERVER: &str = "server";

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

/// All that a process for one function must know before it can read its envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SoloToken {
    /// Descriptor of the envelope.
    pub(crate) envelope: RawFd,
    /// The process with which it dies.
    pub(crate) parent: Option<i32>,
}

/// All that a server must know before it can fork workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerToken {
    /// Descriptor of the region's memfd, for its workers.
    pub(crate) region: RawFd,
    /// Descriptor of the eventfd that wakes the parent, for its workers.
    pub(crate) event: RawFd,
    /// Descriptor of the eventfd that wakes the supervisor, for its workers.
    pub(crate) commands: RawFd,
    /// Descriptor of the socket on which it is asked for workers.
    pub(crate) requests: RawFd,
    /// Bits of the function that it calls first, or 0.
    pub(crate) preload: u64,
    /// The process that started it, and whose children its workers are.
    pub(crate) parent: i32,
    /// What the program wants done in each worker before the first task.
    pub(crate) setup: Option<FunctionId>,
    /// To what each worker is to be confined before the first task.
    pub(crate) sandbox: Option<Confinement>,
}

/// What kind of process it is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A worker of a pool.
    Worker(Token),
    /// A process for one function.
    Solo(SoloToken),
    /// One that forks a pool's workers.
    Server(ServerToken),
}

/// The variable holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected nine fields with colons between them (three descriptors above 2, the worker below \
     4096, its incarnation, its parent's process id, a function, a fourth descriptor, a policy), \
     or `process`, a descriptor and a process id, or `server` and nine (four descriptors, two \
     functions with a process id between them, a fifth descriptor, a policy)"
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
        write_preparation(f, *setup, *sandbox)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, BadToken> {
    text.parse().map_err(|_| BadToken)
}

/// Stands for a field that is not there.
const NONE: &str = "-";

/// The last three fields of a worker and of a server.
fn write_preparation(
    f: &mut fmt::Formatter<'_>,
    setup: Option<FunctionId>,
    sandbox: Option<Confinement>,
) -> fmt::Result {
    match setup {
        Some(setup) => write!(f, ":{}", setup.to_bits())?,
        None => write!(f, ":{NONE}")?,
    }
    match sandbox {
        Some(Confinement { ruleset, policy }) => write!(f, ":{ruleset}:{}", policy.to_bits()),
        None => write!(f, ":{NONE}:{NONE}"),
    }
}

fn read_preparation(
    [setup, ruleset, policy]: [&str; 3],
) -> Result<(Option<FunctionId>, Option<Confinement>), BadToken> {
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
    Ok((setup, sandbox))
}

/// Whether these can be descriptors that were passed: above the standard streams, and different.
fn can_be_passed(descriptors: &[RawFd], sandbox: Option<Confinement>) -> bool {
    let ruleset = sandbox.map(|sandbox| sandbox.ruleset);
    let mut all: Vec<RawFd> = descriptors.iter().copied().chain(ruleset).collect();
    all.sort_unstable();
    all[0] > 2 && all.windows(2).all(|pair| pair[0] < pair[1])
}

impl fmt::Display for SoloToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.unwrap_or(0);
        write!(f, "{SOLO}:{}:{parent}", self.envelope)
    }
}

impl fmt::Display for ServerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            region,
            event,
            commands,
            requests,
            preload,
            parent,
            setup,
            sandbox,
        } = self;
        write!(
            f,
            "{SERVER}:{region}:{event}:{commands}:{requests}:{preload}:{parent}"
        )?;
        write_preparation(f, *setup, *sandbox)
    }
}

impl FromStr for ServerToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let fields: Vec<&str> = text.split(':').collect();
        let &[
            SERVER,
            region,
            event,
            commands,
            requests,
            preload,
            parent,
            ref preparation @ ..,
        ] = &fields[..]
        else {
            return Err(BadToken);
        };
        let preparation = preparation.try_into().map_err(|_| BadToken)?;
        let (setup, sandbox) = read_preparation(preparation)?;
        let token = Self {
            region: number(region)?,
            event: number(event)?,
            commands: number(commands)?,
            requests: number(requests)?,
            preload: number(preload)?,
            parent: number(parent)?,
            setup,
            sandbox,
        };
        let passed = [token.region, token.event, token.commands, token.requests];
        (can_be_passed(&passed, token.sandbox) && token.parent > 0)
            .then_some(token)
            .ok_or(BadToken)
    }
}

impl FromStr for Role {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let fields: Vec<&str> = text.split(':').collect();
        let &[SOLO, envelope, parent] = &fields[..] else {
            let server = text.parse().map(Self::Server);
            return server.or_else(|_| text.parse().map(Self::Worker));
        };
        let (envelope, parent) = (number(envelope)?, number::<i32>(parent)?);
        (envelope > 2 && parent >= 0)
            .then_some(Self::Solo(SoloToken {
                envelope,
                parent: (parent > 0).then_some(parent),
            }))
            .ok_or(BadToken)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
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
        let (setup, sandbox) = read_preparation([setup, ruleset, policy])?;
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
        let passed = [token.region, token.event, token.commands];
        (can_be_passed(&passed, token.sandbox) && token.index < 4096 && token.parent > 0)
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
            prop_assert_eq!(token.to_string().parse(), Ok(Role::Worker(token)));
            let requests = region + 2001;
            let server = ServerToken {
                region, event, commands, requests, preload: 7, parent, setup, sandbox,
            };
            prop_assert_eq!(server.to_string().parse(), Ok(Role::Server(server)));
            for parent in [None, Some(parent)] {
                let solo = SoloToken { envelope: region, parent };
                prop_assert_eq!(solo.to_string().parse(), Ok(Role::Solo(solo)));
            }
        }

        #[test]
        fn any_text_is_answered(
            text in "[0-9:+ -]{0,24}|([0-9]:){5}[0-9-]:[0-9-]:[0-9-]|(process|server):[0-9:-]{0,14}\
                     |server:([0-9]:){6}[0-9-]:[0-9-]:[0-9-]|.*",
        ) {
            match text.parse() {
                Ok(Role::Worker(token)) => {
                    prop_assert!(token.region > 2 && token.event > 2 && token.index < 4096);
                }
                Ok(Role::Server(token)) => prop_assert!(token.requests > 2),
                Ok(Role::Solo(token)) => prop_assert!(token.envelope > 2),
                Err(BadToken) => {}
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
            assert_eq!(text.parse::<Role>(), Err(BadToken), "{text}");
        }
        for text in [
            "process:3",
            "process:2:1",
            "process:3:-1",
            "process:3:1:1",
            "server:3:4:4:6:0:1:-:-:-",
            "server:3:4:5:6:0:1",
            "server:3:4:5:6:0:0:-:-:-",
            "server:3:4:5:6:0:1:-:-",
            "server:3:4:5:6:0:1:-:-:-:-",
            // Nor here.
            "server:3:4:5:6:0:1:-:7:-",
            "server:3:4:5:6:0:1:-:-:0",
            "server:3:4:5:6:0:1:-:5:0",
            "server:3:4:5:6:0:1:-:7:8",
        ] {
            assert_eq!(text.parse::<Role>(), Err(BadToken), "{text}");
        }
    }
}
