//! `zenith job ls`: the table of jobs. A hundred thousand of them take as long as their bytes take to come: rows are read where they lie
//! and written once.

use std::io::{Write, stderr};

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::Blocking;
use zenith_scheduler::client::notation::{self, UNFINISHED};
use zenith_scheduler::client::rows::{BrokenPage, Row, rows};
use zenith_scheduler::view::Job;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::{now_ms, plain};

/// Written text is handed on in pieces of about this size.
const PIECE: usize = 256 << 10;
/// Longer names are cut.
const WIDEST: usize = 32;

/// List jobs, the newest last.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --all or --state, jobs that have not ended. WAIT is from submission to start, RUN from start to end.")]
pub(crate) struct Arguments {
    /// Ended jobs too, as long as they are kept [Slurm: sacct].
    #[arg(short, long)]
    all: bool,
    /// Only jobs in these states [squeue: -t, --states].
    #[arg(short, long, value_name = "STATE", value_delimiter = ',', value_parser = notation::state_of, conflicts_with = "all")]
    state: Vec<v1::JobState>,
    /// Only this user's [squeue: -u, --user].
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// Only this queue's [squeue: -p, --partition].
    #[arg(short = 'p', long, value_name = "NAME")]
    queue: Option<String>,
    /// Only the newest so many; how many more there are is said on standard error.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let states: &[v1::JobState] = match (arguments.all, arguments.state.as_slice()) {
        (true, _) => &[],
        (false, []) => &UNFINISHED,
        (false, some) => some,
    };
    let request = v1::ListRequest {
        states: states.iter().map(|state| i32::from(*state)).collect(),
        user: arguments.user.clone().unwrap_or_default(),
        queue: arguments.queue.clone().unwrap_or_default(),
        ..v1::ListRequest::default()
    };
    let client = arguments.connection.open()?;
    let mut printed = Printed {
        out,
        text: Vec::with_capacity(PIECE + (PIECE >> 2)),
        table: (!arguments.json).then(|| Table { now_ms: now_ms(), widths: None }),
        rows: 0,
    };
    let more = match arguments.limit {
        None => {
            let mut pages = client.pages(|mut client| async move { client.list_raw(request).await })?;
            while let Some(page) = pages.next_page()? {
                printed.page(&page, rows(&page))?;
            }
            0
        }
        Some(limit) => newest(&client, request, limit, &mut printed)?,
    };
    printed.end()?;
    if more > 0 {
        let _ = writeln!(stderr(), "zenith: and {more} more; without --limit all of them are listed");
    }
    Ok(())
}

/// Prints the newest jobs, the newest last, and says how many more there are.
fn newest(
    client: &Blocking,
    request: v1::ListRequest,
    limit: u64,
    printed: &mut Printed<'_>,
) -> Result<u64, Failure> {
    let wanted = v1::ListRequest { newest_first: true, limit, ..request.clone() };
    let mut pages = client.pages(|mut client| async move { client.list_raw(wanted).await })?;
    let mut kept = Vec::new();
    while let Some(page) = pages.next_page()? {
        kept.push(page);
    }
    let mut shown = Vec::new();
    for page in &kept {
        for row in rows(page) {
            shown.push(row?);
        }
    }
    let oldest = shown.last().map_or(0, |row| row.id);
    let is_cut = shown.len() as u64 == limit;
    printed.page(kept.first().map_or(&[][..], |page| &page[..]), shown.into_iter().rev().map(Ok))?;
    if !is_cut {
        return Ok(0);
    }
    let mut more = 0;
    let mut pages = client.pages(|mut client| async move { client.list_raw(request).await })?;
    while let Some(page) = pages.next_page()? {
        for row in rows(&page) {
            more += u64::from(row?.id < oldest);
        }
    }
    Ok(more)
}

/// Jobs on their way out.
struct Printed<'a> {
    out: &'a mut dyn Write,
    text: Vec<u8>,
    /// None where JSON is wanted.
    table: Option<Table>,
    rows: u64,
}

