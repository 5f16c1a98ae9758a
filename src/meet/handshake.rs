//! What the two ends say before either believes the other: who they are, that they share memory of
//! the same layout, and that both have the key, if one is asked for.
//!
//! ```text
//! both      hello
//! both      proof, if both hellos ask for one
//! both      verdict
//! ```
//!
//! Whoever refuses says why and hangs up. Neither end sends anything that the other end's buffer
//! has no room for, so only hearing ever waits.

use nix::errno::Errno;

use super::connection::{Connection, Peer};
#[cfg(feature = "auth")]
use super::key::{Key, Transcript};
use super::terms::{Role, Terms};
use crate::error::{MeetError, MeetRefusal};
use crate::protocol::greeting::{BadHello, HELLO_BYTES, Hello, PROOF_BYTES, Verdict};
use crate::sys::failure::SysError;
use crate::sys::socket::{Arrival, Sent, Socket};
use crate::sys::{clock, random};

/// What is due from the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Hello,
    Proof,
    Verdict,
}

/// One end of a conversation that has begun.
#[derive(Debug)]
pub(super) struct Handshake {
    socket: Socket,
    #[cfg(feature = "auth")]
    key: Option<Key>,
    #[cfg_attr(
        not(feature = "auth"),
        expect(dead_code, reason = "tells proofs apart")
    )]
    role: Role,
    layout: u64,
    ours: Hello,
    due: Due,
    #[cfg(feature = "auth")]
    transcript: Transcript,
    peer: Option<Peer>,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Progress {
    /// Wait until the socket is readable, and ask again.
    Waits(Box<Handshake>),
    /// Both ends have agreed.
    Met(Connection),
}

impl Handshake {
    /// Begins. `layout` is what shared memory looks like in this program.
    pub(super) fn begin(
        socket: Socket,
        terms: Terms,
        role: Role,
        layout: u64,
    ) -> Result<Box<Self>, MeetError> {
        let user = socket.credentials()?.uid;
        if !terms.allow(user) {
            say(&socket, &Verdict::WrongUser.to_bytes())?;
            return Err(MeetError::WrongUser { found: user });
        }
        let ours = Hello {
            is_keyed: terms.are_keyed(),
            layout,
            started: clock::started(std::process::id()).unwrap_or(0),
            nonce: random::bytes()?,
        };
        say(&socket, &ours.to_bytes())?;
        Ok(Box::new(Self {
            socket,
            #[cfg(feature = "auth")]
            key: terms.key,
            role,
            layout,
            ours,
            due: Due::Hello,
            #[cfg(feature = "auth")]
            transcript: [[0; HELLO_BYTES]; 2],
            peer: None,
        }))
    }

    /// The socket to wait for.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Goes on as far as the other end has spoken. Never waits.
    pub(super) fn step(mut self: Box<Self>) -> Result<Progress, MeetError> {
        loop {
            let mut buffer = [0; HELLO_BYTES];
            let heard = match self.socket.receive(&mut buffer, false)? {
                Arrival::Nothing => return Ok(Progress::Waits(self)),
                Arrival::Closed => return Err(MeetError::Closed),
                Arrival::Message { whole: false, .. } => return self.refuse_stranger(),
                Arrival::Message { bytes, .. } => &buffer[..bytes],
            };
            match Verdict::from_bytes(heard) {
                Some(Verdict::Welcome) if self.due == Due::Verdict => break,
                Some(Verdict::Welcome) => return self.refuse_stranger(),
                Some(refusal) => return Err(refused(refusal)),
                None => {}
            }
            match self.due {
                Due::Hello => self.hear_hello(heard)?,
                Due::Proof => self.hear_proof(heard)?,
                Due::Verdict => return self.refuse_stranger(),
            }
        }
        match self.peer {
            Some(peer) => Ok(Progress::Met(Connection::new(self.socket, peer))),
            None => Err(MeetError::Stranger),
        }
    }

