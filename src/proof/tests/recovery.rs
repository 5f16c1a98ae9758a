//! What the pool's own recovery does beside the algorithms.

use std::time::Duration;

use crate::error::{Cause, WorkerDeath};
use crate::memory::owner::Owner;
use crate::pool::builder::Config;
use crate::pool::engine::Engine;
use crate::pool::life::Service;
use crate::protocol::settings::Settings;
use crate::sync::kernel::KernelFutex;

#[test]
fn the_dead_do_not_count_as_awake() {
    let config = Config {
        workers: 2,
        queues: 1,
        scheduler: None,
        cores: 2,
        memory_budget: 4 << 20,
        keep_warm: 0,
        attempts: 1,
        cancel_grace: Duration::MAX,
        service: Service::default(),
        queue_depth: None,
        settings: Settings::default(),
        variables: crate::sys::environment::Variables::default(),
        regions: Default::default(),
        manner: Default::default(),
        captured_lines: None,
        setup: None,
        sandbox: None,
    };
    let engine = Engine::new(config).expect("memory");
    let parking = engine.control().parking();
    // Worker 0 dies while it looks for work; worker 1 went to sleep after that.
    parking.spin(0);
    let death = WorkerDeath::new(1, Cause::Signal(9));
    engine.recover(Owner::new(0, 0), &death, false);
    parking.announce(1);
    assert_eq!(
        parking.wake(1, &KernelFutex),
        1,
        "a task waits for the dead"
    );
}
