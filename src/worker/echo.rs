//! Hands what user code says through `tracing` to the parent.

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use core::num::NonZeroU64;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Level, LevelFilter, Metadata, Subscriber, dispatcher};

use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::protocol::echo::{FIELDS, Kind, Message, NOWHERE};
use crate::protocol::gauge::Work;
use crate::sys::pipe;

/// What this worker is at. Threads that user code has started read it, too.
static WORK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread is at, where that is not what the worker is at: futures take turns.
    static OWN: Cell<Option<u64>> = const { Cell::new(None) };
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The worker begins this.
pub(crate) fn begin(work: Work) {
    // ORDERING: Relaxed; a name for events, of this thread mostly.
    WORK.store(work.to_bits(), Ordering::Relaxed);
}

/// This thread is at something of its own for so long, and at nothing when it is not.
pub(crate) fn during<R>(work: Work, run: impl FnOnce() -> R) -> R {
    OWN.set(Some(work.to_bits()));
    let result = run();
    OWN.set(Some(Work::Nothing.to_bits()));
    result
}

/// From now on what is said up to this level goes through the pipe, unless the program has a
/// subscriber of its own here.
pub(crate) fn install(pipe: OwnedFd, level: u8) {
    let forwarder = Forwarder {
        pipe,
        level: match level {
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        },
        lost: AtomicU32::new(0),
        next: AtomicU64::new(1),
        spans: Mutex::default(),
    };
    let _ = dispatcher::set_global_default(Dispatch::new(forwarder));
}

struct Forwarder {
    pipe: OwnedFd,
    level: LevelFilter,
    /// Messages that found no room since the last that did.
    lost: AtomicU32,
    next: AtomicU64,
    /// The spans there are, each with its handles.
    spans: Mutex<HashMap<u64, usize>>,
}

impl Forwarder {
    fn send(&self, mut message: Message) {
        // ORDERING: Relaxed; a count.
        message.lost = self.lost.swap(0, Ordering::Relaxed);
        // The pipe does not block: what finds no room is lost, and told of with the next one.
        if !pipe::send(&self.pipe, &message.encode()) {
            self.lost
                .fetch_add(message.lost.saturating_add(1), Ordering::Relaxed);
        }
    }

    fn spans(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(kind: Kind, metadata: Option<&Metadata<'_>>, parent: u64) -> Message {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Message {
        kind,
        level: match metadata.map_or(Level::ERROR, |metadata| *metadata.level()) {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        },
        line: metadata.and_then(Metadata::line).unwrap_or(0),
        // ORDERING: Relaxed; see `begin`.
        work: OWN.get().unwrap_or_else(|| WORK.load(Ordering::Relaxed)),
        span: 0,
        parent,
        lost: 0,
        target: text(metadata.map(Metadata::target)),
        name: text(metadata.map(|metadata| metadata.name())),
        file: text(metadata.and_then(Metadata::file)),
        fields: Vec::new(),
    }
}

/// The span that something is in.
fn parent(explicit: Option<&Id>, is_root: bool) -> u64 {
    match explicit {
        Some(id) => id.into_u64(),
        None if is_root => NOWHERE,
        None => ENTERED.with_borrow(|entered| entered.last().copied().unwrap_or(0)),
    }
}

impl Subscriber for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        // ORDERING: Relaxed; a number that nobody else has.
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.spans().insert(id, 1);
        let parent = parent(span.parent(), span.is_root());
        let mut message = message(Kind::Open, Some(span.metadata()), parent);
        message.span = id;
        span.record(&mut Fields(&mut message.fields));
        // Fields that are recorded later belong to the span from the beginning.
        for field in span.fields() {
            let is_there = message.fields.iter().any(|(name, _)| name == field.name());
            if !is_there && message.fields.len() < FIELDS {
                message.fields.push((field.name().into(), None));
            }
        }
        self.send(message);
        Id::from_non_zero_u64(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut message = message(Kind::Record, None, 0);
        message.span = span.into_u64();
        values.record(&mut Fields(&mut message.fields));
        self.send(message);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let parent = parent(event.parent(), event.is_root());
        let mut message = message(Kind::Event, Some(event.metadata()), parent);
        event.record(&mut Fields(&mut message.fields));
        self.send(message);
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(at) = entered.iter().rposition(|&id| id == span.into_u64()) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        *self.spans().entry(id.into_u64()).or_insert(0) += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let span = id.into_u64();
        let mut spans = self.spans();
        let Some(handles) = spans.get_mut(&span) else {
            return false;
        };
        *handles -= 1;
        if *handles > 0 {
            return false;
        }
        spans.remove(&span);
        drop(spans);
        let mut message = message(Kind::Close, None, 0);
        message.span = span;
        self.send(message);
        true
    }
}

/// Fields as texts.
struct Fields<'a>(&'a mut Vec<(String, Option<String>)>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.0.len() < FIELDS {
            self.0.push((field.name().into(), Some(value.into())));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.len() < FIELDS {
            let mut text = String::new();
            // A value that cannot be written is shown as far as it went.
            let _ = write!(text, "{value:?}");
            self.0.push((field.name().into(), Some(text)));
        }
    }
}
