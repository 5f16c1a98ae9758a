//! Why a worker did not come to be.

use super::Watch;
use crate::error::{Error, TaskError, WorkerDeath};
use crate::primitive::atomic::Ordering;
use crate::protocol::control::Status;

impl Watch<'_> {
    /// What a worker said of why it does not serve, before it ended.
    pub(super) fn complaint(&self, index: usize) -> Option<String> {
        match self.status(index) {
            Status::Unsettled(setting, 0) => Some(format!(
                "its `{}` panicked: {}",
                setting.name(),
                self.last_words(index)
            )),
            Status::Unsettled(setting, errno) => {
                let error = std::io::Error::from_raw_os_error(errno.into());
                Some(format!("it could not apply `{}`: {error}", setting.name()))
            }
            Status::Refused(refusal) => Some(refusal.to_string()),
            _ => None,
        }
    }

    /// The panic that ended a worker's set-up.
    fn last_words(&self, index: usize) -> String {
        let owner = self.charges[index].owner;
        let record = self.engine.control().record(owner.index());
        // ORDERING: Relaxed; acquired with the status.
        let offset = record.map_or(0, |record| record.report.load(Ordering::Relaxed));
        let report = self.engine.hub().panic_of(owner, offset);
        TaskError::from(report).to_string()
    }

    /// The error of a pool whose first workers did not all come to be.
    pub(super) fn refusal(&self, index: usize, death: WorkerDeath) -> Error {
        match self.status(index) {
            Status::Refused(refusal) => Error::Handshake {
                pid: death.pid,
                refusal,
            },
            Status::Unsettled(setting, 0) => Error::SettingRefused {
                setting: setting.name(),
                reason: self.last_words(index),
            },
            Status::Unsettled(setting, errno) => Error::SettingRefused {
                setting: setting.name(),
                reason: std::io::Error::from_raw_os_error(errno.into()).to_string(),
            },
            _ if self.charges[index].condemned => Error::StartTimedOut {
                pid: death.pid,
                limit: self.engine.config().service.start_timeout,
            },
            _ => Error::WorkersKeepDying { attempts: 1, death },
        }
    }
}
