//! A producer and consumers, each a process of its own, over one queue; one consumer dies on the
//! way.
//!
//! The consumers read each order where it lies in shared memory, and send a receipt when they are
//! done with it. An order whose consumer dies comes back, and somebody else gets it.
//!
//! ```text
//! cargo run --release --example producer_consumers
//! ```

use std::time::Instant;

use gristmill::{Handle, OnDeath, Process, Queue, Region, Rkyv};

const ORDERS: u64 = 10_000;
const CONSUMERS: u64 = 3;

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Order {
    number: u64,
    prices: Vec<f64>,
}

type Orders = Queue<Rkyv<Order>>;
/// The number of an order, and its sum.
type Receipts = Queue<[u64; 2]>;

/// What crosses to another process: two queues by name.
type Names = ([u64; 2], [u64; 2]);

fn open(names: &rkyv::Archived<Names>) -> (Orders, Receipts) {
    let words = |name: &rkyv::Archived<[u64; 2]>| [name[0].into(), name[1].into()];
    let orders = Handle::from_words(words(&names.0)).open();
    let receipts = Handle::from_words(words(&names.1)).open();
    (
        orders.expect("a queue of orders"),
        receipts.expect("a queue of receipts"),
    )
}

fn produce(orders: &Orders) {
    for number in 0..ORDERS {
        let prices = (0..number % 100).map(|price| price as f64).collect();
        orders
            .send_blocking(&Order { number, prices })
            .expect("it is open");
    }
    orders.close();
}

fn consume(orders: &Orders, receipts: &Receipts, dies: bool) {
    for (count, order) in orders.iter().enumerate() {
        let order = order.expect("an order");
        if dies && count == 1000 {
            std::process::abort();
        }
        let sum: f64 = order.prices.iter().map(|price| price.to_native()).sum();
        let receipt = [order.number.to_native(), sum as u64];
        receipts.send_blocking(receipt).expect("it is open");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let region = Region::new(64 << 20)?;
    let orders = Orders::builder(256)
        .on_death(OnDeath::ComesBack)
        .build(&region)?;
    let receipts = Receipts::new(&region, 1024)?;
    let names: Names = (orders.handle().words(), receipts.handle().words());
    let began = Instant::now();
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        let process = Process::builder().region(&region);
        consumers.push(process.spawn((names, number == 0), |arguments| {
            let (orders, receipts) = open(&arguments.0);
            consume(&orders, &receipts, arguments.1);
        })?);
    }
    let producer = Process::builder()
        .region(&region)
        .spawn(names, |names| produce(&open(names).0))?;
    let mut done = vec![false; ORDERS as usize];
    while done.contains(&false) {
        let [number, sum] = receipts.recv_blocking()?;
        let prices = number % 100;
        assert_eq!(sum, prices * prices.saturating_sub(1) / 2);
        done[number as usize] = true;
    }
    producer.wait()?;
    let died = consumers.iter().filter(|process| process.wait().is_err());
    println!(
        "{ORDERS} orders in {:.0?}; {} of {CONSUMERS} consumers died, no order did",
        began.elapsed(),
        died.count(),
    );
    Ok(())
}
