//! A frame of `zenith top`: what is in use, nodes with a cell per GPU, the jobs that run, the jobs that wait. What ails the cluster is seen
//! first, and without colours too. Colours are those that can be read on light and on dark; what matters less is faint.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Clear, Padding, Paragraph, Row, StatefulWidget, Table, TableState, Widget, Wrap,
};
use zenith_proto::v1;
use zenith_scheduler::client::notation;

use super::screen::{Over, Screen};
use super::snapshot::{PLACED, Snapshot, UNPLACED};
use crate::cluster::status::Totals;
use crate::node::ls::state;
use crate::shown::plain;

/// Widest bar of use.
const BAR: usize = 30;
/// What stands beside a bar.
const BESIDE_BAR: usize = 34;
/// Longest name of a node that is shown whole.
const NAME: usize = 20;
/// Columns of a word beside a node's GPUs.
const WORD: usize = 8;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
/// Not as faint as the border it stands in.
const CLEAR: Style = Style::new().remove_modifier(Modifier::DIM);
const HEAD: Style = CLEAR.add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const ODD: Style = Style::new().fg(Color::Magenta);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Draws everything.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, screen: &Screen) {
    let seen = &screen.seen;
    let grid = Grid::of(&seen.cluster.nodes, area);
    let wanted = u16::try_from(seen.placed.len()).unwrap_or(u16::MAX).saturating_add(3);
    let left = area.height.saturating_sub(4 + grid.lines + 2);
    // What runs gets half, or more where the queue needs less.
    let queue = u16::try_from(seen.unplaced.len()).unwrap_or(u16::MAX).saturating_add(3);
    let running = wanted.min(left.saturating_sub(queue.min(left / 2)));
    let [head, nodes, placed, unplaced, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(grid.lines + 2),
        Constraint::Length(running),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    Paragraph::new(summary(screen, area.width)).render(head, buffer);
    grid.render(nodes, buffer);
    jobs(placed, buffer, seen, screen.chosen, true);
    jobs(unplaced, buffer, seen, screen.chosen, false);
    footer(screen).render(foot, buffer);
    over(area, buffer, &screen.over);
}

/// Who answers, and what is in use.
fn summary(screen: &Screen, width: u16) -> Vec<Line<'static>> {
    let seen = &screen.seen;
    let Totals { gpus, gpus_used, gpus_ill, cpus, cpus_used, .. } = Totals::of(&seen.cluster);
    let since = notation::Span(seen.taken_ms.saturating_sub(seen.cluster.started_ms));
    let version = plain(&seen.cluster.version).into_owned();
    let title = Line::from(vec![
        Span::styled("zenith top", HEAD),
        Span::raw(format!("  {version} at {}, up {since}", screen.endpoint)),
    ]);
    let most = usize::from(width).saturating_sub(BESIDE_BAR).min(BAR);
    let line = |name, used: u64, all: u64, style| {
        let [full, rest] = bar(used, all, most, style);
        vec![Span::raw(name), full, rest, Span::raw(format!("  {used} of {all} in use"))]
    };
    let mut first = line("GPUs  ", gpus_used as u64, gpus as u64, GOOD);
    if gpus_ill > 0 {
        first.push(Span::styled(format!(", {gpus_ill} ill"), BAD));
    }
    let second = line("CPUs  ", cpus_used, cpus, Style::new().fg(Color::Cyan));
    vec![title, Line::from(first), Line::from(second)]
}

fn bar(used: u64, all: u64, most: usize, style: Style) -> [Span<'static>; 2] {
    // The least use is seen.
    let full = (used * most as u64).div_ceil(all.max(1));
    let full = usize::try_from(full).unwrap_or(most).min(most);
    [Span::styled("█".repeat(full), style), Span::styled("░".repeat(most - full), DIM)]
}

/// Nodes side by side, a cell per GPU.
struct Grid {
    entries: Vec<Line<'static>>,
    width: usize,
    across: usize,
    lines: u16,
    title: Line<'static>,
}

