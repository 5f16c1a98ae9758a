//! From what was asked for to a pool's settings: checked, and complete.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Builder, Config, invalid};
use crate::error::Error;
use crate::protocol::control::WORKERS;
use crate::protocol::function::FunctionId;
use crate::protocol::lanes::QUEUES;
use crate::protocol::settings::{CORES, Settings};
use crate::sys::cpu;
use crate::sys::sandbox::Policy;

const WORKERS_WANTED: &str = "1 to 1024";
const _: () = assert!(WORKERS == 1024, "the sentence above says so");

const QUEUES_WANTED: &str = "1 to 64, and no more than workers";
const _: () = assert!(QUEUES == 64, "the sentence above says so");

const CORES_WANTED: &str = "numbers below 1024, one at least";
const _: () = assert!(CORES == 1024, "the sentence above says so");

/// The least memory that a worker can begin with.
const MEMORY_LEAST: u64 = 16 << 20;

/// The largest budget; what offsets and page tables are made for.
const MOST_MEMORY: u64 = 16 << 40;

/// How often a pure job's chunk is tried before the job fails, unless set otherwise.
const ATTEMPTS: u32 = 3;
/// How long a worker may go on with what was cancelled, unless set otherwise.
const CANCEL_GRACE: Duration = Duration::from_millis(100);

impl Builder {
    fn complete_settings(&self) -> Result<Settings, Error> {
        let mut settings = self.settings;
        if let Some(size @ ..MEMORY_LEAST) = settings.memory {
            return Err(invalid("worker_memory", "at least 16 MiB", size));
        }
        if let Some(0) = settings.cpu_seconds {
            return Err(invalid("worker_cpu_time", "more than nothing", 0));
        }
        if let Some(count @ ..16) = settings.open_files {
            return Err(invalid("worker_open_files", "at least 16", count));
        }
        if let Some(nice) = settings.nice.filter(|nice| !(-20..20).contains(nice)) {
            return Err(invalid("worker_nice", "-20 to 19", nice));
        }
        if let Some(bits) = &mut settings.cores {
            for &core in &self.cores {
                let Some(word) = bits.get_mut(core / 64) else {
                    return Err(invalid("worker_cores", CORES_WANTED, core));
                };
                *word |= 1 << (core % 64);
            }
            if self.cores.is_empty() {
                return Err(invalid("worker_cores", CORES_WANTED, "none"));
            }
        }
        Ok(settings)
    }

    #[cfg(feature = "sandbox")]
    fn complete_sandbox(&self) -> Result<Option<(Arc<OwnedFd>, Policy)>, Error> {
        let wanted = "workers that are not forked from the program, which would have all that it \
                      has open and mapped";
        match &self.sandbox {
            Some(_) if self.forks => Err(invalid("sandbox", wanted, "fork")),
            Some(sandbox) => sandbox.prepare().map(Some),
            None => Ok(None),
        }
    }

    #[cfg(not(feature = "sandbox"))]
    #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
    fn complete_sandbox(&self) -> Result<Option<(Arc<OwnedFd>, Policy)>, Error> {
        Ok(None)
    }

    pub(super) fn complete(self) -> Result<Config, Error> {
        let cores = cpu::available();
        let workers = self.workers.unwrap_or_else(|| cores.min(WORKERS));
        if !(1..=WORKERS).contains(&workers) {
            return Err(invalid("workers", WORKERS_WANTED, workers));
        }
        let queues = self.queues.unwrap_or(1);
        if !(1..=QUEUES.min(workers)).contains(&queues) {
            return Err(invalid("queues", QUEUES_WANTED, queues));
        }
        let memory_budget = self
            .memory_budget
            .unwrap_or_else(|| (cpu::memory_limit() / 4 * 3).min(MOST_MEMORY));
        if !(4 << 20..=MOST_MEMORY).contains(&memory_budget) {
            return Err(invalid("memory_budget", "4 MiB to 16 TiB", memory_budget));
        }
        let attempts = self.attempts.unwrap_or(ATTEMPTS);
        if attempts == 0 {
            return Err(invalid("attempts", "at least 1", attempts));
        }
        if let Some(0) = self.captured_lines {
            return Err(invalid("capture_output", "at least 1 line", 0));
        }
        if self.queue_depth == Some(0) {
            return Err(invalid("queue_depth", "at least 1", 0));
        }
        let settings = Settings {
            quota: cpu::quota().map(|cores| cores as u64),
            ..self.complete_settings()?
        };
        let manner = self.manner()?;
        let sandbox = self.complete_sandbox()?;
        self.check_variables()?;
        let setup = match self.setup {
            Some(setup) => Some(FunctionId::of(setup as *const ())?),
            None => None,
        };
        let keep_warm = self.keep_warm.unwrap_or(memory_budget / 2);
        if self.captured_lines.is_some() && !manner.places_descriptors() {
            return Err(invalid(
                "capture_output",
                "workers that are started anew",
                "forks, which write where what they are copies of does",
            ));
        }
        Ok(Config {
            workers,
            queues,
            scheduler: self.scheduler,
            cores,
            memory_budget,
            keep_warm,
            attempts,
            cancel_grace: self.cancel_grace.unwrap_or(CANCEL_GRACE),
            queue_depth: self.queue_depth,
            settings,
            variables: self.variables,
            regions: self.regions,
            service: self.life.service()?,
            manner,
            captured_lines: self.captured_lines,
            setup,
            sandbox,
        })
    }
}
