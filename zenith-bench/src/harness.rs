//! Rounds, alternation and statistics, once for all scenarios. It knows nothing of what is measured.
//!
//! Each contender is warmed up and given as many passes as fill its share of the time. Then every round runs all
//! contenders one after the other, each round beginning with another one, so that a machine that grows slower or busier
//! does so for all. A pass gives the units it did and a checksum; a contender that does less, or something else, in
//! any round is an error and no figure.

use std::io::Write;

use serde::Serialize;

use crate::Failure;
use crate::meter::{Cost, Meter};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Seconds for one contender, over all rounds.
    pub(crate) seconds: f64,
    /// Rounds, at least 1.
    pub(crate) rounds: usize,
}

/// What some passes did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Units of work.
    pub(crate) units: u64,
    /// Of the results; of `n` passes it is `n` times that of one. Never 0.
    pub(crate) sum: u64,
    /// What the part of interest took, where that is less than all of it.
    pub(crate) took: Option<Cost>,
}

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// Ours.
    Zenith,
    /// What one would use, or write, instead.
    Rival,
}

/// Does a number of passes.
type Work<'a> = Box<dyn FnMut(u64) -> Result<Done, Failure> + 'a>;

/// One way to do the work.
pub(crate) struct Contender<'a> {
    name: String,
    side: Side,
    work: Work<'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        side: Side,
        name: impl Into<String>,
        work: impl FnMut(u64) -> Result<Done, Failure> + 'a,
    ) -> Self {
        Self { name: name.into(), side, work: Box::new(work) }
    }

    pub(crate) fn ours(name: impl Into<String>, work: impl FnMut(u64) -> Result<Done, Failure> + 'a) -> Self {
        Self::new(Side::Zenith, name, work)
    }

    pub(crate) fn rival(
        name: impl Into<String>,
        work: impl FnMut(u64) -> Result<Done, Failure> + 'a,
    ) -> Self {
        Self::new(Side::Rival, name, work)
    }
}

/// How far the checksums of the contenders may lie apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Agreement {
    /// Not at all.
    Exact,
    /// By this fraction: decoders and filters may round differently.
    Near(f64),
}

/// What a figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Quantity {
    /// Units per second: more is better.
    Throughput,
    /// Seconds for a unit: less is better.
    Latency,
}

/// A comparison to be made.
pub(crate) struct Race<'a> {
    /// What is done.
    pub(crate) title: String,
    /// What is counted, in the plural.
    pub(crate) unit: &'static str,
    pub(crate) quantity: Quantity,
    pub(crate) agreement: Agreement,
    pub(crate) contenders: Vec<Contender<'a>>,
    /// Contenders that cannot run here.
    pub(crate) absent: Vec<Absent>,
}

/// A contender that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absent {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// The outcome of a [`Race`].
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) quantity: Quantity,
    pub(crate) cases: Vec<Case>,
    pub(crate) not_measured: Vec<Absent>,
}

/// The figures of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) rounds: usize,
    pub(crate) units_per_round: u64,
    pub(crate) checksum: u64,
    /// Seconds on the clock for a unit.
    pub(crate) wall: Spread,
    /// Processor seconds for a unit.
    pub(crate) cpu: Spread,
    /// Beside the fastest rival; not for that rival itself.
    pub(crate) beside_rival: Option<Beside>,
}

