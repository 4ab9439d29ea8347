//! Recorded work, read from CSV: when each job was submitted, how long it ran, on how many GPUs, in which queue. Believes
//! nothing that it cannot check.

use std::fs;
use std::path::{Path, PathBuf};

use crate::core::time::{Span, Time};

/// Recorded jobs, in the order of submission; the first is submitted at time zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The jobs.
    pub jobs: Vec<TraceJob>,
}

/// A recorded job.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceJob {
    /// When it was submitted.
    pub submitted: Time,
    /// How long it ran.
    pub runtime: Span,
    /// On how many GPUs.
    pub gpus: u32,
    /// Its queue (a "virtual cluster" in some traces).
    pub queue: String,
    /// Its user; empty where the trace does not say.
    pub user: String,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no line at all.
    #[error("an empty trace; the first line names the columns")]
    Empty,
    /// A column is missing.
    #[error("no column for {what}; a column named {names} would do, there are {found}")]
    Column {
        /// What it is for.
        what: &'static str,
        /// Names that would do.
        names: String,
        /// The columns there are.
        found: String,
    },
    /// A line has fewer cells than the first line names.
    #[error("line {line}: {found} cells, {expected} columns")]
    Cells {
        /// The line, from 1.
        line: usize,
        /// Its cells.
        found: usize,
        /// The columns.
        expected: usize,
    },
    /// A cell is not what its column says.
    #[error("line {line}, column {column}: {cell:?} is no {wanted}")]
    Cell {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: String,
        /// What is there.
        cell: String,
        /// What should be.
        wanted: &'static str,
    },
}

const SUBMITTED: (&str, &[&str]) =
    ("the time of submission", &["timestamp", "submit_time", "submitted_time", "submitted", "submit"]);
const RUNTIME: (&str, &[&str]) = ("the run time", &["duration", "seconds", "runtime", "run_time"]);
const GPUS: (&str, &[&str]) = ("the number of GPUs", &["num_gpus", "gpus", "gpu_num", "num_gpu"]);
const QUEUE: &[&str] = &["cluster", "vc", "virtual_cluster", "queue"];
const USER: &[&str] = &["user", "user_id"];

impl Trace {
    /// Reads a CSV file.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is not what the first line promises.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let text = fs::read_to_string(path);
        Self::parse(&text.map_err(|source| TraceError::Read { path: path.to_path_buf(), source })?)
    }

    /// Reads CSV text. The first line names the columns; their order does not matter, further ones are ignored. Times of
    /// submission are seconds or `YYYY-MM-DD HH:MM:SS`, run times are seconds. Jobs without GPUs are left out.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, head) = lines.next().ok_or(TraceError::Empty)?;
        let columns: Vec<String> = cells(head).map(|cell| cell.to_ascii_lowercase()).collect();
        let optional = |names: &[&str]| names.iter().find_map(|name| columns.iter().position(|c| c == name));
        let needed = |(what, names): (&'static str, &[&str])| {
            optional(names).ok_or_else(|| TraceError::Column {
                what,
                names: names.join(" or "),
                found: columns.join(", "),
            })
        };
        let (submitted, runtime, gpus) = (needed(SUBMITTED)?, needed(RUNTIME)?, needed(GPUS)?);
        let (queue, user) = (optional(QUEUE), optional(USER));

        let mut jobs = Vec::new();
        let mut row: Vec<&str> = Vec::new();
        for (number, line) in lines {
            row.clear();
            row.extend(cells(line));
            if row.len() < columns.len() {
                return Err(TraceError::Cells {
                    line: number + 1,
                    found: row.len(),
                    expected: columns.len(),
                });
            }
            let wrong = |column: usize, wanted| TraceError::Cell {
                line: number + 1,
                column: columns[column].clone(),
                cell: row[column].to_owned(),
                wanted,
            };
            let text = |column: Option<usize>| column.map_or(String::new(), |column| row[column].to_owned());
            let gpus_here = number_of(row[gpus])
                .filter(|gpus| gpus.fract() == 0.0 && *gpus <= f64::from(u32::MAX))
                .ok_or_else(|| wrong(gpus, "number of GPUs"))? as u32;
            if gpus_here == 0 {
                continue;
            }
            let seconds = number_of(row[runtime]).ok_or_else(|| wrong(runtime, "number of seconds"))?;
            let at = moment(row[submitted]).ok_or_else(|| wrong(submitted, "time"))?;
            jobs.push(TraceJob {
                submitted: Time(Span::from_secs_f64(at).0),
                runtime: Span::from_secs_f64(seconds),
                gpus: gpus_here,
                queue: text(queue),
                user: text(user),
            });
        }
        Ok(Self::from_jobs(jobs))
    }

    /// A trace of jobs in any order, moved so that the first is submitted at time zero.
    pub fn from_jobs(mut jobs: Vec<TraceJob>) -> Self {
        jobs.sort_by_key(|job| job.submitted);
        let start = jobs.first().map_or(Time(0), |job| job.submitted);
        for job in &mut jobs {
            job.submitted = Time(job.submitted.since(start).0);
        }
        Self { jobs }
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"').trim())
}

