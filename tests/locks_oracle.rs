//! Locks beside a plain model: three processes do what chance tells them, and die of it.

use std::time::{Duration, Instant};

use gristmill::{
    Handle, LockError, LockResult, Mutex, Process, Queue, ReentrantMutex, Region, RwLock,
};
use proptest::prelude::*;

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers: had, had with a warning, not had, nothing to do.
const HAD: u64 = 0;
const POISONED: u64 = 1;
const NOT: u64 = 2;
const IDLE: u64 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Act {
    Lock,
    Unlock,
    Read,
    EndRead,
    Write,
    EndWrite,
    LockAgain,
    UnlockOnce,
    ClearAll,
}

const ACTS: [Act; 9] = [
    Act::Lock,
    Act::Unlock,
    Act::Read,
    Act::EndRead,
    Act::Write,
    Act::EndWrite,
    Act::LockAgain,
    Act::UnlockOnce,
    Act::ClearAll,
];

struct Locks {
    mutex: Mutex<u64>,
    rwlock: RwLock<u64>,
    reentrant: ReentrantMutex<u64>,
}

type Names = [[u64; 2]; 3];

impl Locks {
    fn new(region: &Region) -> Self {
        Self {
            mutex: Mutex::new(region, 0).unwrap(),
            rwlock: RwLock::new(region, 0).unwrap(),
            reentrant: ReentrantMutex::new(region, 0).unwrap(),
        }
    }

    fn names(&self) -> Names {
        let Self {
            mutex,
            rwlock,
            reentrant,
        } = self;
        [
            mutex.handle().words(),
            rwlock.handle().words(),
            reentrant.handle().words(),
        ]
    }

    fn open(names: Names) -> Self {
        Self {
            mutex: Handle::from_words(names[0]).open().unwrap(),
            rwlock: Handle::from_words(names[1]).open().unwrap(),
            reentrant: Handle::from_words(names[2]).open().unwrap(),
        }
    }
}

/// Puts a guard away, and says how it was had.
fn put<G>(guards: &mut Vec<G>, outcome: LockResult<G>) -> u64 {
    match outcome {
        Ok(guard) => {
            guards.push(guard);
            HAD
        }
        Err(LockError::Poisoned(guard)) => {
            guards.push(guard);
            POISONED
        }
        Err(LockError::WouldBlock) => NOT,
        Err(error) => panic!("{error}"),
    }
}

fn take<G>(guards: &mut Vec<G>) -> u64 {
    if guards.pop().is_some() { HAD } else { IDLE }
}