impl Grid {
    fn of(nodes: &[v1::Node], area: Rect) -> Self {
        let name = nodes.iter().map(|node| name_of(node).chars().count().min(NAME)).max().unwrap_or(0);
        let cells = nodes.iter().map(|node| gpus_of(node).max(busy(node).len())).max().unwrap_or(0);
        let word = if nodes.iter().all(|node| state(node) == "up") { 0 } else { 1 + WORD };
        let width = name + 1 + cells + word + 2;
        let across = (usize::from(area.width.saturating_sub(2)) / width).max(1);
        let needed = nodes.len().div_ceil(across).max(1);
        let lines = needed.min(usize::from(area.height / 3).max(1));
        let room = lines * across;
        let shown = if nodes.len() > room { room - 1 } else { nodes.len() };
        let mut order: Vec<&v1::Node> = nodes.iter().collect();
        if shown < nodes.len() {
            // What ails is not among those that have no room.
            order.sort_by_key(|node| state(node) == "up" && node.gpus_ill.is_empty());
        }
        let mut entries: Vec<Line<'static>> =
            order.into_iter().take(shown).map(|node| entry(node, name, cells)).collect();
        if shown < nodes.len() {
            entries.push(Line::styled(format!("and {} more", nodes.len() - shown), DIM));
        }
        if nodes.is_empty() {
            entries.push(Line::styled("no node has joined", DIM));
        }
        let up = nodes.iter().filter(|node| node.contact() == v1::NodeContact::Up).count();
        let title = Line::from(vec![
            Span::styled(" nodes: ", HEAD),
            Span::styled(format!("{up} of {} up", nodes.len()), if up < nodes.len() { BAD } else { HEAD }),
            Span::raw("   "),
            Span::styled("█", GOOD),
            Span::raw(" in use  ░ free  "),
            Span::styled("x", BAD),
            Span::raw(" ill "),
        ])
        .style(CLEAR);
        Self { entries, width, across, lines: u16::try_from(lines).unwrap_or(1), title }
    }

    fn render(self, area: Rect, buffer: &mut Buffer) {
        let block = Block::bordered().border_style(DIM).title(self.title);
        let inner = block.inner(area);
        block.render(area, buffer);
        for (place, entry) in self.entries.into_iter().enumerate() {
            let x = u16::try_from(place % self.across * self.width).unwrap_or(u16::MAX);
            let y = u16::try_from(place / self.across).unwrap_or(u16::MAX);
            let at = Rect { x: inner.x.saturating_add(x), y: inner.y.saturating_add(y), ..inner };
            entry.render(at.intersection(inner), buffer);
        }
    }
}

fn name_of(node: &v1::Node) -> &str {
    node.spec.as_ref().map_or("", |spec| &spec.name)
}

fn gpus_of(node: &v1::Node) -> usize {
    node.spec.as_ref().map_or(0, |spec| spec.gpus.len())
}

/// What a node without GPUs shows in place of their cells.
fn busy(node: &v1::Node) -> String {
    match node.spec.as_ref() {
        Some(spec) if spec.gpus.is_empty() => format!("{}/{} CPUs", node.cpus_used, spec.cpus),
        _ => String::new(),
    }
}

fn entry(node: &v1::Node, width: usize, cells: usize) -> Line<'static> {
    let name = cut(&plain(name_of(node)), width.min(NAME));
    let (style, word) = match (node.contact(), state(node)) {
        (_, "up") => (Style::new(), ""),
        (v1::NodeContact::Up, word) => (ODD, word),
        (_, word) => (BAD, word),
    };
    let mut spans = vec![Span::styled(format!("{name:<width$} "), style)];
    let count = gpus_of(node);
    for gpu in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        spans.push(if node.gpus_ill.contains(&gpu) {
            Span::styled("x", BAD)
        } else if node.gpus_used.contains(&gpu) {
            Span::styled("█", GOOD)
        } else {
            Span::styled("░", DIM)
        });
    }
    let busy = busy(node);
    let filling = " ".repeat(cells.saturating_sub(count.max(busy.len())));
    spans.push(Span::styled(busy, if node.cpus_used > 0 { Style::new() } else { DIM }));
    if !word.is_empty() {
        spans.push(Span::styled(format!("{filling} {word}"), style));
    }
    Line::from(spans)
}

