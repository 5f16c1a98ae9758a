//! What a worker says of a task is in the span that the task was spawned in, which stays open for
//! so long, and no longer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Pool, TaskHandle, TaskSet};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber, info, info_span};
use tracing_core::span::Current;

/// Beyond this a test has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

thread_local! {
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Opened {
    name: &'static str,
    metadata: &'static Metadata<'static>,
    parent: Option<u64>,
    handles: usize,
}

/// A message, and the span that it is in.
type Said = (String, Option<u64>);

/// A subscriber that counts handles of spans, as those of the `tracing-subscriber` crate do, and
/// panics as they do when a span is used that has been closed.
#[derive(Clone, Default)]
struct Registry {
    spans: Arc<Mutex<BTreeMap<u64, Opened>>>,
    events: Arc<Mutex<Vec<Said>>>,
    next: Arc<Mutex<u64>>,
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Registry {
    fn parent(&self, explicit: Option<&Id>, contextual: bool) -> Option<u64> {
        let entered = || ENTERED.with_borrow(|entered| entered.last().cloned());
        let parent = explicit.cloned().or_else(|| contextual.then(entered)?)?;
        Some(parent.into_u64())
    }

    fn open(&self) -> Vec<&'static str> {
        let spans = self.spans.lock().unwrap();
        spans.values().map(|span| span.name).collect()
    }

    fn pool(&self, workers: usize) -> Pool {
        let builder = Pool::builder().workers(workers).memory_budget(64 << 20);
        tracing::subscriber::with_default(self.clone(), || builder.build().unwrap())
    }

    fn events(&self) -> Vec<Said> {
        self.events.lock().unwrap().clone()
    }
}

impl Subscriber for Registry {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let parent = self.parent(span.parent(), span.is_contextual());
        // A child keeps its parent open.
        if let Some(parent) = parent {
            self.clone_span(&Id::from_u64(parent));
        }
        let mut next = self.next.lock().unwrap();
        *next += 1;
        let opened = Opened {
            name: span.metadata().name(),
            metadata: span.metadata(),
            parent,
            handles: 1,
        };
        self.spans.lock().unwrap().insert(*next, opened);
        Id::from_u64(*next)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let parent = self.parent(event.parent(), event.is_contextual());
        if let Some(parent) = parent {
            let open = self.spans.lock().unwrap().contains_key(&parent);
            assert!(open, "an event in a span that was closed");
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.events.lock().unwrap().push((message.0, parent));
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(Vec::pop);
    }

    fn clone_span(&self, span: &Id) -> Id {
        let mut spans = self.spans.lock().unwrap();
        let opened = spans.get_mut(&span.into_u64()).expect("it was closed");
        opened.handles += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut spans = self.spans.lock().unwrap();
        let opened = spans.get_mut(&span.into_u64()).expect("it was closed");
        opened.handles -= 1;
        if opened.handles > 0 {
            return false;
        }
        let parent = spans
            .remove(&span.into_u64())
            .and_then(|opened| opened.parent);
        drop(spans);
        parent.map(|parent| self.try_close(Id::from_u64(parent)));
        true
    }

    fn current_span(&self) -> Current {
        let Some(id) = ENTERED.with_borrow(|entered| entered.last().cloned()) else {
            return Current::none();
        };
        let metadata = self.spans.lock().unwrap()[&id.into_u64()].metadata;
        Current::new(id, metadata)
    }
}

/// Runs with the subscriber as this thread's.
fn heard<R>(run: impl FnOnce(&Registry) -> R) -> (Registry, R) {
    let registry = Registry::default();
    let result = tracing::subscriber::with_default(registry.clone(), || run(&registry));
    (registry, result)
}

fn number(span: &Span) -> Option<u64> {
    span.id().map(|id| id.into_u64())
}

fn says(text: &rkyv::string::ArchivedString) {
    info!("{}", text.as_str());
}

#[test]
fn what_a_task_says_is_in_the_span_that_it_was_spawned_in() {
    let (registry, expected) = heard(|registry| {
        let pool = registry.pool(2);
        let one = info_span!("one");
        let other = info_span!("other");
        let spawn =
            |span: &Span, text: &str| span.in_scope(|| pool.spawn(text.to_owned(), says).unwrap());
        let mut tasks: TaskSet<()> = TaskSet::new();
        let mut expected = Vec::new();
        for round in 0..50 {
            for (span, name) in [(&one, "one"), (&other, "other")] {
                let text = format!("{name} {round}");
                tasks.push(spawn(span, &text));
                expected.push((text, number(span)));
            }
            let text = format!("none {round}");
            tasks.push(pool.spawn(text.clone(), says).unwrap());
            expected.push((text, None));
        }
        tasks.gather().wait().unwrap();
        // A map and a job belong to theirs.
        let map = || pool.map([String::from("item")], says).wait().unwrap();
        drop(one.in_scope(map));
        expected.push(("item".into(), number(&one)));
        let job = || {
            pool.par_generate(1, |i| {
                info!("element");
                i as u64
            })
        };
        other.in_scope(|| job().wait().unwrap());
        expected.push(("element".into(), number(&other)));
        drop(pool);
        expected
    });
    let (mut found, mut expected) = (registry.events(), expected);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(registry.open(), [""; 0]);
}

#[test]
fn spans_of_the_worker_are_children_and_roots_on_purpose_are_none() {
    let (registry, caller) = heard(|registry| {
        let pool = registry.pool(1);
        let caller = info_span!("caller");
        let task = caller.in_scope(|| {
            pool.spawn((), |()| {
                info_span!("inner").in_scope(|| info!("deep"));
                info!(parent: None, "alone");
                info!("beside");
            })
        });
        task.unwrap().wait().unwrap();
        drop(pool);
        number(&caller)
    });
    let events = registry.events();
    let [(_, deep), (_, alone), (_, beside)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(deep.is_some() && *deep != caller);
    assert_eq!((*alone, *beside), (None, caller));
    assert_eq!(registry.open(), [""; 0]);
}

#[test]
fn a_span_is_closed_soon_after_the_last_of_its_tasks() {
    let (_, ()) = heard(|registry| {
        let pool = registry.pool(1);
        let span = info_span!("caller");
        let tasks: Vec<TaskHandle<()>> = (0..20)
            .map(|n| span.in_scope(|| pool.spawn(format!("{n}"), says).unwrap()))
            .collect();
        drop(span);
        assert_eq!(registry.open(), ["caller"]);
        tasks
            .into_iter()
            .for_each(|task| drop(task.wait().unwrap()));
        // The pool lives on, and nobody does anything.
        let began = Instant::now();
        while !registry.open().is_empty() {
            assert!(began.elapsed() < LIMIT, "{:?}", registry.spans);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(registry.events().len(), 20);
    });
}

#[test]
fn deaths_cancellation_and_the_end_of_the_pool_close_it_too() {
    let (registry, ()) = heard(|registry| {
        let pool = registry.pool(1);
        let span = info_span!("caller");
        let spawn = |text: &str| {
            let task = pool.task(text.to_owned(), |text| {
                info!("{}", text.as_str());
                if text.as_str() == "dies" {
                    std::process::abort();
                }
                while text.as_str() == "hangs" {
                    std::hint::spin_loop();
                }
            });
            span.in_scope(|| task.attempts(2).spawn().unwrap())
        };
        assert!(spawn("dies").wait().is_err());
        let hangs = spawn("hangs");
        let mut never = spawn("never");
        assert!(never.cancel());
        let pending = spawn("pending");
        drop(span);
        drop(pool);
        assert!(hangs.wait().is_err() && pending.wait().is_err());
    });
    assert_eq!(registry.open(), [""; 0]);
    let events = registry.events();
    let dying = events.iter().filter(|(text, _)| text == "dies");
    assert_eq!(dying.count(), 2, "each attempt is heard: {events:?}");
    assert!(
        events.iter().all(|(_, parent)| *parent == Some(1)),
        "{events:?}"
    );
}

#[test]
fn futures_that_take_turns_on_a_worker_speak_in_their_own_spans() {
    let (registry, mut expected) = heard(|registry| {
        let pool = registry.pool(1);
        let mut tasks: TaskSet<()> = TaskSet::new();
        let mut expected = Vec::new();
        for name in ["one", "other", "third"] {
            let span = info_span!("caller");
            let task = span.in_scope(|| {
                pool.spawn_async(name.to_owned(), async |name| {
                    for _ in 0..20 {
                        info!("{}", name.as_str());
                        tokio::task::yield_now().await;
                    }
                })
            });
            tasks.push(task.unwrap());
            let said = (name.to_owned(), number(&span));
            expected.extend(std::iter::repeat_n(said, 20));
            // Beside them the worker is at other work.
            tasks.push(pool.spawn(format!("plain {name}"), says).unwrap());
            expected.push((format!("plain {name}"), None));
        }
        tasks.gather().wait().unwrap();
        drop(pool);
        expected
    });
    let mut found = registry.events();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(registry.open(), [""; 0]);
}
