//! How things look to people: points in time in the local zone, tables of few rows, text that cannot steer a terminal.

use std::borrow::Cow;
use std::io::{self, Write};

use chrono::{DateTime, Local};

/// Milliseconds since 1970 as a local time.
pub(crate) fn local_time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
    match time {
        Some(time) => time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{ms} ms"),
    }
}

/// Milliseconds since 1970, now.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Local::now().timestamp_millis()).unwrap_or(0)
}

/// Text of others, harmless to a terminal: control characters become `?`.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Writes rows as columns, each as wide as its widest cell; those that `right` names are aligned to the right.
pub(crate) fn columns(
    out: &mut dyn Write,
    head: &[&str],
    right: &[usize],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let width_of = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| -> io::Result<()> {
        let mut text = String::new();
        for (column, (cell, width)) in cells.zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let filling = " ".repeat(width - cell.chars().count());
            let parts = if right.contains(&column) { [gap, &filling, cell] } else { [gap, cell, &filling] };
            text.extend(parts);
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut head.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Numbers as people list them: `0-3,6`.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |&(first, last): &(u64, u64)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["longer".to_owned(), "2".to_owned()]];
        columns(&mut out, &["NAME", "N"], &[1], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME     N\na       10\nlonger   2\n");
    }

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges([0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(ranges([]), "");
        assert_eq!(ranges([7]), "7");
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\u{9b}"), "a?[31mb?");
        assert_eq!(plain("Zürich"), "Zürich");
    }
}
