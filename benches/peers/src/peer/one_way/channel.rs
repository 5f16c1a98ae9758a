//! Messages one way over `ipc-channel`: bytes, which the kernel copies, or its shared memory.

use std::env;
use std::process::{Child, Command};

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender,
    IpcSharedMemory,
};
use serde::{Deserialize, Serialize};

use crate::peer::one_way::{OneWay, Tally};
use crate::remote::SERVE;

/// The parent's ends.
#[derive(Serialize, Deserialize)]
struct Ends {
    orders: IpcSender<u64>,
    bytes: IpcBytesSender,
    shared: IpcSender<IpcSharedMemory>,
    answers: IpcReceiver<u64>,
}

/// The parent's side.
pub(crate) struct Channel {
    child: Child,
    ends: Ends,
    by_bytes: bool,
}

impl Channel {
    pub(crate) fn start(by_bytes: bool) -> Result<Self, String> {
        let (server, name) = IpcOneShotServer::<Ends>::new().map_err(|error| error.to_string())?;
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let served = format!("one_way_channel/{by_bytes}/{name}");
        let child = Command::new(program).args([SERVE, &served]).spawn();
        let child = child.map_err(|error| error.to_string())?;
        let (_, ends) = server.accept().map_err(|error| error.to_string())?;
        Ok(Self {
            child,
            ends,
            by_bytes,
        })
    }
}

impl OneWay for Channel {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.ends.orders.send(count).ok()?;
        (self.ends.answers.recv().ok()? == 0).then_some(())
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        let bytes = bytemuck::cast_slice(message);
        match self.by_bytes {
            true => self.ends.bytes.send(bytes).ok(),
            false => {
                let shared = IpcSharedMemory::from_bytes(bytes);
                self.ends.shared.send(shared).ok()
            }
        }
    }

    fn end(&mut self) -> Option<u64> {
        self.ends.answers.recv().ok()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // An order of nothing ends it.
        let _ = self.ends.orders.send(0);
        let _ = self.child.wait();
    }
}

/// The child's side: of which kind messages are, and where the parent listens.
pub(crate) fn serve(name: &str) -> Option<()> {
    let (by_bytes, name) = name.split_once('/')?;
    let (orders, given): (_, IpcReceiver<u64>) = ipc::channel().ok()?;
    let (bytes, byte_messages): (_, IpcBytesReceiver) = ipc::bytes_channel().ok()?;
    let (shared, shared_messages) = ipc::channel().ok()?;
    let (answer, answers) = ipc::channel::<u64>().ok()?;
    let ends = Ends {
        orders,
        bytes,
        shared,
        answers,
    };
    IpcSender::connect(name.to_owned()).ok()?.send(ends).ok()?;
    loop {
        let count = given.recv().ok().filter(|&count| count > 0)?;
        answer.send(0).ok()?;
        let mut tally = Tally::default();
        for _ in 0..count {
            match by_bytes {
                "true" => tally.look_at_bytes(&byte_messages.recv().ok()?),
                _ => tally.look_at_bytes(&shared_messages.recv().ok()?),
            }
        }
        answer.send(tally.right()).ok()?;
    }
}
