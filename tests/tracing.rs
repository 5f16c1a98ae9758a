//! What workers say through `tracing` is heard by the subscriber of the program.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use gristmill::{Pool, TaskHandle};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

type Fields = BTreeMap<String, String>;

/// An event, or a span.
#[derive(Clone, Debug)]
struct Heard {
    name: String,
    level: Level,
    target: String,
    file: Option<String>,
    line: Option<u32>,
    fields: Fields,
    /// The number of the span it is in.
    parent: Option<u64>,
    closed: bool,
}

#[derive(Clone, Default)]
struct Collector {
    events: Arc<Mutex<Vec<Heard>>>,
    spans: Arc<Mutex<Vec<Heard>>>,
    most: Option<Level>,
}

struct Texts<'a>(&'a mut Fields);

impl Visit for Texts<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
}

fn heard(metadata: &Metadata<'_>, parent: Option<&Id>) -> Heard {
    Heard {
        name: metadata.name().into(),
        level: *metadata.level(),
        target: metadata.target().into(),
        file: metadata.file().map(Into::into),
        line: metadata.line(),
        fields: Fields::new(),
        parent: parent.map(Id::into_u64),
        closed: false,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.most.is_none_or(|most| *metadata.level() <= most)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut new = heard(span.metadata(), span.parent());
        span.record(&mut Texts(&mut new.fields));
        let mut spans = self.spans.lock().unwrap();
        spans.push(new);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        values.record(&mut Texts(&mut spans[span.into_u64() as usize - 1].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut new = heard(event.metadata(), event.parent());
        event.record(&mut Texts(&mut new.fields));
        self.events.lock().unwrap().push(new);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn try_close(&self, span: Id) -> bool {
        self.spans.lock().unwrap()[span.into_u64() as usize - 1].closed = true;
        true
    }
}

impl Collector {
    fn pool(&self) -> Pool {
        let build = || Pool::builder().workers(1).build().unwrap();
        tracing::subscriber::with_default(self.clone(), build)
    }

    fn events(&self) -> Vec<Heard> {
        self.events.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Heard> {
        self.spans.lock().unwrap().clone()
    }
}

#[test]
fn an_event_crosses_with_all_that_belongs_to_it() {
    let collector = Collector::default();
    let pool = collector.pool();
    let line = line!() + 2;
    let task = pool.spawn(7_u64, |x| {
        tracing::warn!(target: "kitchen", x = x.to_native(), who = "cook", "too {}", "hot");
        std::process::id()
    });
    let pid = task.unwrap().wait().unwrap().to_native();
    // Dropping the pool waits until everything is told.
    drop(pool);
    let [event] = &collector.events()[..] else {
        panic!("{:?}", collector.events())
    };
    assert_eq!((event.level, &*event.target), (Level::WARN, "kitchen"));
    assert_eq!(event.line, Some(line));
    assert!(event.file.as_ref().unwrap().ends_with("tracing.rs"));
    let mut fields = event.fields.clone();
    let task = fields.remove("task").unwrap();
    assert!(
        task.split('.').all(|part| part.parse::<u32>().is_ok()),
        "{task}"
    );
    let expected = [
        ("message", "too hot".to_owned()),
        ("x", "7".to_owned()),
        ("who", "cook".to_owned()),
        ("pid", pid.to_string()),
    ];
    assert_eq!(
        fields,
        expected
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    );
}

#[test]
fn an_event_of_a_job_names_the_job() {
    let collector = Collector::default();
    let pool = collector.pool();
    let job = pool.par_generate(1, |i| {
        tracing::info!("element {i}");
        i as u64
    });
    job.wait().unwrap();
    drop(pool);
    let [event] = &collector.events()[..] else {
        panic!("{:?}", collector.events())
    };
    assert_eq!(event.fields["message"], "element 0");
    assert!(event.fields.contains_key("job") && !event.fields.contains_key("task"));
}

#[test]
fn spans_nest_take_fields_and_close() {
    let collector = Collector::default();
    let pool = collector.pool();
    let task = pool.spawn((), |()| {
        let outer = tracing::info_span!("outer", size = 3, late = tracing::field::Empty);
        outer.in_scope(|| {
            tracing::debug_span!("inner").in_scope(|| tracing::trace!("deep"));
            tracing::info!("in outer");
        });
        outer.record("late", 9);
        tracing::info!("outside");
    });
    task.unwrap().wait().unwrap();
    drop(pool);
    let spans = collector.spans();
    let [outer, inner] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(
        (&*outer.name, outer.parent, outer.closed),
        ("outer", None, true)
    );
    assert_eq!((&*outer.fields["size"], &*outer.fields["late"]), ("3", "9"));
    assert!(outer.fields.contains_key("pid"));
    assert_eq!(
        (&*inner.name, inner.parent, inner.closed),
        ("inner", Some(1), true)
    );
    let events = collector.events();
    let parents: Vec<_> = events
        .iter()
        .map(|event| (&*event.fields["message"], event.parent))
        .collect();
    let expected = [("deep", Some(2)), ("in outer", Some(1)), ("outside", None)];
    assert_eq!(parents, expected);
}

#[test]
fn what_was_said_before_a_death_is_heard_and_its_spans_are_closed() {
    let collector = Collector::default();
    let pool = collector.pool();
    let task: TaskHandle<()> = pool
        .spawn((), |()| {
            let _span = tracing::info_span!("unfinished").entered();
            tracing::error!("last words");
            std::process::abort()
        })
        .unwrap();
    task.wait().unwrap_err();
    // The replacement speaks, too.
    let task = pool.spawn((), |()| tracing::info!("again")).unwrap();
    task.wait().unwrap();
    drop(pool);
    let events = collector.events();
    let messages: Vec<_> = events
        .iter()
        .map(|event| &*event.fields["message"])
        .collect();
    assert_eq!(messages, ["last words", "again"]);
    assert_ne!(events[0].fields["pid"], events[1].fields["pid"]);
    assert_eq!(events[0].parent, Some(1));
    assert!(collector.spans()[0].closed);
}

#[test]
fn a_flood_blocks_nobody_and_what_is_lost_is_counted() {
    const FLOOD: u64 = 200_000;
    let collector = Collector::default();
    let pool = collector.pool();
    let task = pool.spawn(FLOOD, |count| {
        for number in 0..count.to_native() {
            tracing::info!(number, "drop");
        }
    });
    task.unwrap().wait().unwrap();
    // The losses are told with the next message that finds room.
    let heard_last = || {
        let events = collector.events.lock().unwrap();
        events
            .last()
            .is_some_and(|event| event.fields["message"] == "last")
    };
    while !heard_last() {
        let task = pool.spawn((), |()| tracing::info!("last")).unwrap();
        task.wait().unwrap();
        std::thread::yield_now();
    }
    let lost = pool.stats().events_lost;
    drop(pool);
    let events = collector.events();
    let drops = events
        .iter()
        .filter(|event| event.fields["message"] == "drop");
    let heard = drops.count() as u64;
    assert!(heard > 0 && lost > 0, "{heard} {lost}");
    // What was lost of the others is among them.
    assert!(heard + lost >= FLOOD, "{heard} {lost}");
}

#[test]
fn the_program_decides_what_it_wants_to_hear() {
    let collector = Collector {
        most: Some(Level::INFO),
        ..Collector::default()
    };
    let pool = collector.pool();
    let task = pool.spawn((), |()| {
        tracing::debug!("unwanted");
        tracing::info!("wanted");
    });
    task.unwrap().wait().unwrap();
    drop(pool);
    let events = collector.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].fields["message"], "wanted");
}
