//! Exchanges over `ipc-channel`: bytes, which it copies, or its own shared memory.

use std::env;
use std::process::{Child, Command};

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, IpcSharedMemory,
};
use serde::{Deserialize, Serialize};

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};
use crate::remote::SERVE;

/// The parent's ends.
#[derive(Serialize, Deserialize)]
struct Ends {
    bytes: IpcBytesSender,
    shared: IpcSender<Option<IpcSharedMemory>>,
    answers: IpcBytesReceiver,
}

/// The parent's side.
pub(crate) struct Channels {
    child: Child,
    ends: Ends,
    buffer: Vec<u64>,
    by_bytes: bool,
}

impl Channels {
    pub(crate) fn bytes(message: Message) -> Result<Self, String> {
        Self::start(message, true)
    }

    pub(crate) fn shared_memory(message: Message) -> Result<Self, String> {
        Self::start(message, false)
    }

    fn start(message: Message, by_bytes: bool) -> Result<Self, String> {
        let (server, name) = IpcOneShotServer::<Ends>::new().map_err(|error| error.to_string())?;
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let served = format!("channels/{by_bytes}/{}/{name}", message.answer());
        let child = Command::new(program).args([SERVE, &served]).spawn();
        let child = child.map_err(|error| error.to_string())?;
        let (_, ends) = server.accept().map_err(|error| error.to_string())?;
        Ok(Self {
            child,
            ends,
            buffer: vec![0; message.words],
            by_bytes,
        })
    }
}

impl Exchange for Channels {
    fn exchange(&mut self, seed: u64) -> u64 {
        write(&mut self.buffer, seed);
        let bytes = bytemuck::cast_slice(&self.buffer);
        // A wrong answer shows that something failed.
        let sent = match self.by_bytes {
            true => self.ends.bytes.send(bytes).is_ok(),
            false => {
                let shared = IpcSharedMemory::from_bytes(bytes);
                self.ends.shared.send(Some(shared)).is_ok()
            }
        };
        match sent {
            true => self.ends.answers.recv().map_or(0, |answer| sum_of(&answer)),
            false => 0,
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        // The child waits for either kind; an empty message ends it.
        let _ = self.ends.bytes.send(&[]);
        let _ = self.ends.shared.send(None);
        let _ = self.child.wait();
    }
}

/// The child's side; the argument says of which kind messages are, how large answers are, and where
/// the parent listens.
pub(crate) fn serve(name: &str) -> Option<()> {
    let (by_bytes, rest) = name.split_once('/')?;
    let (words, name) = rest.split_once('/')?;
    let mut buffer = vec![0; words.parse().ok()?];
    let (bytes, byte_requests): (_, IpcBytesReceiver) = ipc::bytes_channel().ok()?;
    let (shared, shared_requests) = ipc::channel().ok()?;
    let (answer, answers) = ipc::bytes_channel().ok()?;
    let ends = Ends {
        bytes,
        shared,
        answers,
    };
    IpcSender::connect(name.to_owned()).ok()?.send(ends).ok()?;
    loop {
        let sum = if by_bytes == "true" {
            let bytes = byte_requests
                .recv()
                .ok()
                .filter(|bytes| !bytes.is_empty())?;
            sum_of(&bytes)
        } else {
            sum_of(&shared_requests.recv().ok()??)
        };
        write(&mut buffer, sum);
        answer.send(bytemuck::cast_slice(&buffer)).ok()?;
    }
}

/// The bytes need not be aligned.
fn sum_of(bytes: &[u8]) -> u64 {
    match bytemuck::try_cast_slice(bytes) {
        Ok(words) => read(words),
        Err(_) => read(&bytemuck::allocation::pod_collect_to_vec::<u8, u64>(bytes)),
    }
}
