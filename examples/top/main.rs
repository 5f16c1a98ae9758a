//! A pool at a glance, kept current: what one leaves open beside a long job.
//!
//! ```text
//! cargo run --release --example top                 until q, Esc or Ctrl-C
//! cargo run --release --example top -- --for 5s     for so long
//! cargo run --release --example top -- --once       one picture as text, without a terminal
//! ```
//!
//! It shows a pool of its own, under a load made up for it. To watch yours, take `View` and
//! `draw`, which need nothing but `Pool::stats`.

mod load;
mod view;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::Pool;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use view::View;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_millis(250);

struct Options {
    once: bool,
    end: Option<Duration>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options(std::env::args().skip(1))?;
    let pool = Arc::new(Pool::new()?);
    let load = load::start(&pool);
    let outcome = if options.once {
        print_one(&pool)
    } else {
        show(&pool, options.end)
    };
    load.stop();
    Ok(outcome?)
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        once: false,
        end: None,
    };
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--once" => options.once = true,
            "--for" => {
                let text = arguments.next().ok_or("--for needs a time, such as 5s")?;
                let seconds = text.trim_end_matches('s').parse();
                let seconds = seconds.map_err(|_| format!("{text}: no time such as 5s"))?;
                options.end = Some(Duration::from_secs(seconds));
            }
            other => return Err(format!("{other}: there are --once and --for <seconds>s")),
        }
    }
    Ok(options)
}

/// Draws until the time is up or somebody quits. The terminal is as before afterwards, also after
/// a panic: `init` sees to that.
fn show(pool: &Pool, end: Option<Duration>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = run(&mut terminal, pool, end);
    ratatui::restore();
    shown
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    pool: &Pool,
    end: Option<Duration>,
) -> io::Result<()> {
    let began = Instant::now();
    let mut view = View::new(pool.stats(), began);
    loop {
        view.update(pool.stats(), Instant::now());
        terminal.draw(|frame| view.draw(frame))?;
        let next = Instant::now() + PERIOD;
        // A key or another size is answered at once; the numbers keep their pace.
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL)
                        && key.code == KeyCode::Char('c');
                    if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => {
                    terminal.draw(|frame| view.draw(frame))?;
                }
                _ => {}
            }
        }
        if end.is_some_and(|end| began.elapsed() >= end) {
            return Ok(());
        }
    }
}

/// One picture, as text.
fn print_one(pool: &Pool) -> io::Result<()> {
    let mut view = View::new(pool.stats(), Instant::now());
    thread::sleep(PERIOD);
    view.update(pool.stats(), Instant::now());
    let height = (pool.workers() + 12).try_into().unwrap_or(u16::MAX);
    let mut terminal =
        Terminal::new(TestBackend::new(100, height)).unwrap_or_else(|never| match never {});
    terminal
        .draw(|frame| view.draw(frame))
        .unwrap_or_else(|never| match never {});
    let buffer = terminal.backend().buffer();
    for row in buffer.content().chunks(usize::from(buffer.area.width)) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        println!("{}", line.trim_end());
    }
    Ok(())
}