/// Text in so many places, with its end cut off where it has more.
fn cut(text: &str, places: usize) -> String {
    if text.chars().count() <= places {
        return text.to_owned();
    }
    text.chars().take(places.saturating_sub(1)).chain(['…']).collect()
}

/// As many names as have room, and how many more there are.
fn fitting(names: &[String], places: usize) -> String {
    let whole = names.join(",");
    if whole.chars().count() <= places {
        return plain(&whole).into_owned();
    }
    for shown in (1..names.len()).rev() {
        let text = format!("{} +{}", names[..shown].join(","), names.len() - shown);
        if text.chars().count() <= places {
            return plain(&text).into_owned();
        }
    }
    cut(&plain(&whole), places)
}

/// How wide the columns of a list are; those that are None have no room.
struct Columns {
    id: usize,
    name: usize,
    user: Option<usize>,
    queue: Option<usize>,
    priority: Option<usize>,
    /// Nodes, or why it has none.
    last: usize,
}

impl Columns {
    const STATE: usize = 9;
    const GPUS: usize = 4;
    const TIME: usize = 10;
    /// The least for the name, and for the last column.
    const NAME: usize = 12;
    const LAST: usize = 8;
    /// What most names need.
    const READABLE: usize = 20;
    const GAP: usize = 1;

    /// The same for both lists, so that their columns are below each other.
    fn of(seen: &Snapshot, places: usize) -> Self {
        let jobs = || seen.placed.iter().chain(&seen.unplaced);
        let widest = |least: usize, text: fn(&v1::Job) -> &str| {
            jobs().map(|job| text(job).chars().count()).max().unwrap_or(0).clamp(least, 12)
        };
        let id =
            jobs().map(|job| job.id.checked_ilog10().unwrap_or(0) as usize + 1).max().unwrap_or(0).max(5);
        let fixed =
            [id, Self::STATE, Self::GPUS, Self::TIME].iter().map(|width| width + Self::GAP).sum::<usize>();
        let mut left = places.saturating_sub(fixed + Self::NAME + Self::GAP + Self::LAST);
        let fits = |left: &mut usize, width: usize| {
            let taken = (width + Self::GAP <= *left).then_some(width);
            *left -= taken.map_or(0, |width| width + Self::GAP);
            taken
        };
        let longest = jobs().map(|job| job.name.chars().count()).max().unwrap_or(0);
        let user = fits(&mut left, widest(4, |job| &job.user));
        // A name that can be read is worth more than a queue that is the same for all.
        let readable = Self::NAME + longest.min(Self::READABLE).saturating_sub(Self::NAME).min(left);
        left -= readable - Self::NAME;
        let priority = fits(&mut left, 4);
        let queue = fits(&mut left, widest(5, |job| &job.queue));
        // What is left is for names as far as they need it; the rest of the line is for nodes.
        let name = readable + longest.saturating_sub(readable).min(left / 2);
        left -= name - readable;
        Self { id, name, user, queue, priority, last: Self::LAST + left }
    }