impl Printed<'_> {
    /// Prints rows. `page` is where columns take their widths from, if these rows are the first.
    fn page<'r>(
        &mut self,
        page: &[u8],
        rows: impl Iterator<Item = Result<Row<'r>, BrokenPage>>,
    ) -> Result<(), Failure> {
        if let Some(table) = &mut self.table {
            table.settle(page, &mut self.text)?;
        }
        for row in rows {
            let row = row?;
            match &self.table {
                Some(table) => table.row(&row, &mut self.text),
                None => {
                    self.text.extend_from_slice(if self.rows == 0 { b"[" } else { b",\n " });
                    serde_json::to_writer(&mut self.text, &Job::from(row))?;
                }
            }
            self.rows += 1;
            if self.text.len() >= PIECE {
                self.out.write_all(&self.text)?;
                self.text.clear();
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        match (&mut self.table, self.rows) {
            (Some(table), _) => table.settle(&[], &mut self.text)?,
            (None, 0) => self.text.extend_from_slice(b"[]\n"),
            (None, _) => self.text.extend_from_slice(b"]\n"),
        }
        self.out.write_all(&self.text)?;
        Ok(())
    }
}

/// The table: the first page settles how wide its columns are.
struct Table {
    now_ms: u64,
    widths: Option<Widths>,
}

#[derive(Clone, Copy)]
struct Widths {
    id: usize,
    name: usize,
    user: usize,
    queue: usize,
}

impl Table {
    fn settle(&mut self, page: &[u8], text: &mut Vec<u8>) -> Result<(), Failure> {
        if self.widths.is_some() {
            return Ok(());
        }
        let mut widths = Widths { id: 6, name: 4, user: 4, queue: 5 };
        for row in rows(page) {
            let row = row?;
            widths.id = widths.id.max(row.id.checked_ilog10().unwrap_or(0) as usize + 1);
            widths.name = widths.name.max(row.name.len().min(WIDEST));
            widths.user = widths.user.max(row.user.len().min(WIDEST));
            widths.queue = widths.queue.max(row.queue.len().min(WIDEST));
        }
        let Widths { id, name, user, queue } = widths;
        writeln!(
            text,
            "{:>id$}  {:<9}  {:<name$}  {:<user$}  {:<queue$}  {:>4}  {:>5}  {:>10}  {:>10}  NODES, CAUSE",
            "ID", "STATE", "NAME", "USER", "QUEUE", "PRIO", "GPUS", "WAIT", "RUN",
        )?;
        self.widths = Some(widths);
        Ok(())
    }

    fn row(&self, row: &Row<'_>, text: &mut Vec<u8>) {
        let Some(widths) = self.widths else { return };
        right(text, widths.id, |text| number(text, row.id));
        text.extend_from_slice(b"  ");
        left(text, 9, notation::state(row.state));
        left(text, widths.name, row.name);
        left(text, widths.user, row.user);
        left(text, widths.queue, row.queue);
        right(text, 4, |text| {
            if row.priority < 0 {
                text.push(b'-');
            }
            number(text, row.priority.unsigned_abs().into());
        });
        text.extend_from_slice(b"  ");
        right(text, 5, |text| number(text, row.gpus.into()));
        text.extend_from_slice(b"  ");
        let waited_until = row.started_ms.or(row.ended_ms).unwrap_or(self.now_ms);
        right(text, 10, |text| span(text, waited_until.saturating_sub(row.submitted_ms)));
        text.extend_from_slice(b"  ");
        right(text, 10, |text| match row.started_ms {
            Some(started) => span(text, row.ended_ms.unwrap_or(self.now_ms).saturating_sub(started)),
            None => text.push(b'-'),
        });
        let mut gap: &[u8] = b"  ";
        for node in row.nodes() {
            text.extend_from_slice(gap);
            text.extend_from_slice(plain(node).as_bytes());
            gap = b",";
        }
        if !row.cause.is_empty() {
            text.extend_from_slice(b"  ");
            text.extend_from_slice(plain(row.cause).as_bytes());
        }
        text.push(b'\n');
    }
}

/// A number, without the machinery of formatting.
fn number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

/// A span of time as [`notation::Span`] shows it.
fn span(text: &mut Vec<u8>, ms: u64) {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        number(text, days);
        text.push(b'-');
        two(text, hours);
        text.push(b':');
        two(text, minutes);
    } else if hours > 0 {
        number(text, hours);
        text.push(b':');
        two(text, minutes);
    } else {
        number(text, minutes);
    }
    text.push(b':');
    two(text, seconds % 60);
}

fn two(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

/// What `write` writes, in `width` places to the right.
fn right(text: &mut Vec<u8>, width: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = text.len();
    write(text);
    let written = text.len() - begin;
    if written < width {
        text.resize(begin + width, b' ');
        text[begin..].rotate_right(width - written);
    }
}

/// Text in `width` places to the left, and the gap after it.
fn left(text: &mut Vec<u8>, width: usize, cell: &str) {
    let harmless = cell.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    let places = if harmless && cell.len() <= WIDEST {
        text.extend_from_slice(cell.as_bytes());
        cell.len()
    } else {
        let shown = plain(cell);
        let mut buffer = [0u8; 4];
        let all = shown.chars().count();
        let kept = if all > WIDEST { WIDEST - 1 } else { all };
        let end = if all > WIDEST { Some('…') } else { None };
        for c in shown.chars().take(kept).chain(end) {
            text.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
        all.min(WIDEST)
    };
    text.resize(text.len() + width.saturating_sub(places) + 2, b' ');
}

#[cfg(test)]
mod tests {
    use zenith_scheduler::client::notation::Span;

    use super::*;

    fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn spans_are_those_of_the_notation() {
        for ms in
            [0, 999, 59_999, 60_000, 754_000, 3_599_999, 3_600_000, 86_399_999, 86_400_000, 9_999_999_999]
        {
            assert_eq!(shown(|text| span(text, ms)), Span(ms).to_string());
        }
    }

    #[test]
    fn cells_keep_their_places() {
        assert_eq!(shown(|text| right(text, 6, |text| number(text, 1042))), "  1042");
        assert_eq!(shown(|text| right(text, 2, |text| number(text, u64::MAX))), u64::MAX.to_string());
        assert_eq!(shown(|text| left(text, 6, "ab")), "ab      ");
        assert_eq!(shown(|text| left(text, 6, "Zürich")), "Zürich  ");
        assert_eq!(shown(|text| left(text, 4, "a\u{1b}[31m")), "a?[31m  ");
        let long = shown(|text| left(text, 4, &"x".repeat(40)));
        assert_eq!(long, format!("{}…  ", "x".repeat(31)));
    }
}
