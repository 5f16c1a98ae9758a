//! The sweep: every path of the protocols, and a process killed at every instruction of it.
//!
//! [`tracee`] is the process, [`stage`] the shared memory in small, [`audit`] what must hold
//! afterwards, [`sweep`] goes from instruction to instruction. [`paths`] and [`waiting`] are the
//! product's ways through the protocols, [`variants`] broken ones that must be caught. [`queues`],
//! [`tables`], [`permits`], [`barriers`] and [`values`] are what regions hold; the latter three go
//! their way by a [`walk`].

mod audit;
mod barriers;
mod handshake;
mod locks;
mod paths;
mod permits;
mod queue_storm;
mod queue_walk;
mod queues;
mod recovery;
mod stage;
mod sweep;
mod tables;
mod tracee;
mod values;
mod variants;
mod waiting;
mod walk;
