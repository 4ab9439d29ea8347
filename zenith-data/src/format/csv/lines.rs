//! Cutting delimited text into blocks of whole lines, lines into fields, and guessing the delimiter. A line ends at a
//! newline outside of double quotes; lines of nothing but white space are skipped. A double quote opens at the start of a
//! field only; anywhere else in a field without quotes it is a character like others (`5" pipe`).

use std::borrow::Cow;

/// A stretch of whole lines of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Number of its first line, from 1.
    pub(super) line: u64,
    /// Lines that are rows.
    pub(super) rows: u64,
}

/// Whether text is inside of double quotes, told from one of them after the other.
#[derive(Debug, Default)]
struct Quotes {
    open: bool,
    /// The place behind the quote that closed last: one that follows at once is a quote in the field.
    closed: Option<u64>,
}

impl Quotes {
    /// Meets the quote at place `at`, which `starts` a field or does not.
    fn meet(&mut self, at: u64, starts: bool) {
        let doubled = self.closed == Some(at);
        let closes = self.open;
        self.open = !closes && (starts || doubled);
        self.closed = closes.then_some(at + 1);
    }
}

/// Finds the stretches of a file that is fed to it in pieces.
#[derive(Debug)]
pub(super) struct Cutter {
    /// Bytes after which a stretch ends with the next line.
    target: usize,
    delimiter: u8,
    quotes: Quotes,
    /// The byte before the next piece.
    before: u8,
    at: u64,
    line: u64,
    /// Where the current line starts, and whether all of it so far is white space.
    line_start: u64,
    blank: bool,
    current: Stretch,
    done: Vec<Stretch>,
}

impl Cutter {
    /// A cutter that starts at `offset`, in front of line `line`.
    pub(super) fn new(offset: u64, line: u64, delimiter: u8, target: usize) -> Self {
        let current = Stretch { offset, len: 0, line, rows: 0 };
        Self {
            target,
            delimiter,
            quotes: Quotes::default(),
            before: b'\n',
            at: offset,
            line,
            line_start: offset,
            blank: true,
            current,
            done: Vec::new(),
        }
    }

    /// The next piece of the file.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let mut from = 0;
        for mark in memchr::memchr2_iter(b'\n', b'"', piece) {
            self.see(&piece[from..mark]);
            if piece[mark] == b'"' {
                let before = if mark == 0 { self.before } else { piece[mark - 1] };
                let starts = before == self.delimiter || before == b'\n';
                self.quotes.meet(self.at + mark as u64, starts);
                self.blank = false;
            } else {
                self.newline(self.at + mark as u64 + 1);
            }
            from = mark + 1;
        }
        self.see(&piece[from..]);
        self.before = piece.last().copied().unwrap_or(self.before);
        self.at += piece.len() as u64;
    }

    fn see(&mut self, text: &[u8]) {
        let space = |byte: &u8| byte.is_ascii_whitespace() && *byte != self.delimiter;
        self.blank = self.blank && text.iter().all(space);
    }

    fn newline(&mut self, end: u64) {
        self.line += 1;
        if self.quotes.open {
            return;
        }
        self.current.rows += u64::from(!self.blank);
        self.line_start = end;
        self.blank = true;
        let len = end - self.current.offset;
        if len >= self.target as u64 {
            self.close(end);
        }
    }

    fn close(&mut self, end: u64) {
        self.current.len = (end - self.current.offset) as usize;
        if self.current.rows > 0 {
            self.done.push(self.current);
        }
        self.current = Stretch { offset: end, len: 0, line: self.line, rows: 0 };
    }

    /// The first stretch, as soon as it is whole.
    pub(super) fn first(&self) -> Option<Stretch> {
        self.done.first().copied()
    }

    /// All stretches, the last up to the end of the file; an error names the line in which a quote stays open.
    pub(super) fn finish(mut self) -> Result<Vec<Stretch>, String> {
        if self.quotes.open {
            return Err(format!("a double quote is not closed by the end of the file (line {})", self.line));
        }
        if self.at > self.line_start && !self.blank {
            self.current.rows += 1;
        }
        self.close(self.at);
        Ok(self.done)
    }
}

/// Calls `row` with the line's number and its fields, for every line of `text` that is a row.
pub(super) fn rows<'t, E>(
    text: &'t [u8],
    first_line: u64,
    delimiter: u8,
    mut row: impl FnMut(u64, &[Cow<'t, [u8]>]) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields: Vec<Cow<'t, [u8]>> = Vec::new();
    let (mut at, mut line) = (0, first_line);
    while at < text.len() {
        fields.clear();
        let started = line;
        loop {
            let (field, next) = field(&text[at..], delimiter, &mut line);
            at += next;
            let more = text.get(at) == Some(&delimiter);
            at += usize::from(more);
            fields.push(field);
            if !more {
                break;
            }
        }
        // At the end of the line or of the text.
        if text.get(at) == Some(&b'\r') {
            at += 1;
        }
        if text.get(at) == Some(&b'\n') {
            at += 1;
            line += 1;
        }
        if let [only] = &fields[..]
            && matches!(only, Cow::Borrowed([]))
        {
            continue;
        }
        row(started, &fields)?;
    }
    Ok(())
}

/// The field that `text` starts with, and where it ends (at a delimiter, a line's end, or the text's).
fn field<'t>(text: &'t [u8], delimiter: u8, line: &mut u64) -> (Cow<'t, [u8]>, usize) {
    // The end of what has no quotes, from `start` on.
    let end_from = |start: usize| {
        let rest = &text[start..];
        let len = rest.iter().position(|b| *b == delimiter || *b == b'\n').unwrap_or(rest.len());
        let at_line_end = rest.get(len) != Some(&delimiter);
        start + if at_line_end && rest[..len].ends_with(b"\r") { len - 1 } else { len }
    };
    if text.first() != Some(&b'"') {
        let end = end_from(0);
        return (Cow::Borrowed(text[..end].trim_ascii()), end);
    }
    let mut value = Vec::new();
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' if text.get(at + 1) == Some(&b'"') => {
                value.push(b'"');
                at += 2;
            }
            b'"' => {
                at += 1;
                break;
            }
            byte => {
                *line += u64::from(byte == b'\n');
                value.push(byte);
                at += 1;
            }
        }
    }
    // What stands between the closing quote and the delimiter belongs to the field, as most readers have it.
    let end = end_from(at);
    value.extend_from_slice(&text[at..end]);
    (Cow::Owned(value), end)
}

