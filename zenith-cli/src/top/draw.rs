//! A frame of `zenith top`: nodes with a cell per GPU, the jobs that run, the jobs that wait.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, StatefulWidget, Table, TableState, Widget, Wrap};
use zenith_proto::v1;
use zenith_scheduler::client::notation;

use super::screen::{Over, Screen};
use super::snapshot::Snapshot;
use crate::cluster::status::Totals;
use crate::node::ls::state;
use crate::shown::plain;

/// Widest bar of use.
const BAR: usize = 30;
/// Longest name of a node that is shown whole.
const NAME: usize = 20;

const DIM: Style = Style::new().fg(Color::DarkGray);
const HEAD: Style = Style::new().fg(Color::Cyan);

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
    Paragraph::new(summary(screen)).render(head, buffer);
    grid.render(nodes, buffer);
    jobs(placed, buffer, seen, screen.chosen, true);
    jobs(unplaced, buffer, seen, screen.chosen, false);
    footer(screen).render(foot, buffer);
    over(area, buffer, &screen.over);
}

/// Who answers, and what is in use.
fn summary(screen: &Screen) -> Vec<Line<'static>> {
    let seen = &screen.seen;
    let totals = Totals::of(&seen.cluster);
    let since = notation::Span(seen.taken_ms.saturating_sub(seen.cluster.started_ms));
    let version = plain(&seen.cluster.version).into_owned();
    let title = Line::from(vec![
        Span::styled("zenith top", HEAD.add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {version} at {}, up {since}", screen.endpoint)),
    ]);
    let mut gpus = vec![Span::raw("GPUs  ")];
    gpus.extend(bar(totals.gpus_used, totals.gpus, Color::Green));
    gpus.push(Span::raw(format!("  {} of {} in use", totals.gpus_used, totals.gpus)));
    if totals.gpus_ill > 0 {
        gpus.push(Span::styled(format!(", {} ill", totals.gpus_ill), Style::new().fg(Color::Red)));
    }
    let mut cpus = vec![Span::raw("CPUs  ")];
    let (used, all) = (usize::try_from(totals.cpus_used), usize::try_from(totals.cpus));
    cpus.extend(bar(used.unwrap_or(0), all.unwrap_or(0), Color::Blue));
    cpus.push(Span::raw(format!("  {} of {} in use", totals.cpus_used, totals.cpus)));
    vec![title, Line::from(gpus), Line::from(cpus)]
}

fn bar(used: usize, all: usize, color: Color) -> [Span<'static>; 2] {
    // The least use is seen.
    let full = (used * BAR).div_ceil(all.max(1)).min(BAR);
    [Span::styled("█".repeat(full), Style::new().fg(color)), Span::styled("░".repeat(BAR - full), DIM)]
}

/// Nodes side by side, a cell per GPU.
struct Grid {
    entries: Vec<Line<'static>>,
    width: usize,
    across: usize,
    lines: u16,
    title: String,
}

impl Grid {
    fn of(nodes: &[v1::Node], area: Rect) -> Self {
        let name = nodes.iter().map(|node| name_of(node).chars().count().min(NAME)).max().unwrap_or(0);
        let cells = nodes.iter().map(gpus_of).max().unwrap_or(0);
        let width = name + 1 + cells.max(7) + 2;
        let across = (usize::from(area.width.saturating_sub(2)) / width).max(1);
        let needed = nodes.len().div_ceil(across).max(1);
        let lines = needed.min(usize::from(area.height / 3).max(1));
        let room = lines * across;
        let shown = if nodes.len() > room { room - 1 } else { nodes.len() };
        let mut entries: Vec<Line<'static>> =
            nodes.iter().take(shown).map(|node| entry(node, name)).collect();
        if shown < nodes.len() {
            entries.push(Line::styled(format!("and {} more", nodes.len() - shown), DIM));
        }
        if nodes.is_empty() {
            entries.push(Line::styled("no node has joined", DIM));
        }
        let up = nodes.iter().filter(|node| node.contact() == v1::NodeContact::Up).count();
        let title = format!(" nodes: {up} of {} up  █ in use ░ free x ill ", nodes.len());
        Self { entries, width, across, lines: u16::try_from(lines).unwrap_or(1), title }
    }

