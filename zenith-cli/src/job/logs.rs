//! `zenith job logs`: what a job wrote, its stdout to stdout and its stderr to stderr.

use std::collections::BTreeMap;
use std::io::{self, Write, stderr};

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::{Blocking, ClientError, Followed, Pages};

use crate::Failure;
use crate::connection::Connection;

/// A line may be so long before it is shown in parts.
const LONGEST_LINE: usize = 64 << 10;

/// Show what a job wrote, its stdout to stdout and its stderr to stderr.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The job.
    job: u64,
    /// Stay until the job has ended, also before it starts and from one attempt to the next.
    #[arg(short, long, conflicts_with = "attempt")]
    follow: bool,
    /// Of one process; of all without it, each line with its rank before it where there are several [srun: --label].
    #[arg(long, value_name = "N")]
    rank: Option<u32>,
    /// Of an earlier attempt, counted from 1; of the last without it.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    attempt: u32,
    /// Begin with the last so many bytes of each stream [tail: -c].
    #[arg(long, value_name = "BYTES")]
    tail: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let &Arguments { job, rank, attempt, follow, tail, .. } = arguments;
    let client = arguments.connection.open()?;
    if follow {
        return show(&client, job, rank, client.follow(Followed { job, rank, tail_bytes: tail })?, out);
    }
    let request = v1::LogsRequest { job, rank, attempt, follow, tail_bytes: tail };
    let pages = client.pages(|mut client| async move { client.logs(request).await })?;
    show(&client, job, rank, pages, out)
}

/// Shows what a job writes until it has ended.
pub(super) fn follow(client: &Blocking, job: u64, out: &mut dyn Write) -> Result<(), Failure> {
    show(client, job, None, client.follow(Followed { job, ..Followed::default() })?, out)
}

fn show(
    client: &Blocking,
    job: u64,
    rank: Option<u32>,
    mut pages: Pages<v1::LogsResponse>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut lines = if rank.is_none() { Some(Lines::default()) } else { None };
    let mut labelled: Option<bool> = None;
    while let Some(part) = pages.next_page()? {
        if part.dropped > 0 {
            let rank = part.rank;
            writeln!(stderr(), "zenith: {} older bytes of rank {rank} are gone by rotation", part.dropped)?;
        }
        let several = match (&lines, labelled) {
            (None, _) => false,
            (_, Some(known)) => known,
            (Some(_), None) => several_ranks(client, job)?,
        };
        labelled = Some(several);
        match &mut lines {
            Some(lines) if several => lines.take(&part, out)?,
            _ => sink(part.stream(), out).write_all(&part.data)?,
        }
        out.flush()?;
    }
    if let Some(lines) = &mut lines {
        lines.finish(out)?;
    }
    Ok(())
}

fn several_ranks(client: &Blocking, job: u64) -> Result<bool, ClientError> {
    let detail = client.call(|mut client| async move { client.get(job).await })?;
    // A job that has ended has no ranks any more; then its GPUs say how many there may have been.
    let gpus = detail.job.as_ref().map_or(0, |job| job.gpus);
    Ok(detail.ranks.len() > 1 || detail.ranks.is_empty() && gpus > 1)
}

fn sink(stream: v1::Stream, out: &mut dyn Write) -> Box<dyn Write + '_> {
    if stream == v1::Stream::Stderr { Box::new(stderr()) } else { Box::new(out) }
}

/// Streams of several ranks, put together line by line.
#[derive(Debug, Default)]
struct Lines {
    begun: BTreeMap<(u32, i32), Vec<u8>>,
}

impl Lines {
    fn take(&mut self, part: &v1::LogsResponse, out: &mut dyn Write) -> io::Result<()> {
        let begun = self.begun.entry((part.rank, part.stream)).or_default();
        begun.extend_from_slice(&part.data);
        let whole = match begun.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if begun.len() > LONGEST_LINE => begun.len(),
            None => return Ok(()),
        };
        label(part.rank, &begun[..whole], &mut *sink(part.stream(), out))?;
        begun.drain(..whole);
        Ok(())
    }

    /// What ended without the end of a line.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for ((rank, stream), rest) in std::mem::take(&mut self.begun) {
            if !rest.is_empty() {
                label(rank, &rest, &mut *sink(v1::Stream::try_from(stream).unwrap_or_default(), out))?;
            }
        }
        out.flush()
    }
}

fn label(rank: u32, lines: &[u8], to: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::with_capacity(lines.len() + 16);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        write!(text, "{rank}: ")?;
        text.extend_from_slice(line);
    }
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    to.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_ranks_are_not_torn() {
        let part = |rank, data: &str| v1::LogsResponse {
            rank,
            stream: v1::Stream::Stdout.into(),
            data: data.as_bytes().to_vec(),
            dropped: 0,
        };
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for (rank, data) in [(0, "one "), (1, "two\nthr"), (0, "half\n"), (1, "ee")] {
            lines.take(&part(rank, data), &mut out).unwrap();
        }
        lines.finish(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "1: two\n0: one half\n1: three\n");
    }
}
