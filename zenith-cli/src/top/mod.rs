//! `zenith top`: nodes, GPUs and jobs, live. `--once` gives one frame as text.
//!
//! `snapshot` is what is shown, as the scheduler gives it; `screen` what the user has chosen, and what keys mean; `draw` makes a frame of
//! both. The scheduler is asked by a thread of its own, so that keys work while it does not answer.

mod draw;
#[cfg(test)]
mod golden;
mod screen;
mod snapshot;

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::Rect;
use zenith_proto::v1;
use zenith_scheduler::client::{Blocking, ClientError};
use zenith_scheduler::controller::ops::Act;

use self::screen::{Screen, Wish};
use self::snapshot::Snapshot;
use crate::Failure;
use crate::connection::Connection;

/// How long a look for keys lasts.
const GLANCE: Duration = Duration::from_millis(100);

/// Watch nodes, GPUs and jobs live: q quits, j and k move, w shows why a job waits, c cancels it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print one frame as text, for scripts.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// Columns of the frame that --once prints.
    #[arg(long, value_name = "N", default_value_t = 110, value_parser = clap::value_parser!(u16).range(40..=1000))]
    width: u16,
    /// Lines of the frame that --once prints.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(12..=1000))]
    height: u16,
    #[command(flatten)]
    connection: Connection,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 3600".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let first = Snapshot::take(&client)?;
    let mut screen = Screen::new(client.target().endpoint());
    screen.see(first);
    if arguments.once {
        return once(&screen, Rect::new(0, 0, arguments.width, arguments.height), out);
    }
    if !std::io::stdout().is_terminal() {
        return Err("stdout is no terminal; --once prints one frame".into());
    }
    let (asks, asked) = mpsc::channel();
    let (tells, told) = mpsc::channel();
    thread::Builder::new().name("zenith-top".to_owned()).spawn(move || ask(&client, &asked, &tells))?;
    let mut terminal = ratatui::try_init()?;
    let outcome = live(&mut terminal, &mut screen, &asks, &told, Duration::from_secs_f64(arguments.interval));
    ratatui::restore();
    outcome
}

/// Prints a frame as text.
fn once(screen: &Screen, area: Rect, out: &mut dyn Write) -> Result<(), Failure> {
    let mut buffer = Buffer::empty(area);
    draw::draw(area, &mut buffer, screen);
    out.write_all(text_of(&buffer).as_bytes())?;
    Ok(())
}

/// A frame without its colours.
fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(buffer.area.width)) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What the thread that knows the scheduler is asked.
enum Ask {
    Look,
    Why(u64),
    Cancel(u64),
}

/// What it answers.
enum Tell {
    Seen(Result<Box<Snapshot>, ClientError>),
    Why(Result<v1::WhyResponse, ClientError>),
    Cancelled(u64, Result<Vec<v1::JobOutcome>, ClientError>),
}

fn ask(client: &Blocking, asked: &Receiver<Ask>, tells: &Sender<Tell>) {
    while let Ok(ask) = asked.recv() {
        let tell = match ask {
            Ask::Look => Tell::Seen(Snapshot::take(client).map(Box::new)),
            Ask::Why(job) => Tell::Why(client.call(|mut client| async move { client.why(job).await })),
            Ask::Cancel(job) => {
                let act = client.call(|mut client| async move { client.act(Act::Cancel, vec![job]).await });
                Tell::Cancelled(job, act)
            }
        };
        if tells.send(tell).is_err() {
            break;
        }
    }
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    asks: &Sender<Ask>,
    told: &Receiver<Tell>,
    interval: Duration,
) -> Result<(), Failure> {
    let mut next_look = Instant::now() + interval;
    let mut looking = false;
    loop {
        terminal.draw(|frame| draw::draw(frame.area(), frame.buffer_mut(), screen))?;
        if !looking && Instant::now() >= next_look {
            asks.send(Ask::Look)?;
            looking = true;
        }
        if event::poll(GLANCE)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match screen.key(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Why(job) => asks.send(Ask::Why(job))?,
                Wish::Cancel(job) => asks.send(Ask::Cancel(job))?,
            }
        }
        loop {
            match told.try_recv() {
                Ok(Tell::Seen(seen)) => {
                    looking = false;
                    next_look = Instant::now() + interval;
                    match seen {
                        Ok(snapshot) => screen.see(*snapshot),
                        Err(error) => screen.trouble(&error),
                    }
                }
                Ok(Tell::Why(why)) => screen.explain(why),
                Ok(Tell::Cancelled(job, outcome)) => {
                    screen.cancelled(job, outcome);
                    next_look = Instant::now();
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err("the thread that asks the scheduler is gone".into());
                }
            }
        }
    }
}