/// Seconds for a unit, over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// How many times as fast as a rival: medians of the ratios within each round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Beside {
    pub(crate) rival: String,
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Where the true median of `wall` lies with a confidence of at least 95 %, if the rounds are enough to say so.
    pub(crate) wall_between: Option<[f64; 2]>,
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        Self {
            median: median(values).unwrap_or(f64::NAN),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Passes of a round, however little a pass takes; counts of units and checksums stay far from overflow.
const MOST_PASSES: u64 = 1 << 20;

/// A contender on its way through the rounds.
struct Running<'a> {
    contender: Contender<'a>,
    /// Of one pass.
    units: u64,
    sum: u64,
    /// Passes a round.
    passes: u64,
    /// For a unit, round by round.
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl<'a> Running<'a> {
    /// Runs it until its speed is known, and settles on passes that take about `seconds`.
    fn warmed_up(mut contender: Contender<'a>, seconds: f64) -> Result<Self, Failure> {
        let first = (contender.work)(1)?;
        if first.units == 0 || first.sum == 0 {
            return Err(format!("{}: a pass did nothing that shows", contender.name).into());
        }
        let mut running = Self {
            contender,
            units: first.units,
            sum: first.sum,
            passes: 1,
            wall: Vec::new(),
            cpu: Vec::new(),
        };
        loop {
            let meter = Meter::start();
            running.run()?;
            let took = meter.read().wall.max(1e-9);
            let whole = seconds / took * running.passes as f64;
            if took >= seconds / 8.0 || running.passes == MOST_PASSES {
                running.passes = (whole.round() as u64).clamp(1, MOST_PASSES);
                return Ok(running);
            }
            running.passes = ((whole / 4.0).ceil() as u64).clamp(1, MOST_PASSES);
        }
    }

    /// One round; what a unit took.
    fn run(&mut self) -> Result<Cost, Failure> {
        let meter = Meter::start();
        let done = (self.contender.work)(self.passes)?;
        let whole = meter.read();
        let (units, sum) = (self.units * self.passes, self.sum.wrapping_mul(self.passes));
        if (done.units, done.sum) != (units, sum) {
            return Err(format!(
                "{}: {} units and checksum {:#x} where {units} and {sum:#x} were due",
                self.contender.name, done.units, done.sum
            )
            .into());
        }
        let Cost { wall, cpu } = done.took.unwrap_or(whole);
        Ok(Cost { wall: wall / units as f64, cpu: cpu / units as f64 })
    }
}

impl Race<'_> {
    /// Runs the rounds; says on `progress` what is being done.
    ///
    /// # Errors
    /// When a contender fails, or did not do what the others did.
    pub(crate) fn run(self, effort: Effort, progress: &mut dyn Write) -> Result<Group, Failure> {
        let rounds = effort.rounds.max(1);
        let share = effort.seconds / rounds as f64;
        let mut all = Vec::new();
        for contender in self.contenders {
            write!(progress, "\r\x1b[K  {}: warming up {}", self.title, contender.name)?;
            progress.flush()?;
            all.push(Running::warmed_up(contender, share)?);
        }
        agree(&all, self.agreement)?;
        for round in 0..rounds {
            write!(progress, "\r\x1b[K  {}: round {} of {rounds}", self.title, round + 1)?;
            progress.flush()?;
            for turn in 0..all.len() {
                let at = (round + turn) % all.len();
                let cost = all[at].run()?;
                all[at].wall.push(cost.wall);
                all[at].cpu.push(cost.cpu);
            }
        }
        write!(progress, "\r\x1b[K")?;
        progress.flush()?;
        Ok(Group {
            title: self.title,
            unit: self.unit,
            quantity: self.quantity,
            cases: cases(&all),
            not_measured: self.absent,
        })
    }
}

fn agree(all: &[Running<'_>], agreement: Agreement) -> Result<(), Failure> {
    let Some(first) = all.first() else {
        return Ok(());
    };
    let of_unit = |running: &Running<'_>| running.sum as f64 / running.units as f64;
    for other in &all[1..] {
        let agrees = match agreement {
            Agreement::Exact => (other.sum, other.units) == (first.sum, first.units),
            Agreement::Near(by) => (of_unit(other) / of_unit(first) - 1.0).abs() <= by,
        };
        if !agrees {
            return Err(format!(
                "{} and {} come to different results: checksums {} and {} for {} and {} units",
                first.contender.name, other.contender.name, first.sum, other.sum, first.units, other.units
            )
            .into());
        }
    }
    Ok(())
}

/// Round by round, how many times as long the rival took.
fn ratios(rival: &[f64], own: &[f64]) -> Vec<f64> {
    rival.iter().zip(own).map(|(rival, own)| rival / own).collect()
}

/// The median of that.
fn ratio(rival: &[f64], own: &[f64]) -> f64 {
    median(&ratios(rival, own)).unwrap_or(f64::NAN)
}

/// The values between which the median of what they were drawn from lies with a confidence of at least 95 %, whatever its
/// distribution: as many draws fall below a median as heads come up. `None` where even the extremes are too few.
fn median_between(values: &[f64]) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let tosses = sorted.len() as f64;
    // Chance of at most `heads` heads, term by term in logarithms: the terms themselves would vanish.
    let (mut term, mut chance, mut outer) = (-tosses * std::f64::consts::LN_2, 0.0, None);
    for heads in 0..sorted.len() {
        chance += term.exp();
        if chance > 0.025 {
            break;
        }
        outer = Some(heads);
        term += ((tosses - heads as f64) / (heads as f64 + 1.0)).ln();
    }
    outer.map(|at| [sorted[at], sorted[sorted.len() - 1 - at]])
}

fn cases(all: &[Running<'_>]) -> Vec<Case> {
    let speed = |running: &&Running<'_>| median(&running.wall).unwrap_or(f64::NAN);
    let rival = all
        .iter()
        .filter(|running| running.contender.side == Side::Rival)
        .min_by(|a, b| speed(a).total_cmp(&speed(b)));
    let case = |running: &Running<'_>| Case {
        name: running.contender.name.clone(),
        side: running.contender.side,
        rounds: running.wall.len(),
        units_per_round: running.units * running.passes,
        checksum: running.sum,
        wall: Spread::of(&running.wall),
        cpu: Spread::of(&running.cpu),
        beside_rival: rival.filter(|rival| !std::ptr::eq(*rival, running)).map(|rival| Beside {
            rival: rival.contender.name.clone(),
            wall: ratio(&rival.wall, &running.wall),
            cpu: ratio(&rival.cpu, &running.cpu),
            wall_between: median_between(&ratios(&rival.wall, &running.wall)),
        }),
    };
    all.iter().map(case).collect()
}

#[cfg(test)]
mod tests;
