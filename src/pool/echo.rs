//! What workers say through `tracing`, told to the program's own subscriber.
//!
//! A thread of its own tells it: a subscriber may take its time, and the supervisor has none. What
//! it has not got round to waits in a bounded queue; what finds no room there is counted and lost.
//!
//! What was said of work that was submitted in a span of the program's is told as said in it,
//! unless the worker was in one of its own. That span is let go of behind all of it: the note says
//! after how many messages, and is never lost.
//!
//! A callsite must live for ever. So one is made for each that workers name, kept for the next
//! time, and no more than a program has: beyond that, what is said is lost.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use tracing_core::field::{Field, FieldSet, Value, display};
use tracing_core::metadata::Kind as CallKind;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Callsite, Dispatch, Event, Level, LevelFilter, Metadata, callsite, dispatcher};

use crate::pool::caller::{Caller, Callers, Held};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::echo::{FIELDS, Kind, Message, NOWHERE};
use crate::protocol::gauge::Work;
use crate::sys::eventfd::Bell;

/// Messages that wait for the subscriber.
const WAITING: usize = 4096;
/// Callsites that are kept: each takes some hundred bytes for ever.
const CALLSITES: usize = 4096;
/// Spans of one process that are open at a time.
const SPANS: usize = 4096;
/// Fields that are added to each: process, task, job.
const ADDED: usize = 3;

/// The program's subscriber, and how much it wants to know.
#[derive(Clone)]
pub(crate) struct Audience {
    dispatch: Dispatch,
    /// 1 for errors to 5 for traces.
    pub(crate) level: u8,
    pub(crate) lost: Arc<AtomicU64>,
    pub(super) callers: Arc<Callers>,
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Audience {
    /// The subscriber of the calling thread, if it wants to know anything.
    ///
    /// The bell is the supervisor's.
    pub(crate) fn current(bell: &Arc<Bell>) -> Option<Self> {
        let level = match LevelFilter::current().into_level()? {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        };
        Some(Self {
            dispatch: dispatcher::get_default(Dispatch::clone),
            level,
            lost: Arc::default(),
            callers: Arc::new(Callers::new(Arc::clone(bell))),
        })
    }

    /// The span that the calling thread is in.
    pub(super) fn caller(&self) -> Option<Caller> {
        self.callers.enter(&self.dispatch)
    }
}

/// The way to the subscriber.
#[derive(Debug)]
pub(super) struct Echo {
    sender: Option<SyncSender<Said>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
    callers: Arc<Callers>,
    /// How much was sent, and which spans are let go of after how much of it.
    sent: u64,
    notes: Arc<Notes>,
}

type Notes = Mutex<VecDeque<(u64, Vec<Held>)>>;

enum Said {
    Message(u32, Box<Message>),
    /// The process has ended.
    End(u32),
    /// There may be spans to let go of.
    Note,
}

impl Echo {
    pub(super) fn start(audience: &Audience) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let audience = audience.clone();
        let (lost, callers) = (Arc::clone(&audience.lost), Arc::clone(&audience.callers));
        let notes: Arc<Notes> = Arc::default();
        let its_notes = Arc::clone(&notes);
        let thread = thread::Builder::new()
            .name("gristmill-trace".into())
            .spawn(move || run(&receiver, audience, &its_notes))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            lost,
            callers,
            sent: 0,
            notes,
        })
    }

    /// Passes on what a process has said.
    pub(super) fn tell(&mut self, pid: u32, message: Message) {
        let missed = u64::from(message.lost);
        let sent = self.send(Said::Message(pid, Box::new(message)));
        // ORDERING: Relaxed; a count.
        self.lost
            .fetch_add(missed + u64::from(!sent), Ordering::Relaxed);
    }

    /// The process has ended, and with it its spans.
    pub(super) fn end_of(&mut self, pid: u32) {
        // If there is no room its spans stay open until another process of that number ends.
        self.send(Said::End(pid));
    }

    /// The spans in which work was submitted that has ended meanwhile.
    pub(super) fn left(&self) -> Vec<Held> {
        self.callers.take_left()
    }

    /// Lets go of spans, once what was passed on so far has been told.
    pub(super) fn let_go(&mut self, held: Vec<Held>) {
        lock(&self.notes).push_back((self.sent, held));
        // Without room there are messages, after each of which the notes are looked at.
        self.send(Said::Note);
    }

    fn send(&mut self, said: Said) -> bool {
        let sender = self.sender.as_ref();
        let sent = sender.is_some_and(|sender| match sender.try_send(said) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        });
        self.sent += u64::from(sent);
        sent
    }
}

