//! Whom an end lets in.

#[cfg(feature = "auth")]
use super::key::Key;
use crate::sys::socket::own_user;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Listener,
    Client,
}

impl Role {
    #[cfg(feature = "auth")]
    pub(super) fn other(self) -> Self {
        match self {
            Self::Listener => Self::Client,
            Self::Client => Self::Listener,
        }
    }
}

/// What an end asks of the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// Others than the process's own user.
    pub(super) users: Vec<u32>,
    /// Whether the user does not matter.
    pub(super) any_user: bool,
    #[cfg(feature = "auth")]
    pub(super) key: Option<Key>,
}

impl Terms {
    /// Whether a process that acts as `user` is let in.
    pub(super) fn allow(&self, user: u32) -> bool {
        self.any_user || user == own_user() || self.users.contains(&user)
    }

    /// Whether others than the process's own user may come.
    pub(super) fn are_open(&self) -> bool {
        self.any_user || !self.users.is_empty()
    }

    /// Whether the other end has to prove that it has the key.
    pub(super) fn are_keyed(&self) -> bool {
        #[cfg(feature = "auth")]
        return self.key.is_some();
        #[cfg(not(feature = "auth"))]
        false
    }
}