/// The delimiter of a first line: what occurs most outside of quotes among comma, semicolon, tab and bar.
pub(super) fn delimiter(text: &[u8]) -> u8 {
    let mut counts = [0usize; 4];
    let marks = [b',', b';', b'\t', b'|'];
    let mut quotes = Quotes::default();
    let mut before = b'\n';
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quotes.meet(at as u64, before == b'\n' || marks.contains(&before)),
            b'\n' if !quotes.open => break,
            _ if !quotes.open => {
                if let Some(index) = marks.iter().position(|mark| mark == byte) {
                    counts[index] += 1;
                }
            }
            _ => {}
        }
        before = *byte;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    marks[counts.iter().position(|count| *count == most).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Vec<(u64, Vec<String>)> {
        let mut found = Vec::new();
        rows(text.as_bytes(), 1, b',', |line, fields| {
            found.push((line, fields.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect()));
            Ok::<(), ()>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn quotes_hold_delimiters_newlines_and_quotes() {
        let rows = parse("a, b ,c\r\n\"x,\"\"y\"\"\",\"two\nlines\",3\n\n1,,\n");
        assert_eq!(rows[0], (1, vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(rows[1], (2, vec!["x,\"y\"".into(), "two\nlines".into(), "3".into()]));
        assert_eq!(rows[2], (5, vec!["1".into(), String::new(), String::new()]));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn quotes_inside_of_a_field_are_characters() {
        let text = "item,y\n5\" pipe,1\n6\" \"pipe\",2\n\"7\"\" \"x\" y,3\r\n\"a\"\rb,4\n \"c\n";
        let fields: Vec<Vec<String>> = parse(text).into_iter().map(|(_, fields)| fields).collect();
        let expected: [&[&str]; 6] = [
            &["item", "y"],
            &["5\" pipe", "1"],
            &["6\" \"pipe\"", "2"],
            &["7\" x\" y", "3"],
            &["a\rb", "4"],
            &["\"c"],
        ];
        assert_eq!(fields, expected);
        for piece in 1..text.len() {
            let mut cutter = Cutter::new(0, 1, b',', 1);
            text.as_bytes().chunks(piece).for_each(|p| cutter.feed(p));
            let rows: Vec<u64> = cutter.finish().unwrap().iter().map(|s| s.rows).collect();
            assert_eq!(rows, [1; 6], "in pieces of {piece}");
        }
    }

    #[test]
    fn the_delimiter_is_what_occurs_most() {
        assert_eq!(delimiter(b"a;b;c,d\n1,2,3,4,5"), b';');
        assert_eq!(delimiter(b"\"a,b\"\tc"), b'\t');
        assert_eq!(delimiter(b"5\" pipe;6\" pipe;a,b,c,d\n"), b',');
        assert_eq!(delimiter(b"one"), b',');
    }

    proptest! {
        #[test]
        fn stretches_cover_the_rows_whatever_the_pieces(
            text in "([a-c0-9 ]{0,3}(,|\n|\r\n|\r|\"|\"[a\n,]{0,2}\")){0,40}",
            piece in 1usize..9,
            target in 1usize..40,
        ) {
            let mut cutter = Cutter::new(0, 1, b',', target);
            text.as_bytes().chunks(piece).for_each(|p| cutter.feed(p));
            let whole = parse(&text);
            // Where a quote stays open the file is refused.
            if let Ok(stretches) = cutter.finish() {
                let mut again = Vec::new();
                for s in &stretches {
                    let part = &text[s.offset as usize..s.offset as usize + s.len];
                    let before = again.len();
                    rows(part.as_bytes(), s.line, b',', |line, fields| {
                        again.push((line, fields.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect::<Vec<_>>()));
                        Ok::<(), ()>(())
                    }).unwrap();
                    prop_assert_eq!((again.len() - before) as u64, s.rows);
                }
                prop_assert_eq!(again, whole);
            }
        }
    }

    #[test]
    fn lines_of_white_space_are_no_rows_unless_it_delimits() {
        let rows_of = |text: &[u8], delimiter| {
            let mut cutter = Cutter::new(0, 1, delimiter, 1);
            cutter.feed(text);
            let counted: u64 = cutter.finish().unwrap().iter().map(|s| s.rows).sum();
            let mut parsed = 0;
            rows(text, 1, delimiter, |_, _| {
                parsed += 1;
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(counted, parsed);
            counted
        };
        assert_eq!(rows_of(b"1,2\n \t\r\n3,4\n  ", b','), 2);
        assert_eq!(rows_of(b"1\t2\n\t\n \n", b'\t'), 2);
    }
}