fn number_of(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// Seconds since 1970, from seconds or from a date with a time.
fn moment(cell: &str) -> Option<f64> {
    if let Some(seconds) = number_of(cell) {
        return Some(seconds);
    }
    let cell = cell.trim_end_matches('Z');
    let (date, time) = cell.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let hour: u8 = time.next()?.parse().ok()?;
    let minute: u8 = time.next()?.parse().ok()?;
    let second: f64 = time.next().unwrap_or("0").parse().ok()?;
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && (0.0..61.0).contains(&second);
    let minutes = days_since_1970(year, month, day) * 1440 + i64::from(hour) * 60 + i64::from(minute);
    valid.then_some(minutes as f64 * 60.0 + second)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(before) - leaps(1969);
    let months: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let text = "\u{feff}cluster,num_gpus,duration,timestamp,gpu_time\r\n\
                    b,2,60.5,2017-10-09 07:01:55,121\r\n\
                    \r\n\
                    a,1,30,2017-10-09 07:00:55,30\r\n\
                    a,0,30,2017-10-09 07:00:00,0\r\n";
        let jobs = Trace::parse(text).unwrap().jobs;
        assert_eq!(jobs.len(), 2);
        assert_eq!((jobs[0].submitted, jobs[0].queue.as_str()), (Time(0), "a"));
        assert_eq!((jobs[1].submitted, jobs[1].runtime, jobs[1].gpus), (Time(60_000), Span(60_500), 2));
    }

    #[test]
    fn seconds_do_as_times() {
        let jobs = Trace::parse("submit,seconds,gpus\n100,5,8\n90.5,5,8\n").unwrap().jobs;
        assert_eq!(jobs[1].submitted, Time(9_500));
    }

    #[test]
    fn dates_are_counted_as_others_count_them() {
        assert_eq!(moment("1970-01-01 00:00:00"), Some(0.0));
        assert_eq!(moment("2017-10-09T07:01:55Z"), Some(1_507_532_515.0));
        assert_eq!(moment("2024-02-29 12:00"), Some(1_709_208_000.0));
        for wrong in
            ["2023-02-29 00:00:00", "2017-13-01 00:00:00", "2017-10-09", "x", "2017-10-09 25:00:00", "-5"]
        {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let error = |text: &str| Trace::parse(text).unwrap_err().to_string();
        assert_eq!(error(""), "an empty trace; the first line names the columns");
        assert!(error("timestamp,duration\n").starts_with("no column for the number of GPUs"));
        let head = "timestamp,duration,num_gpus\n";
        assert_eq!(error(&format!("{head}1,2\n")), "line 2: 2 cells, 3 columns");
        assert_eq!(
            error(&format!("{head}1,2,1\n1,-2,1\n")),
            "line 3, column duration: \"-2\" is no number of seconds"
        );
        assert_eq!(
            error(&format!("{head}1,2,1.5\n")),
            "line 2, column num_gpus: \"1.5\" is no number of GPUs"
        );
        assert_eq!(error(&format!("{head}soon,2,1\n")), "line 2, column timestamp: \"soon\" is no time");
        assert_eq!(
            error(&format!("{head}1,inf,1\n")),
            "line 2, column duration: \"inf\" is no number of seconds"
        );
    }
}