impl Drop for Echo {
    /// Waits until all that was said has been told.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(notes: &Notes) -> MutexGuard<'_, VecDeque<(u64, Vec<Held>)>> {
    // Nothing panics while it is held, so a poisoned lock guards a sound state.
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(receiver: &Receiver<Said>, audience: Audience, notes: &Notes) {
    let Audience {
        dispatch,
        lost,
        callers,
        ..
    } = audience;
    let mut teller = Teller {
        dispatch: dispatch.clone(),
        spans: HashMap::new(),
        lost,
        callers,
    };
    dispatcher::with_default(&dispatch, || {
        for (told, said) in (1..).zip(receiver) {
            // A subscriber that panics has lost this one; the next ones it may like better.
            let _ = catch_unwind(AssertUnwindSafe(|| match said {
                Said::Message(pid, message) => teller.tell(pid, &message),
                Said::End(pid) => teller.end(pid),
                Said::Note => {}
            }));
            while let Some(held) = due(notes, told) {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(held)));
            }
        }
        teller.end_all();
        drop(mem::take(&mut *lock(notes)));
    });
}

/// Spans to let go of when so much has been told.
fn due(notes: &Notes, told: u64) -> Option<Vec<Held>> {
    let mut notes = lock(notes);
    let is_due = notes.front().is_some_and(|&(after, _)| after <= told);
    is_due.then(|| notes.pop_front())?.map(|(_, held)| held)
}

struct Teller {
    dispatch: Dispatch,
    /// The spans of each process, by the numbers it gave them.
    spans: HashMap<u32, HashMap<u64, Span>>,
    lost: Arc<AtomicU64>,
    callers: Arc<Callers>,
}

struct Span {
    id: Id,
    site: &'static Site,
}

impl Teller {
    fn tell(&mut self, pid: u32, message: &Message) {
        let its = self.spans.entry(pid).or_default();
        match message.kind {
            Kind::Record => {
                if let Some(span) = its.get(&message.span) {
                    span.site.with_values(message, None, |values| {
                        self.dispatch.record(&span.id, &Record::new(values));
                    });
                }
                return;
            }
            Kind::Close => {
                if let Some(span) = its.remove(&message.span) {
                    self.dispatch.try_close(span.id);
                }
                return;
            }
            Kind::Event | Kind::Open => {}
        }
        let Some(site) = Site::find(message) else {
            // ORDERING: Relaxed; a count.
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(metadata) = site.metadata.get() else {
            return;
        };
        if !self.dispatch.enabled(metadata) {
            return;
        }
        let parent = match its.get(&message.parent) {
            Some(span) => Some(span.id.clone()),
            None if message.parent == NOWHERE => None,
            None => self.callers.span_of(message.work),
        };
        let origin = Some(Origin::new(pid, message.work));
        site.with_values(message, origin, |values| match message.kind {
            Kind::Event => {
                let event = Event::new_child_of(parent, metadata, values);
                self.dispatch.event(&event);
            }
            _ if its.len() < SPANS => {
                let attributes = match parent {
                    Some(parent) => Attributes::child_of(parent, metadata, values),
                    None => Attributes::new_root(metadata, values),
                };
                let id = self.dispatch.new_span(&attributes);
                its.insert(message.span, Span { id, site });
            }
            _ => {}
        });
    }

    fn end(&mut self, pid: u32) {
        for span in self.spans.remove(&pid).into_iter().flatten() {
            self.dispatch.try_close(span.1.id);
        }
    }

    fn end_all(&mut self) {
        let pids: Vec<u32> = self.spans.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.end(pid));
    }
}

/// Who said it, and in the course of what.
struct Origin {
    pid: u64,
    task: Option<String>,
    job: Option<String>,
}

