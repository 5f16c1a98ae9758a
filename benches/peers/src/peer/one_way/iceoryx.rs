//! Messages one way over iceoryx2's publish and subscribe: none is dropped, both sides poll.

use std::hint;
use std::io::stdin;
use std::process::{self, Command};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::peer::iceoryx::node;
use crate::peer::one_way::{LARGE_CAPACITY, OneWay, SMALL_CAPACITY, Small, Tally};
use crate::remote::{Remote, SERVE};

/// A fixed type for small messages and slices for large ones: of each the cheapest call.
enum Way {
    Small(Publisher<ipc::Service, Small, ()>),
    Large(Publisher<ipc::Service, [u64], ()>),
}

/// The parent's side.
pub(crate) struct Iceoryx {
    way: Way,
    /// Before the node, which ends when the child has.
    remote: Remote,
    _node: Node<ipc::Service>,
}

/// The service of a name; a message waits until there is room for it.
macro_rules! service {
    ($node:expr, $name:expr, $payload:ty, $capacity:expr) => {{
        let name = ServiceName::new($name).map_err(|error| format!("{error:?}"))?;
        let builder = $node.service_builder(&name).publish_subscribe::<$payload>();
        let builder = builder.enable_safe_overflow(false).max_publishers(1);
        let builder = builder.subscriber_max_buffer_size($capacity);
        let service = builder.open_or_create();
        service.map_err(|error| format!("{error:?}"))?
    }};
}

impl Iceoryx {
    pub(crate) fn start(words: usize) -> Result<Self, String> {
        const WAIT: BackpressureStrategy = BackpressureStrategy::RetryUntilDelivered;
        let node = node()?;
        let name = format!("gristmill-peers/{}/one-way/{words}", process::id());
        let way = if words == Small::default().len() {
            let service = service!(node, &name, Small, SMALL_CAPACITY);
            let publisher = service.publisher_builder().backpressure_strategy(WAIT);
            Way::Small(publisher.create().map_err(|error| format!("{error:?}"))?)
        } else {
            let service = service!(node, &name, [u64], LARGE_CAPACITY);
            let publisher = service.publisher_builder().initial_max_slice_len(words);
            let publisher = publisher.backpressure_strategy(WAIT);
            Way::Large(publisher.create().map_err(|error| format!("{error:?}"))?)
        };
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.args([SERVE, &format!("one_way_iceoryx/{words}/{name}")]);
        let mut remote = Remote::launch(&mut command)?;
        // It has opened the service, too.
        remote.ask("0")?;
        remote.ask("")?;
        Ok(Self {
            way,
            remote,
            _node: node,
        })
    }
}

impl OneWay for Iceoryx {
    fn begin(&mut self, count: u64) -> Option<()> {
        // The answer says that it polls from now on.
        (self.remote.ask(&count.to_string()).ok()? == "polling").then_some(())
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        match &self.way {
            Way::Small(publisher) => publisher.send_copy(message.try_into().ok()?).ok()?,
            Way::Large(publisher) => {
                let sample = publisher.loan_slice_uninit(message.len()).ok()?;
                sample.write_from_slice(message).send().ok()?
            }
        };
        Some(())
    }

    fn end(&mut self) -> Option<u64> {
        self.remote.ask("").ok()?.parse().ok()
    }
}

/// The child's side: polls for as many messages as it is told, then sleeps in a read.
pub(crate) fn serve(name: &str) -> Option<()> {
    let (words, name) = name.split_once('/')?;
    match words {
        "8" => serve_small(name).ok(),
        _ => serve_large(name).ok(),
    }
}

fn serve_small(name: &str) -> Result<(), String> {
    let node = node()?;
    let service = service!(node, name, Small, SMALL_CAPACITY);
    let subscriber = service.subscriber_builder().buffer_size(SMALL_CAPACITY);
    let subscriber: Subscriber<_, _, _> = subscriber.create().map_err(|e| format!("{e:?}"))?;
    serve_with(|tally| {
        let sample = subscriber.receive().ok().flatten();
        sample.is_some_and(|sample| {
            tally.look(sample.payload());
            true
        })
    })
}

fn serve_large(name: &str) -> Result<(), String> {
    let node = node()?;
    let service = service!(node, name, [u64], LARGE_CAPACITY);
    let subscriber = service.subscriber_builder().buffer_size(LARGE_CAPACITY);
    let subscriber: Subscriber<_, _, _> = subscriber.create().map_err(|e| format!("{e:?}"))?;
    serve_with(|tally| {
        let sample = subscriber.receive().ok().flatten();
        sample.is_some_and(|sample| {
            tally.look(sample.payload());
            true
        })
    })
}

/// `look` looks at one message, if there is one.
fn serve_with(mut look: impl FnMut(&mut Tally) -> bool) -> Result<(), String> {
    let mut tally = Tally::default();
    for line in stdin().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let Ok(count) = line.parse::<u64>() else {
            println!("{}", tally.right());
            continue;
        };
        println!("polling");
        tally = Tally::default();
        let mut seen = 0;
        while seen < count {
            match look(&mut tally) {
                true => seen += 1,
                false => hint::spin_loop(),
            }
        }
    }
    Ok(())
}
