//! What the tests of maps have in common: a pool, runtimes, and items that tell if one was lost,
//! doubled or mixed up.

#![allow(dead_code, reason = "no test uses all of it")]

use gristmill::Pool;
use rkyv::{Archive, Serialize};
use tokio::runtime::{Builder, Runtime};

pub(crate) fn pool() -> Pool {
    Pool::builder()
        .workers(2)
        .memory_budget(256 << 20)
        .build()
        .unwrap()
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[derive(Archive, Serialize, Clone, Debug)]
pub(crate) struct Order {
    pub(crate) number: u64,
    name: String,
    parts: Vec<u32>,
}

pub(crate) fn order(number: u64) -> Order {
    Order {
        number,
        name: format!("order {number}"),
        parts: (0..number as u32 % 7).collect(),
    }
}

/// Something that tells a lost, doubled or mixed-up item.
pub(crate) fn digest(order: &ArchivedOrder) -> (u64, String) {
    let sum: u32 = order.parts.iter().map(|part| part.to_native()).sum();
    (
        order.number.to_native() * 3 + u64::from(sum),
        order.name.to_uppercase(),
    )
}

pub(crate) fn expected(number: u64) -> (u64, String) {
    let parts = number as u32 % 7;
    let sum: u32 = (0..parts).sum();
    (number * 3 + u64::from(sum), format!("ORDER {number}"))
}