    fn render(self, area: Rect, buffer: &mut Buffer) {
        let block = Block::bordered().border_style(DIM).title(Span::styled(self.title, HEAD));
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

fn entry(node: &v1::Node, width: usize) -> Line<'static> {
    let shown: String = plain(name_of(node)).chars().take(NAME).collect();
    let gpus = gpus_of(node);
    let color = match (node.contact(), node.drained) {
        (v1::NodeContact::Up, false) => Color::Reset,
        (v1::NodeContact::Up, true) => Color::Yellow,
        _ => Color::Red,
    };
    let mut spans = vec![Span::styled(format!("{shown:<width$} "), Style::new().fg(color))];
    if node.contact() != v1::NodeContact::Up || (node.drained && gpus == 0) {
        spans.push(Span::styled(state(node), Style::new().fg(color)));
        return Line::from(spans);
    }
    if gpus == 0 {
        let busy = format!("{}/{}", node.cpus_used, node.spec.as_ref().map_or(0, |spec| spec.cpus));
        spans.push(Span::styled(busy, if node.cpus_used > 0 { Style::new().fg(Color::Blue) } else { DIM }));
    }
    for gpu in 0..u32::try_from(gpus).unwrap_or(u32::MAX) {
        spans.push(if node.gpus_ill.contains(&gpu) {
            Span::styled("x", Style::new().fg(Color::Red))
        } else if node.gpus_used.contains(&gpu) {
            Span::styled("█", Style::new().fg(Color::Green))
        } else {
            Span::styled("░", DIM)
        });
    }
    Line::from(spans)
}

/// One of the two lists of jobs.
fn jobs(area: Rect, buffer: &mut Buffer, seen: &Snapshot, chosen: usize, placed: bool) {
    let (list, count, name) = if placed {
        (&seen.placed, seen.placed_count(), "running")
    } else {
        (&seen.unplaced, seen.unplaced_count(), "queue")
    };
    let offset = if placed { 0 } else { seen.placed.len() };
    let rows = list.iter().map(|job| row(job, seen.taken_ms));
    let head =
        ["ID", "STATE", "NAME", "USER", "QUEUE", "PRIO", "GPUS", "TIME", if placed { "NODES" } else { "" }];
    let widths = [
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(11),
        Constraint::Fill(4),
    ];
    let mut state = TableState::new();
    state.select(chosen.checked_sub(offset).filter(|line| *line < list.len()));
    let title = format!(" {name}: {count} ");
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(HEAD))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::bordered().border_style(DIM).title(Span::styled(title, HEAD)));
    StatefulWidget::render(table, area, buffer, &mut state);
}

fn row(job: &v1::Job, now_ms: u64) -> Row<'static> {
    let since = job.started_ms.unwrap_or(job.submitted_ms);
    let style = match job.state() {
        v1::JobState::Running => Style::new().fg(Color::Green),
        v1::JobState::Stopping => Style::new().fg(Color::Yellow),
        v1::JobState::Waiting | v1::JobState::Held => DIM,
        _ => Style::new(),
    };
    Row::new([
        job.id.to_string(),
        notation::state(job.state()).to_owned(),
        plain(&job.name).into_owned(),
        plain(&job.user).into_owned(),
        plain(&job.queue).into_owned(),
        job.priority.to_string(),
        job.gpus.to_string(),
        notation::Span(now_ms.saturating_sub(since)).to_string(),
        plain(&job.nodes.join(",")).into_owned(),
    ])
    .style(style)
}

fn footer(screen: &Screen) -> Paragraph<'static> {
    let line = match &screen.message {
        Some((text, true)) => Line::styled(text.clone(), Style::new().fg(Color::Red)),
        Some((text, false)) => Line::styled(text.clone(), HEAD),
        None => Line::styled("q quit   j k move   w why   c cancel", DIM),
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
    let needed: usize = lines.iter().map(|line| line.chars().count().div_ceil(inner).max(1)).sum();
    // Words are not torn, so a line may need one more.
    let height = u16::try_from(needed + lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let at =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(at, buffer);
    let block = Block::bordered().title(Span::styled(format!(" {title} "), HEAD));
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    Paragraph::new(text).wrap(Wrap { trim: true }).block(block).render(at, buffer);
}