/// A process that does what it is told.
fn obey(names: Names, orders: &Queue<u64>, answers: &Queue<u64>) {
    let locks = Locks::open(names);
    let (mut held, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    let mut again = Vec::new();
    for order in orders.iter() {
        let answer = match ACTS[order.unwrap() as usize] {
            Act::Lock => put(&mut held, locks.mutex.try_lock()),
            Act::Unlock => take(&mut held),
            Act::Read => put(&mut reads, locks.rwlock.try_read()),
            Act::EndRead => take(&mut reads),
            Act::Write => put(&mut writes, locks.rwlock.try_write()),
            Act::EndWrite => take(&mut writes),
            Act::LockAgain => put(&mut again, locks.reentrant.try_lock()),
            Act::UnlockOnce => take(&mut again),
            Act::ClearAll => {
                locks.mutex.clear_poison();
                locks.rwlock.clear_poison();
                locks.reentrant.clear_poison();
                IDLE
            }
        };
        answers.send_blocking(answer).unwrap();
    }
}

struct Actor {
    process: Process,
    orders: Queue<u64>,
    answers: Queue<u64>,
}

impl Actor {
    fn start(region: &Region, names: Names) -> Self {
        let orders = Queue::new(region, 1).unwrap();
        let answers = Queue::new(region, 1).unwrap();
        let all = (names, orders.handle().words(), answers.handle().words());
        let builder = Process::builder().region(region);
        let process = builder.spawn(all, |all| {
            let words = |words: &rkyv::Archived<[u64; 2]>| [words[0].into(), words[1].into()];
            let names = [0, 1, 2].map(|lock| words(&all.0[lock]));
            let orders = Handle::from_words(words(&all.1)).open().unwrap();
            let answers = Handle::from_words(words(&all.2)).open().unwrap();
            obey(names, &orders, &answers);
        });
        Self {
            process: process.unwrap(),
            orders,
            answers,
        }
    }

    fn tell(&self, act: Act) -> u64 {
        self.orders.send_blocking(act as u64).unwrap();
        self.answers.recv_timeout(PATIENCE).unwrap()
    }
}

/// A lock as a plain value: who has it how often, and whether it is poisoned.
#[derive(Clone, Default, Debug)]
struct Plain {
    holds: [u64; 3],
    poisoned: bool,
}

impl Plain {
    fn others(&self, who: usize) -> u64 {
        self.holds.iter().sum::<u64>() - self.holds[who]
    }

    fn had(&mut self, who: usize) -> u64 {
        self.holds[who] += 1;
        u64::from(self.poisoned)
    }

    fn given(&mut self, who: usize) -> u64 {
        if self.holds[who] == 0 {
            return IDLE;
        }
        self.holds[who] -= 1;
        HAD
    }

    fn dies(&mut self, who: usize, poisons: bool) {
        self.poisoned |= poisons && self.holds[who] > 0;
        self.holds[who] = 0;
    }
}

#[derive(Clone, Default, Debug)]
struct Model {
    mutex: Plain,
    readers: Plain,
    writer: Plain,
    reentrant: Plain,
}

impl Model {
    fn act(&mut self, who: usize, act: Act) -> u64 {
        let (reads, writes) = (self.readers.holds, self.writer.holds);
        match act {
            Act::Lock if self.mutex.holds == [0; 3] => self.mutex.had(who),
            Act::Unlock => self.mutex.given(who),
            Act::Read if writes == [0; 3] => {
                self.readers.poisoned = self.writer.poisoned;
                self.readers.had(who)
            }
            Act::EndRead => self.readers.given(who),
            Act::Write if reads == [0; 3] && writes == [0; 3] => self.writer.had(who),
            Act::EndWrite => self.writer.given(who),
            Act::LockAgain if self.reentrant.others(who) == 0 => self.reentrant.had(who),
            Act::UnlockOnce => self.reentrant.given(who),
            Act::ClearAll => {
                self.mutex.poisoned = false;
                self.writer.poisoned = false;
                self.reentrant.poisoned = false;
                IDLE
            }
            _ => NOT,
        }
    }

    fn dies(&mut self, who: usize) {
        self.mutex.dies(who, true);
        self.readers.dies(who, false);
        self.writer.dies(who, true);
        self.reentrant.dies(who, true);
    }

    /// Whether the locks look like that from outside.
    fn is(&self, locks: &Locks) -> bool {
        let poisons = (
            locks.mutex.is_poisoned(),
            locks.rwlock.is_poisoned(),
            locks.reentrant.is_poisoned(),
        );
        let wanted = (
            self.mutex.poisoned,
            self.writer.poisoned,
            self.reentrant.poisoned,
        );
        poisons == wanted && locks.rwlock.readers() as u64 == self.readers.holds.iter().sum::<u64>()
    }
}

fn steps() -> impl Strategy<Value = Vec<(usize, Option<Act>)>> {
    let act = prop_oneof![
        12 => proptest::sample::select(&ACTS[..8]).prop_map(Some),
        1 => Just(Some(Act::ClearAll)),
        1 => Just(None),
    ];
    proptest::collection::vec((0_usize..3, act), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn locks_are_what_a_plain_model_says(steps in steps()) {
        let region = Region::new(4 << 20).unwrap();
        let locks = Locks::new(&region);
        let mut model = Model::default();
        let mut actors = [(); 3].map(|()| Actor::start(&region, locks.names()));
        for (who, act) in steps {
            if let Some(act) = act {
                let wanted = model.act(who, act);
                prop_assert_eq!(actors[who].tell(act), wanted, "{:?} of {}", act, who);
                prop_assert!(model.is(&locks));
                continue;
            }
            // It dies, with all that it holds.
            actors[who].process.kill().unwrap();
            prop_assert!(actors[who].process.wait().is_err());
            model.dies(who);
            // What it held as the only one of its kind is free once it has been seen to.
            actors[who] = Actor::start(&region, locks.names());
            let began = Instant::now();
            let free = |plain: &Plain| plain.holds == [0; 3];
            while !model.is(&locks)
                || (free(&model.mutex)
                    && matches!(locks.mutex.try_lock(), Err(LockError::WouldBlock)))
                || (free(&model.writer)
                    && matches!(locks.rwlock.try_read(), Err(LockError::WouldBlock)))
                || (free(&model.reentrant)
                    && matches!(locks.reentrant.try_lock(), Err(LockError::WouldBlock)))
            {
                prop_assert!(began.elapsed() < PATIENCE, "it is not recovered");
                std::thread::yield_now();
            }
        }
    }
}
