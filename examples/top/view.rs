//! From two glances at a pool to a picture.

use std::collections::VecDeque;
use std::time::Instant;

use gristmill::{Stats, WorkerState, WorkerStats};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row, Sparkline, Table};

/// Queue depths that are kept for the curve.
const HISTORY: usize = 400;
/// Below this a bar is not worth its lines.
const LEAST_HEIGHT: u16 = 12;

/// What is shown.
pub(crate) struct View {
    now: Stats,
    then: Stats,
    looked: Instant,
    seconds: f64,
    depths: VecDeque<u64>,
    tasks_per_second: f64,
    busy: Vec<Option<f64>>,
}

impl View {
    pub(crate) fn new(stats: Stats, now: Instant) -> Self {
        Self {
            then: stats.clone(),
            busy: vec![None; stats.workers.len()],
            now: stats,
            looked: now,
            seconds: 0.0,
            depths: VecDeque::new(),
            tasks_per_second: 0.0,
        }
    }

    /// Takes up a new glance.
    pub(crate) fn update(&mut self, stats: Stats, now: Instant) {
        self.seconds = now.duration_since(self.looked).as_secs_f64().max(1e-6);
        self.looked = now;
        self.then = std::mem::replace(&mut self.now, stats);
        let done = tasks_done(&self.now).saturating_sub(tasks_done(&self.then));
        self.tasks_per_second = done as f64 / self.seconds;
        self.depths
            .push_back((self.now.queued + self.now.in_flight) as u64);
        if self.depths.len() > HISTORY {
            self.depths.pop_front();
        }
        let pairs = self.now.workers.iter().zip(&self.then.workers);
        self.busy = pairs
            .map(|(now, then)| {
                // A process that was replaced meanwhile has a count of its own.
                let used = now.processor_time.checked_sub(then.processor_time)?;
                (now.pid == then.pid).then(|| (used.as_secs_f64() / self.seconds).min(1.0))
            })
            .collect();
    }

    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let curve = if area.height < LEAST_HEIGHT { 0 } else { 5 };
        let parts = [
            Constraint::Length(2),
            Constraint::Min(3),
            Constraint::Length(curve),
            Constraint::Length(1),
        ];
        let [head, workers, depths, foot] = Layout::vertical(parts).areas(area);
        frame.render_widget(self.head(), head);
        frame.render_widget(self.workers(), workers);
        if curve > 0 {
            self.draw_depths(frame, depths);
        }
        frame.render_widget(Line::from(" q quits").dim(), foot);
    }

    fn head(&self) -> ratatui::text::Text<'_> {
        let Stats {
            queued,
            in_flight,
            jobs,
            wake_ups,
            wake_ups_saved,
            ..
        } = self.now;
        let deaths: u64 = self.now.workers.iter().map(|worker| worker.restarts).sum();
        let memory = &self.now.memory;
        let first = Line::from(vec![
            Span::from(" gristmill ").bold().reversed(),
            Span::from(format!("  {:.0} tasks/s", self.tasks_per_second)).bold(),
            Span::from(format!(
                "   {queued} queued, {in_flight} running, {jobs} jobs   {deaths} deaths"
            )),
        ]);
        let second = Line::from(format!(
            " memory {} in use, {} warm, of {}   wake-ups {wake_ups}, saved {wake_ups_saved}",
            bytes(memory.in_use),
            bytes(memory.warm),
            bytes(memory.budget),
        ));
        vec![first, second.dim()].into()
    }

    fn workers(&self) -> Table<'_> {
        let header = [
            "#", "pid", "state", "busy", "tasks", "chunks", "deaths", "memory",
        ];
        let rows = self.now.workers.iter().zip(&self.busy);
        let rows = rows.map(|(worker, &busy)| row(worker, busy));
        let widths = [
            Constraint::Length(4),
            Constraint::Length(8),
            Constraint::Min(22),
            Constraint::Length(6),
            Constraint::Length(10),
            Constraint::Length(10),
            Constraint::Length(7),
            Constraint::Length(16),
        ];
        Table::new(rows, widths)
            .header(Row::new(header).bold())
            .block(Block::bordered().title(" workers "))
    }

    fn draw_depths(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width.saturating_sub(2));
        let skipped = self.depths.len().saturating_sub(width);
        let depths: Vec<u64> = self.depths.iter().skip(skipped).copied().collect();
        let most = depths.iter().max().copied().unwrap_or(0);
        let block = Block::bordered().title(format!(" tasks pending, {most} at most "));
        let curve = Sparkline::default().data(depths).max(most.max(1));
        frame.render_widget(curve.block(block).fg(Color::Cyan), area);
    }
}

fn tasks_done(stats: &Stats) -> u64 {
    stats.workers.iter().map(|worker| worker.tasks_done).sum()
}

fn row(worker: &WorkerStats, busy: Option<f64>) -> Row<'static> {
    let (state, style) = match &worker.state {
        WorkerState::Gone => ("gone".into(), Style::new().red()),
        WorkerState::Starting => ("starting".into(), Style::new().yellow()),
        WorkerState::Spinning => ("looking for work".into(), Style::new()),
        WorkerState::Standby => ("stands by".into(), Style::new().dim()),
        WorkerState::Retiring => ("retiring".into(), Style::new().yellow()),
        WorkerState::Asleep => ("asleep".into(), Style::new().dim()),
        WorkerState::Task { id } => (format!("task {}.{}", id.0, id.1), Style::new().green()),
        WorkerState::Job {
            elements: Some(range),
            ..
        } => (
            format!("job {}..{}", range.start, range.end),
            Style::new().blue(),
        ),
        WorkerState::Job { .. } => ("job".into(), Style::new().blue()),
        _ => ("?".into(), Style::new()),
    };
    let pages = if worker.arena_huge > 0 { " huge" } else { "" };
    Row::new([
        worker.index.to_string(),
        worker.pid.map_or("-".into(), |pid| pid.to_string()),
        state,
        busy.map_or("-".into(), |busy| format!("{:3.0} %", busy * 100.0)),
        worker.tasks_done.to_string(),
        worker.chunks_done.to_string(),
        worker.restarts.to_string(),
        format!("{}{pages}", bytes(worker.arena_in_use)),
    ])
    .style(style)
}

fn bytes(count: u64) -> String {
    match count {
        0..=0xf_ffff => format!("{} KiB", count >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", count >> 20),
        _ => format!("{:.1} GiB", count as f64 / (1_u64 << 30) as f64),
    }
}
