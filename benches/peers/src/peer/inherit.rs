//! A lock whose holder is killed, and a process that waits for it and did not start the holder.
//!
//! The holder writes the time and kills itself; whoever has the lock next takes the difference.

use std::time::Duration;

use gristmill::{LockError, Mutex, Process, Queue, Region};

use crate::contest::{Turn, Work};
use crate::peer::hand_over::{Bare, Data, NUMBER, TIME, Way, now, pause, reach, set};
use crate::peer::partner::{Name, Partner, Served, named};

fn opened(names: &[Name]) -> (Mutex<Data>, Mutex<u64>, Way) {
    let mutex = named(names, 0).open().expect("a mutex");
    let step = named(names, 1).open().expect("a mutex");
    (mutex, step, Way::of(names[2][0]))
}

/// The process that waits: it says how long each took, in nanoseconds.
fn serve(names: Vec<Name>) -> Served {
    let (mutex, step, way) = opened(&names);
    let times = named::<Queue<u64>>(&names, 3).open().expect("a queue");
    let bare = Bare::of(&mutex);
    let mut number = 0;
    Box::new(move |count| {
        let mut right = 0;
        for _ in 0..count {
            number += 1;
            reach(&step, 2 * number);
            let took = match way {
                Way::Pthread => bare.inherit().then(|| bare.took(number)).flatten(),
                _ => match mutex.lock_blocking() {
                    Err(LockError::Poisoned(guard)) => {
                        let now = now();
                        mutex.clear_poison();
                        (guard[NUMBER] == number).then(|| now - guard[TIME])
                    }
                    _ => None,
                },
            };
            right += u64::from(took.is_some());
            times.try_send(took.unwrap_or(0)).expect("room");
            set(&step, 2 * number + 1);
        }
        right
    })
}

/// Locks, lets the other wait for so long, and dies.
fn hold(names: &[Name], number: u64, waits: Duration) {
    let (mutex, step, way) = opened(names);
    let die = || {
        // SAFETY: a system call, of a process upon itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    };
    match way {
        Way::Pthread => {
            let bare = Bare::of(&mutex);
            bare.lock();
            set(&step, 2 * number);
            pause(waits);
            bare.stamp(number);
            die();
        }
        _ => {
            let mut guard = mutex.lock_blocking().expect("it is whole");
            set(&step, 2 * number);
            pause(waits);
            guard[NUMBER] = number;
            guard[TIME] = now();
            die();
        }
    }
}

/// Turns of so many deaths, each with a process that has waited for so long.
pub(crate) fn inherit(way: Way, count: usize, waits: Duration) -> Result<Work, String> {
    let text = |error: gristmill::Error| error.to_string();
    let region = Region::new(4 << 20).map_err(text)?;
    let mutex = Mutex::<Data>::new(&region, [0; 16]).map_err(text)?;
    let step = Mutex::new(&region, 0).map_err(text)?;
    let times = Queue::<u64>::new(&region, count).map_err(text)?;
    Bare::of(&mutex).make_pthread();
    let names = move |mutex: &Mutex<Data>, step: &Mutex<u64>, times: &Queue<u64>| {
        let times = times.handle().words();
        let objects = [mutex.handle().words(), step.handle().words()];
        vec![objects[0], objects[1], [way as u64, 0], times]
    };
    let partner = Partner::start(&region, names(&mutex, &step, &times), serve)?;
    let mut number = 0_u64;
    let waits = waits.as_nanos() as u64;
    Ok(Box::new(move |_| {
        if partner.begin(count as u64).is_none() {
            return Turn::new(f64::NAN, false);
        }
        for _ in 0..count {
            number += 1;
            let holder = Process::builder().region(&region);
            let holder = holder.spawn((names(&mutex, &step, &times), number, waits), |arguments| {
                let names = arguments.0.iter();
                let names = names.map(|name| [name[0].into(), name[1].into()]);
                let waits = Duration::from_nanos(arguments.2.to_native());
                hold(&names.collect::<Vec<_>>(), arguments.1.to_native(), waits);
            });
            if holder.is_ok_and(|holder| holder.wait().is_ok()) {
                return Turn::new(f64::NAN, false);
            }
            reach(&step, 2 * number + 1);
        }
        let right = partner.end() == Some(count as u64);
        let samples = (0..count).map_while(|_| times.try_recv().ok());
        Turn::of_samples(samples.map(|time| time as f32 * 1e-9).collect(), right)
    }))
}