impl Origin {
    fn new(pid: u32, work: u64) -> Self {
        let (task, job) = match Work::from_bits(work) {
            Work::Nothing => (None, None),
            Work::Task { slot, generation } => (Some(format!("{slot}.{generation}")), None),
            Work::Chunk {
                job, generation, ..
            } => (None, Some(format!("{job}.{generation}"))),
        };
        Self {
            pid: pid.into(),
            task,
            job,
        }
    }
}

/// A callsite of a worker's, as one of this process.
struct Site {
    metadata: OnceLock<Metadata<'static>>,
}

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata
            .get()
            .expect("set before anybody knows the site")
    }
}

/// What tells callsites apart.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    level: u8,
    line: u32,
    /// Target, name, file, then the names of the fields.
    texts: Vec<String>,
}

static SITES: Mutex<Option<HashMap<Key, &'static Site>>> = Mutex::new(None);

impl Site {
    /// The one that a message comes from; `None` if there are too many.
    fn find(message: &Message) -> Option<&'static Self> {
        let names = message.fields.iter().map(|(name, _)| name);
        let places = [&message.target, &message.name, &message.file];
        let key = Key {
            kind: message.kind,
            level: message.level,
            line: message.line,
            texts: places.into_iter().chain(names).cloned().collect(),
        };
        let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
        let sites = sites.get_or_insert_default();
        if let Some(site) = sites.get(&key) {
            return Some(site);
        }
        if sites.len() >= CALLSITES {
            return None;
        }
        let site = Self::make(&key);
        sites.insert(key, site);
        Some(site)
    }

    fn make(key: &Key) -> &'static Self {
        let texts = key.texts.iter().map(|text| &*text.clone().leak());
        let texts: &'static [&'static str] = texts.collect::<Vec<_>>().leak();
        let [target, name, file, ..] = *texts else {
            unreachable!("a key has the three");
        };
        // Names of the worker's own come first: they hide ours.
        let names = texts[3..].iter().copied().chain(["pid", "task", "job"]);
        let names: &'static [&'static str] = names.collect::<Vec<_>>().leak();
        let site: &'static Self = Box::leak(Box::new(Self {
            metadata: OnceLock::new(),
        }));
        let level = match key.level {
            1 => Level::ERROR,
            2 => Level::WARN,
            3 => Level::INFO,
            4 => Level::DEBUG,
            _ => Level::TRACE,
        };
        let kind = match key.kind {
            Kind::Event => CallKind::EVENT,
            _ => CallKind::SPAN,
        };
        let _ = site.metadata.set(Metadata::new(
            name,
            target,
            level,
            Some(file).filter(|file| !file.is_empty()),
            Some(key.line).filter(|&line| line > 0),
            Some(target),
            FieldSet::new(names, callsite::Identifier(site)),
            kind,
        ));
        callsite::register(site);
        site
    }

    /// Calls `tell` with the values of a message.
    fn with_values(
        &'static self,
        message: &Message,
        origin: Option<Origin>,
        tell: impl FnOnce(&tracing_core::field::ValueSet<'_>),
    ) {
        let metadata = self.metadata();
        let fields: Vec<Field> = metadata.fields().iter().collect();
        let Some(first) = fields.first() else { return };
        let texts: Vec<_> = message
            .fields
            .iter()
            .filter_map(|(name, value)| Some((&**name, display(value.as_ref()?))))
            .collect();
        let (pid, task, job) = match &origin {
            Some(origin) => (
                Some(origin.pid),
                origin.task.as_ref().map(display),
                origin.job.as_ref().map(display),
            ),
            None => (None, None, None),
        };
        let mut values: [(&Field, Option<&dyn Value>); FIELDS + ADDED] =
            [(first, None); FIELDS + ADDED];
        let own = fields.len().saturating_sub(ADDED);
        for (value, (index, field)) in values.iter_mut().zip(fields.iter().enumerate()) {
            value.0 = field;
            value.1 = match index.checked_sub(own) {
                Some(0) => pid.as_ref().map(|pid| pid as &dyn Value),
                Some(1) => task.as_ref().map(|task| task as &dyn Value),
                Some(_) => job.as_ref().map(|job| job as &dyn Value),
                None => {
                    let mut found = texts.iter().filter(|(name, _)| *name == field.name());
                    found.next().map(|(_, text)| text as &dyn Value)
                }
            };
        }
        tell(&metadata.fields().value_set(&values));
    }
}
