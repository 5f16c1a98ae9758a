//! A process of gristmill's own on the other side: it sleeps until it is told how much follows.

use gristmill::{Handle, Process, Queue, Region};

/// What an object of the region is called on its way to the other process.
pub(crate) type Name = [u64; 2];

/// What is done on the other side for an order of so many; it says how many went well.
pub(crate) type Served = Box<dyn FnMut(u64) -> u64>;

/// The handle of the object that was given under this index.
pub(crate) fn named<T>(names: &[Name], index: usize) -> Handle<T> {
    Handle::from_words(names[index])
}

pub(crate) struct Partner {
    orders: Queue<u64>,
    answers: Queue<u64>,
    process: Process,
}

impl Partner {
    /// A process that opens what it is given, once, and then serves orders.
    pub(crate) fn start(
        region: &Region,
        names: Vec<Name>,
        open: impl Fn(Vec<Name>) -> Served + Copy + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let queue = || Queue::<u64>::new(region, 1).map_err(|error| error.to_string());
        let (orders, answers) = (queue()?, queue()?);
        let ends = [orders.handle().words(), answers.handle().words()];
        let process = Process::builder().region(region).kill_on_drop(true);
        let process = process.spawn((ends.to_vec(), names), move |arguments| {
            let native = |names: &rkyv::Archived<Vec<Name>>| -> Vec<Name> {
                let words = names.iter().map(|name| [name[0].into(), name[1].into()]);
                words.collect()
            };
            let ends = native(&arguments.0);
            let orders = named::<Queue<u64>>(&ends, 0).open().expect("a queue");
            let answers = named::<Queue<u64>>(&ends, 1).open().expect("a queue");
            let mut serve = open(native(&arguments.1));
            while let Ok(count) = orders.recv_blocking() {
                answers.send_blocking(0).expect("it is open");
                answers.send_blocking(serve(count)).expect("it is open");
            }
        });
        Ok(Self {
            orders,
            answers,
            process: process.map_err(|error| error.to_string())?,
        })
    }

    /// It is awake, and knows that so many follow.
    pub(crate) fn begin(&self, count: u64) -> Option<()> {
        self.orders.send_blocking(count).ok()?;
        (self.answers.recv_blocking().ok()? == 0).then_some(())
    }

    /// How many went well there.
    pub(crate) fn end(&self) -> Option<u64> {
        self.answers.recv_blocking().ok()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.orders.close();
        // If it failed, its answers were wrong.
        let _ = self.process.wait();
    }
}