    fn widths(&self) -> Vec<Constraint> {
        let some = [Some(self.id), Some(Self::STATE), Some(self.name), self.user, self.queue, self.priority];
        let rest = [Some(Self::GPUS), Some(Self::TIME), Some(self.last)];
        let all = some.into_iter().chain(rest).flatten();
        all.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))).collect()
    }

    fn head(&self, placed: bool) -> Row<'static> {
        let (time, last) = if placed { ("RUN", "NODES") } else { ("WAIT", "CAUSE") };
        let cells = [
            Some(Line::from("ID").right_aligned()),
            Some(Line::from("STATE")),
            Some(Line::from("NAME")),
            self.user.map(|_| Line::from("USER")),
            self.queue.map(|_| Line::from("QUEUE")),
            self.priority.map(|_| Line::from("PRIO").right_aligned()),
            Some(Line::from("GPUS").right_aligned()),
            Some(Line::from(time).right_aligned()),
            Some(Line::from(last)),
        ];
        Row::new(cells.into_iter().flatten()).style(HEAD)
    }

    fn row(&self, job: &v1::Job, now_ms: u64) -> Row<'static> {
        let since = job.started_ms.unwrap_or(job.submitted_ms);
        let style = match job.state() {
            v1::JobState::Running => GOOD,
            v1::JobState::Stopping => ODD,
            v1::JobState::Waiting | v1::JobState::Held => DIM,
            _ => Style::new(),
        };
        let text = |text: &str, places: usize| Line::from(cut(&plain(text), places));
        let last = match job.nodes.as_slice() {
            [] => cut(&plain(&job.cause), self.last),
            nodes => fitting(nodes, self.last),
        };
        let cells = [
            Some(Line::from(job.id.to_string()).right_aligned()),
            Some(Line::styled(notation::state(job.state()), style)),
            Some(text(&job.name, self.name)),
            self.user.map(|places| text(&job.user, places)),
            self.queue.map(|places| text(&job.queue, places)),
            self.priority.map(|_| Line::from(job.priority.to_string()).right_aligned()),
            Some(Line::from(job.gpus.to_string()).right_aligned()),
            Some(Line::from(notation::Span(now_ms.saturating_sub(since)).to_string()).right_aligned()),
            Some(Line::from(last)),
        ];
        Row::new(cells.into_iter().flatten())
    }
}

/// One of the two lists of jobs.
fn jobs(area: Rect, buffer: &mut Buffer, seen: &Snapshot, chosen: usize, placed: bool) {
    let (list, states, name): (_, &[v1::JobState], _) =
        if placed { (&seen.placed, &PLACED, "running") } else { (&seen.unplaced, &UNPLACED, "queue") };
    let offset = if placed { 0 } else { seen.placed.len() };
    let columns = Columns::of(seen, usize::from(area.width.saturating_sub(2)));
    let mut state = TableState::new();
    state.select(chosen.checked_sub(offset).filter(|line| *line < list.len()));
    let counts = states.iter().map(|state| (seen.count(&[*state]), notation::state(*state)));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}")).collect();
    let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
    let table = Table::new(list.iter().map(|job| columns.row(job, seen.taken_ms)), columns.widths())
        .column_spacing(Columns::GAP as u16)
        .header(columns.head(placed))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::bordered().border_style(DIM).title(Span::styled(format!(" {name}: {counts} "), HEAD)));
    StatefulWidget::render(table, area, buffer, &mut state);
}

fn footer(screen: &Screen) -> Paragraph<'static> {
    let line = match &screen.message {
        Some((text, true)) => Line::styled(text.clone(), BAD),
        Some((text, false)) => Line::raw(text.clone()),
        None => Line::raw("j k move   w why it waits   c cancel   q quit"),
    };
    Paragraph::new(line)
}

/// What lies over the lists.
fn over(area: Rect, buffer: &mut Buffer, over: &Over) {
    let (title, lines) = match over {
        Over::Nothing => return,
        Over::Text { title, lines } => (title.clone(), lines.clone()),
        Over::Confirm { job, name } => (
            "cancel".to_owned(),
            vec![format!("Cancel job {job} ({name}) for good? y: yes, any other key: no")],
        ),
    };
    let width = (area.width * 3 / 4).clamp(20, 90).min(area.width);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    let needed: usize = lines.iter().map(|line| wrapped(line, inner)).sum();
    let height = u16::try_from(needed + 2).unwrap_or(u16::MAX).min(area.height);
    let at =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(at, buffer);
    let title = Span::styled(format!(" {title} "), HEAD);
    let block = Block::bordered().title(title).padding(Padding::horizontal(1));
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    Paragraph::new(text).wrap(Wrap { trim: true }).block(block).render(at, buffer);
}

/// How many lines a text takes where words stay whole.
fn wrapped(text: &str, places: usize) -> usize {
    let (mut lines, mut taken) = (1, 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let gap = usize::from(taken > 0);
        if taken + gap + length <= places {
            taken += gap + length;
        } else {
            // A word that is longer than a line is broken.
            lines += usize::from(taken > 0) + length.saturating_sub(1) / places;
            taken = (length.saturating_sub(1) % places) + 1;
        }
    }
    lines
}
