//! What the user of `zenith top` has chosen, and what keys mean. Knows no terminal and no scheduler.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use zenith_proto::v1;
use zenith_scheduler::client::{ClientError, notation};

use super::snapshot::Snapshot;
use crate::shown::{local_time, plain};

/// Lines that a page key moves by.
const PAGE: usize = 10;

/// What a key asks for beyond the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Why(u64),
    Cancel(u64),
}

/// What lies over the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    /// Lines to read; any key takes them away.
    Text {
        title: String,
        lines: Vec<String>,
    },
    /// Whether a job is really to be cancelled.
    Confirm {
        job: u64,
        name: String,
    },
}

/// The screen's state.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) endpoint: String,
    pub(super) seen: Snapshot,
    /// The line of the chosen job, counted through both lists.
    pub(super) chosen: usize,
    pub(super) over: Over,
    /// What is to be said in the last line, and whether it is trouble.
    pub(super) message: Option<(String, bool)>,
}

impl Screen {
    pub(super) fn new(endpoint: &str) -> Self {
        let endpoint = endpoint.to_owned();
        Self { endpoint, seen: Snapshot::default(), chosen: 0, over: Over::Nothing, message: None }
    }

    /// Takes in how things are; the chosen job stays chosen where it still is.
    pub(super) fn see(&mut self, seen: Snapshot) {
        let chosen = self.seen.job(self.chosen).map(|job| job.id);
        self.seen = seen;
        let jobs = self.seen.placed.iter().chain(&self.seen.unplaced);
        let again = chosen.and_then(|id| jobs.map(|job| job.id).position(|job| job == id));
        self.chosen = again.unwrap_or(self.chosen).min(self.seen.lines().saturating_sub(1));
        if matches!(self.message, Some((_, true))) {
            self.message = None;
        }
    }

    pub(super) fn trouble(&mut self, error: &ClientError) {
        self.message = Some((plain(&error.to_string()).into_owned(), true));
    }

    pub(super) fn explain(&mut self, why: Result<v1::WhyResponse, ClientError>) {
        match why {
            Err(error) => self.trouble(&error),
            Ok(why) => {
                let mut lines = vec![plain(&why.reason).into_owned()];
                if !why.unblocked_by.is_empty() {
                    lines.push(format!("unblocked by: {}", plain(&why.unblocked_by)));
                }
                lines.extend(
                    why.predicted_start_ms.map(|start| format!("predicted start: {}", local_time(start))),
                );
                let title = format!("job {} is {}", why.job, notation::state(why.state()));
                self.over = Over::Text { title, lines };
            }
        }
    }

    pub(super) fn cancelled(&mut self, job: u64, outcome: Result<Vec<v1::JobOutcome>, ClientError>) {
        let refusal = outcome.map(|outcomes| outcomes.into_iter().find_map(|outcome| outcome.refusal));
        match refusal {
            Err(error) => self.trouble(&error),
            Ok(Some(refusal)) => self.message = Some((plain(&refusal.message).into_owned(), false)),
            Ok(None) => self.message = Some((format!("cancelled {job}"), false)),
        }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Nothing => self.key_on_lists(key.code),
            // Any key takes the text away, and only that.
            Over::Text { .. } => Wish::Nothing,
            Over::Confirm { job, .. } if key.code == KeyCode::Char('y') => Wish::Cancel(job),
            Over::Confirm { .. } => Wish::Nothing,
        }
    }

    fn key_on_lists(&mut self, code: KeyCode) -> Wish {
        self.message = None;
        let last = self.seen.lines().saturating_sub(1);
        let chosen = self.seen.job(self.chosen);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('j') | KeyCode::Down => self.chosen = (self.chosen + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::PageDown => self.chosen = (self.chosen + PAGE).min(last),
            KeyCode::PageUp => self.chosen = self.chosen.saturating_sub(PAGE),
            KeyCode::Char('g') | KeyCode::Home => self.chosen = 0,
            KeyCode::Char('G') | KeyCode::End => self.chosen = last,
            KeyCode::Char('w') => return chosen.map_or(Wish::Nothing, |job| Wish::Why(job.id)),
            KeyCode::Char('c') => {
                if let Some(job) = chosen {
                    self.over = Over::Confirm { job: job.id, name: plain(&job.name).into_owned() };
                }
            }
            _ => {}
        }
        Wish::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64) -> v1::Job {
        v1::Job { id, name: format!("job{id}"), ..v1::Job::default() }
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("here");
        screen.see(Snapshot { placed: vec![job(1), job(2)], unplaced: vec![job(3)], ..Snapshot::default() });
        screen
    }

    fn press(screen: &mut Screen, key: char) -> Wish {
        screen.key(KeyCode::Char(key).into())
    }

    #[test]
    fn moving_stays_within_both_lists() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, 'k'), Wish::Nothing);
        assert_eq!(press(&mut screen, 'w'), Wish::Why(1));
        for _ in 0..5 {
            press(&mut screen, 'j');
        }
        assert_eq!(press(&mut screen, 'w'), Wish::Why(3));
    }

    #[test]
    fn a_job_stays_chosen_when_others_come_and_go() {
        let mut screen = screen();
        press(&mut screen, 'G');
        screen.see(Snapshot { placed: vec![job(3)], unplaced: vec![job(4)], ..Snapshot::default() });
        assert_eq!(press(&mut screen, 'w'), Wish::Why(3));
        screen.see(Snapshot::default());
        assert_eq!(press(&mut screen, 'w'), Wish::Nothing);
    }

    #[test]
    fn cancelling_is_confirmed_by_y_alone() {
        let mut screen = screen();
        assert_eq!((press(&mut screen, 'c'), press(&mut screen, 'n')), (Wish::Nothing, Wish::Nothing));
        assert_eq!((press(&mut screen, 'y'), &screen.over), (Wish::Nothing, &Over::Nothing));
        assert_eq!((press(&mut screen, 'c'), press(&mut screen, 'y')), (Wish::Nothing, Wish::Cancel(1)));
    }

    #[test]
    fn control_c_quits_whatever_is_shown() {
        let mut screen = screen();
        press(&mut screen, 'c');
        assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    }
}
