//! Exchanges over iceoryx2's request and response, both sides polling without pause.

use std::hint;
use std::io::stdin;
use std::process;

use iceoryx2::port::client::Client;
use iceoryx2::prelude::*;

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};
use crate::remote::{Remote, SERVE};

/// The parent's side.
pub(crate) struct Iceoryx {
    client: Client<ipc::Service, [u64], (), [u64], ()>,
    message: Message,
    /// Before the node, which ends when the child has.
    remote: Remote,
    _node: Node<ipc::Service>,
}

pub(crate) fn node() -> Result<Node<ipc::Service>, String> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
    node.create().map_err(|error| format!("{error:?}"))
}

impl Iceoryx {
    pub(crate) fn start(message: Message) -> Result<Self, String> {
        let node = node()?;
        let text = format!("gristmill-peers/{}/{}", process::id(), message.name());
        let name = ServiceName::new(&text).map_err(|error| format!("{error:?}"))?;
        let service = node
            .service_builder(&name)
            .request_response::<[u64], [u64]>();
        let service = service
            .open_or_create()
            .map_err(|error| format!("{error:?}"))?;
        let client = service
            .client_builder()
            .initial_max_slice_len(message.words);
        let client = client.create().map_err(|error| format!("{error:?}"))?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = process::Command::new(program);
        command.args([
            SERVE,
            &format!("iceoryx/{}/{}/{text}", message.touched, message.answer()),
        ]);
        let mut remote = Remote::launch(&mut command)?;
        // It has opened the service, too.
        remote.ask("0")?;
        Ok(Self {
            client,
            message,
            remote,
            _node: node,
        })
    }

    fn try_exchange(&mut self, seed: u64) -> Option<u64> {
        let mut request = self.client.loan_slice_uninit(self.message.words).ok()?;
        let payload = request.payload_mut();
        let start = payload.as_mut_ptr().cast::<u64>();
        // SAFETY: as many words as were loaned at least, in mapped shared memory, where any bits
        // are a number.
        let touched = unsafe { std::slice::from_raw_parts_mut(start, self.message.touched) };
        write(touched, seed);
        // SAFETY: what was not written now was mapped, zero or written before.
        let request = unsafe { request.assume_init() };
        let pending = request.send().ok()?;
        loop {
            if let Some(answer) = pending.receive().ok()? {
                return Some(read(answer.payload()));
            }
            hint::spin_loop();
        }
    }
}

impl Exchange for Iceoryx {
    fn begin(&mut self, count: usize) {
        // The answer says that it polls from now on; a failure shows as a wrong answer.
        let _ = self.remote.ask(&count.to_string());
    }

    fn exchange(&mut self, seed: u64) -> u64 {
        self.try_exchange(seed).unwrap_or(0)
    }
}

/// The child's side: polls for as many requests as it is told, then sleeps in a read.
pub(crate) fn serve(name: &str) -> Option<()> {
    let (touched, name) = name.split_once('/')?;
    let (answer, name) = name.split_once('/')?;
    let (touched, answer): (usize, usize) = (touched.parse().ok()?, answer.parse().ok()?);
    let node = node().ok()?;
    let name = ServiceName::new(name).ok()?;
    let service = node
        .service_builder(&name)
        .request_response::<[u64], [u64]>();
    let service = service.open_or_create().ok()?;
    let server = service.server_builder().initial_max_slice_len(answer);
    let server = server.create().ok()?;
    for line in stdin().lines() {
        let count: usize = line.ok()?.parse().ok()?;
        println!("polling");
        let mut served = 0;
        while served < count {
            let Some(request) = server.receive().ok()? else {
                hint::spin_loop();
                continue;
            };
            let sum = read(&request.payload()[..touched]);
            let mut response = request.loan_slice_uninit(answer).ok()?;
            let start = response.payload_mut().as_mut_ptr().cast::<u64>();
            // SAFETY: as many words as were loaned, in mapped shared memory, where any bits are a
            // number.
            write(
                unsafe { std::slice::from_raw_parts_mut(start, answer) },
                sum,
            );
            // SAFETY: all of it was written.
            unsafe { response.assume_init() }.send().ok()?;
            served += 1;
        }
    }
    Some(())
}
