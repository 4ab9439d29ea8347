//! The nine states of a job and every way between them, as one table. Who decides that a way is taken is elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Put aside by a person until released.
    Held,
    /// Waits for other jobs, or for the end of a pause between attempts.
    Waiting,
    /// May start as soon as there is a place for all of it.
    Queued,
    /// Has its place; not every rank has reported that it runs.
    Starting,
    /// Every rank runs, or has run.
    Running,
    /// Its ranks are being ended; it keeps its place until the last of them is gone.
    Stopping,
    /// Every rank ended well.
    Completed,
    /// Ended badly and is not tried again.
    Failed,
    /// Ended because somebody wanted it to.
    Cancelled,
}

/// What moves a job from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Nothing has to happen before it any more.
    Ready,
    /// Put aside.
    Hold,
    /// No longer put aside.
    Release,
    /// A place for the whole gang was found.
    Place,
    /// The last rank reported that it runs.
    Up,
    /// The last rank ended, and all ended well.
    Finish,
    /// The gang has to end.
    Stop,
    /// The gang is gone and may start again at once.
    Requeue,
    /// The gang is gone and may start again after a pause.
    Retry,
    /// The gang is gone for good, badly.
    Fail,
    /// Not wanted any more.
    Cancel,
}

/// Every transition there is. What is not in here is refused.
pub const TRANSITIONS: [(State, Trigger, State); 17] = {
    use State::*;
    use Trigger::*;
    [
        (Held, Release, Waiting),
        (Held, Cancel, Cancelled),
        (Waiting, Ready, Queued),
        (Waiting, Hold, Held),
        (Waiting, Cancel, Cancelled),
        (Queued, Place, Starting),
        (Queued, Hold, Held),
        (Queued, Cancel, Cancelled),
        (Starting, Up, Running),
        (Starting, Stop, Stopping),
        (Running, Finish, Completed),
        (Running, Stop, Stopping),
        (Stopping, Requeue, Queued),
        (Stopping, Retry, Waiting),
        (Stopping, Hold, Held),
        (Stopping, Fail, Failed),
        (Stopping, Cancel, Cancelled),
    ]
};

impl State {
    /// All nine, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Held,
        Self::Waiting,
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state that `trigger` leads to from here.
    ///
    /// # Errors
    /// [`Forbidden`] where [`TRANSITIONS`] has no such way.
    pub fn next(self, trigger: Trigger) -> Result<Self, Forbidden> {
        let way = TRANSITIONS.iter().find(|(from, on, _)| *from == self && *on == trigger);
        way.map(|(_, _, to)| *to).ok_or(Forbidden { from: self, trigger })
    }

    /// Nothing leads out of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// It holds GPUs, processors and memory.
    pub fn is_placed(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::Hold,
        Self::Release,
        Self::Place,
        Self::Up,
        Self::Finish,
        Self::Stop,
        Self::Requeue,
        Self::Retry,
        Self::Fail,
        Self::Cancel,
    ];
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Place => "place",
            Self::Up => "up",
            Self::Finish => "finish",
            Self::Stop => "stop",
            Self::Requeue => "requeue",
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
        })
    }
}

/// A way that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {from} job has no way to {trigger}")]
pub struct Forbidden {
    /// Where the job is.
    pub from: State,
    /// What was tried.
    pub trigger: Trigger,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, as a picture: a row per state, a column per trigger, `.` for a way that is refused.
    const PICTURE: &str = "\
          ready hold rel place up finish stop requeue retry fail cancel
held      . . waiting . . . . . . . cancelled
waiting   queued held . . . . . . . . cancelled
queued    . held . starting . . . . . . cancelled
starting  . . . . running . stopping . . . .
running   . . . . . completed stopping . . . .
stopping  . held . . . . . queued waiting failed cancelled
completed . . . . . . . . . . .
failed    . . . . . . . . . . .
cancelled . . . . . . . . . . .";

    #[test]
    fn every_pair_does_what_the_picture_says() {
        for (line, from) in PICTURE.lines().skip(1).zip(State::ALL) {
            let mut cells = line.split_whitespace();
            assert_eq!(cells.next(), Some(from.to_string().as_str()));
            for trigger in Trigger::ALL {
                let seen = from.next(trigger).map(|to| to.to_string());
                match cells.next().unwrap() {
                    "." => assert_eq!(seen, Err(Forbidden { from, trigger }), "{from} --{trigger}-->"),
                    to => assert_eq!(seen.as_deref(), Ok(to), "{from} --{trigger}-->"),
                }
            }
            assert_eq!(cells.next(), None);
        }
    }

    #[test]
    fn the_table_names_no_way_twice() {
        for (i, (from, on, _)) in TRANSITIONS.iter().enumerate() {
            assert!(!TRANSITIONS[..i].iter().any(|(f, o, _)| f == from && o == on), "{from} --{on}-->");
        }
    }

    #[test]
    fn every_state_is_reached_and_every_life_can_end() {
        let ways = |from: State| TRANSITIONS.iter().filter(move |(f, _, _)| *f == from).map(|(_, _, to)| *to);
        let reachable = |start: State| {
            let mut seen = vec![start];
            let mut at = 0;
            while let Some(state) = seen.get(at).copied() {
                seen.extend(ways(state).filter(|to| !seen.contains(to)).collect::<Vec<_>>());
                at += 1;
            }
            seen
        };
        for state in State::ALL {
            assert!(reachable(State::Waiting).contains(&state), "{state} is never reached");
            assert!(reachable(state).iter().any(|end| end.is_final()), "{state} never ends");
            assert_eq!(ways(state).count() == 0, state.is_final());
        }
    }
}