    fn hear_hello(&mut self, heard: &[u8]) -> Result<(), MeetError> {
        let theirs = match Hello::from_bytes(heard) {
            Ok(theirs) => theirs,
            Err(BadHello::Stranger) => return Err(MeetError::Stranger),
            Err(BadHello::Version(theirs)) => {
                let ours = Hello::version().into();
                return self.refuse_version("protocol", ours, theirs.into());
            }
        };
        if theirs.layout != self.layout {
            return self.refuse_version("layout", self.layout, theirs.layout);
        }
        match (self.ours.is_keyed, theirs.is_keyed) {
            (true, false) => {
                say(&self.socket, &Verdict::KeyMissing.to_bytes())?;
                return Err(MeetError::KeyMissing);
            }
            (false, true) => {
                say(&self.socket, &Verdict::KeyUnexpected.to_bytes())?;
                return Err(MeetError::KeyUnexpected);
            }
            _ => {}
        }
        self.peer = Some(Peer::find(&self.socket, theirs.started)?);
        if !self.ours.is_keyed {
            self.due = Due::Verdict;
            return say(&self.socket, &Verdict::Welcome.to_bytes());
        }
        self.due = Due::Proof;
        self.prove(&theirs)
    }

    #[cfg(feature = "auth")]
    fn prove(&mut self, theirs: &Hello) -> Result<(), MeetError> {
        let (ours, theirs) = (self.ours.to_bytes(), theirs.to_bytes());
        self.transcript = match self.role {
            Role::Client => [ours, theirs],
            Role::Listener => [theirs, ours],
        };
        let Some(key) = &self.key else {
            return Err(MeetError::KeyUnexpected);
        };
        say(&self.socket, &key.prove(self.role, &self.transcript))
    }

    #[cfg(not(feature = "auth"))]
    fn prove(&mut self, _: &Hello) -> Result<(), MeetError> {
        Err(MeetError::KeyUnexpected)
    }

    fn hear_proof(&mut self, heard: &[u8]) -> Result<(), MeetError> {
        if heard.len() != PROOF_BYTES {
            return Err(MeetError::Stranger);
        }
        #[cfg(feature = "auth")]
        if let Some(key) = &self.key
            && key.verify(self.role.other(), &self.transcript, heard)
        {
            self.due = Due::Verdict;
            return say(&self.socket, &Verdict::Welcome.to_bytes());
        }
        say(&self.socket, &Verdict::WrongKey.to_bytes())?;
        Err(MeetError::WrongKey)
    }

    fn refuse_version<T>(
        &self,
        what: &'static str,
        ours: u64,
        theirs: u64,
    ) -> Result<T, MeetError> {
        say(&self.socket, &Verdict::OtherVersion.to_bytes())?;
        Err(MeetError::OtherVersion { what, ours, theirs })
    }

    fn refuse_stranger<T>(&self) -> Result<T, MeetError> {
        Err(MeetError::Stranger)
    }
}

/// What the other end's refusal means here.
fn refused(verdict: Verdict) -> MeetError {
    match verdict {
        // No refusal, and none gets here.
        Verdict::Welcome => MeetError::Stranger,
        Verdict::WrongUser => MeetError::Refused(MeetRefusal::User),
        Verdict::WrongKey => MeetError::Refused(MeetRefusal::Key),
        Verdict::OtherVersion => MeetError::Refused(MeetRefusal::Version),
        // Seen from here it is the other way round.
        Verdict::KeyMissing => MeetError::KeyUnexpected,
        Verdict::KeyUnexpected => MeetError::KeyMissing,
    }
}

/// Sends a word. That the other end has hung up is found when it is heard, with its reason.
fn say(socket: &Socket, word: &[u8]) -> Result<(), MeetError> {
    match socket.send([word, b""], None)? {
        Sent::Whole | Sent::Closed => Ok(()),
        // Less than the smallest buffer that a socket can be given.
        Sent::Full => Err(SysError::of("greet the other program")(Errno::EAGAIN).into()),
    }
}
