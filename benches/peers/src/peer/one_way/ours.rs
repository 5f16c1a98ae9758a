//! Queues of gristmill between two processes: one by one, many at once, awaited.

use std::rc::Rc;

use gristmill::{Queue, Region};
use tokio::runtime::Runtime;

use crate::crew::one_thread;
use crate::peer::one_way::{LARGE_CAPACITY, OneWay, SMALL_CAPACITY, Small, Tally, stamp};
use crate::peer::partner::{Name, Partner, Served, named};

/// Messages that are sent or received at once, where that is what is measured.
const MANY: usize = 64;

fn region() -> Result<Region, String> {
    Region::new(64 << 20).map_err(|error| error.to_string())
}

fn small(
    open: impl Fn(Queue<Small>) -> Served + Copy + Send + Sync + 'static,
) -> Result<(Queue<Small>, Partner), String> {
    let region = region()?;
    let queue = Queue::<Small>::new(&region, SMALL_CAPACITY).map_err(|error| error.to_string())?;
    let names = vec![queue.handle().words()];
    let partner = Partner::start(&region, names, move |names: Vec<Name>| {
        open(named::<Queue<Small>>(&names, 0).open().expect("a queue"))
    })?;
    Ok((queue, partner))
}

/// One by one.
pub(crate) struct OneByOne(Queue<Small>, Partner);

impl OneByOne {
    pub(crate) fn start() -> Result<Self, String> {
        let (queue, partner) = small(|queue| {
            Box::new(move |count| {
                let mut tally = Tally::default();
                for _ in 0..count {
                    tally.look(&queue.recv_blocking().expect("it is open"));
                }
                tally.right()
            })
        })?;
        Ok(Self(queue, partner))
    }
}

impl OneWay for OneByOne {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.1.begin(count)
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        self.0.send_blocking(message.try_into().ok()?).ok()
    }

    fn end(&mut self) -> Option<u64> {
        self.1.end()
    }
}

/// Up to 64 at once, on both sides.
pub(crate) struct ByMany(Queue<Small>, Partner);

impl ByMany {
    pub(crate) fn start() -> Result<Self, String> {
        let (queue, partner) = small(|queue| {
            Box::new(move |count| {
                let (mut tally, mut received) = (Tally::default(), Vec::with_capacity(MANY));
                let mut left = count as usize;
                while left > 0 {
                    let many = queue.recv_many(&mut received, MANY).wait();
                    left -= many.expect("it is open");
                    received.drain(..).for_each(|message| tally.look(&message));
                }
                tally.right()
            })
        })?;
        Ok(Self(queue, partner))
    }
}

impl OneWay for ByMany {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.1.begin(count)
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        self.0.send_blocking(message.try_into().ok()?).ok()
    }

    fn send_all(&mut self, count: u64, _: usize) -> Option<()> {
        let mut messages = vec![[1; 8]; MANY];
        for start in (0..count).step_by(MANY) {
            let numbers = start..count.min(start + MANY as u64);
            let len = numbers.clone().count();
            for (message, number) in messages.iter_mut().zip(numbers) {
                stamp(message, number);
            }
            let mut rest = &messages[..len];
            while !rest.is_empty() {
                rest = &rest[self.0.send_many(rest).wait().ok()?..];
            }
        }
        Some(())
    }

    fn end(&mut self) -> Option<u64> {
        self.1.end()
    }
}

/// One by one, awaited on a runtime of one thread on each side.
pub(crate) struct Awaited(Queue<Small>, Partner, Rc<Runtime>);

impl Awaited {
    pub(crate) fn start() -> Result<Self, String> {
        let (queue, partner) = small(|queue| {
            let runtime = one_thread();
            Box::new(move |count| {
                runtime.block_on(async {
                    let mut tally = Tally::default();
                    for _ in 0..count {
                        tally.look(&queue.recv().await.expect("it is open"));
                    }
                    tally.right()
                })
            })
        })?;
        Ok(Self(queue, partner, one_thread()))
    }
}

impl OneWay for Awaited {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.1.begin(count)
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        self.0.send_blocking(message.try_into().ok()?).ok()
    }

    fn send_all(&mut self, count: u64, _: usize) -> Option<()> {
        let mut message = [1; 8];
        self.2.block_on(async {
            for number in 0..count {
                stamp(&mut message, number);
                self.0.send(message).await.ok()?;
            }
            Some(())
        })
    }

    fn end(&mut self) -> Option<u64> {
        self.1.end()
    }
}

/// Bytes of any size, which are read where they lie.
pub(crate) struct Large(Queue<[u8]>, Partner);

impl Large {
    pub(crate) fn start() -> Result<Self, String> {
        let region = region()?;
        let queue = Queue::<[u8]>::new(&region, LARGE_CAPACITY);
        let queue = queue.map_err(|error| error.to_string())?;
        let names = vec![queue.handle().words()];
        let partner = Partner::start(&region, names, |names| {
            let queue = named::<Queue<[u8]>>(&names, 0).open().expect("a queue");
            Box::new(move |count| {
                let mut tally = Tally::default();
                for _ in 0..count {
                    tally.look_at_bytes(&queue.recv_blocking().expect("it is open"));
                }
                tally.right()
            })
        })?;
        Ok(Self(queue, partner))
    }
}

impl OneWay for Large {
    fn begin(&mut self, count: u64) -> Option<()> {
        self.1.begin(count)
    }

    fn send(&mut self, message: &[u64]) -> Option<()> {
        self.0.send_blocking(bytemuck::cast_slice(message)).ok()
    }

    fn end(&mut self) -> Option<u64> {
        self.1.end()
    }
}
