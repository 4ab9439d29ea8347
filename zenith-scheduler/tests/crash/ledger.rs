//! Holds what ranks noted, what was acknowledged and what the controller says against each other.

use std::collections::{BTreeMap, BTreeSet};

use zenith_proto::v1;

use crate::work::Work;

/// Every law that was broken, a line each.
pub(crate) fn faults(work: &Work, jobs: &[v1::Job], nodes: &[v1::Node]) -> Vec<String> {
    let jobs_and_ranks = [known_once(work, jobs), completed(work, jobs), not_repeated(work), met(work)];
    [jobs_and_ranks.concat(), nothing_held(work, nodes)].concat()
}

/// The controller has the acknowledged jobs and no others.
fn known_once(work: &Work, jobs: &[v1::Job]) -> Vec<String> {
    let known: BTreeSet<u64> = jobs.iter().map(|job| job.id).collect();
    let acknowledged: BTreeSet<u64> = work.acknowledged.keys().copied().collect();
    let lost = acknowledged.difference(&known).map(|job| format!("job {job} was acknowledged and is lost"));
    let twice = known.difference(&acknowledged).map(|job| format!("job {job} was never acknowledged"));
    lost.chain(twice).collect()
}

/// Every job has completed, and each rank of its last attempt has come to its end.
fn completed(work: &Work, jobs: &[v1::Job]) -> Vec<String> {
    let mut faults = Vec::new();
    let journal = work.journal();
    for job in jobs {
        if job.state() != v1::JobState::Completed {
            faults.push(format!("job {} is {:?}: {}", job.id, job.state(), job.cause));
            continue;
        }
        let ends =
            journal.iter().filter(|line| !line.is_start && line.job == job.id && line.attempt == job.attempt);
        let ranks: BTreeSet<u32> = ends.map(|line| line.rank).collect();
        if ranks.len() as u32 != job.gpus && work.acknowledged.get(&job.id) != Some(&(ranks.len() as u32)) {
            faults.push(format!("job {} completed with the ends of ranks {ranks:?}", job.id));
        }
    }
    faults
}

/// No rank started twice in one attempt, and no job had more attempts than its killed processes account for.
fn not_repeated(work: &Work) -> Vec<String> {
    let mut faults = Vec::new();
    let mut attempts: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in work.journal().iter().filter(|line| line.is_start) {
        attempts.entry(line.job).or_default().insert(line.attempt);
        if !seen.insert((line.job, line.rank, line.attempt)) {
            faults.push(format!(
                "rank {} of job {} started twice in attempt {}",
                line.rank, line.job, line.attempt
            ));
        }
    }
    for (job, attempts) in attempts {
        let kills = work.kills.get(&job).copied().unwrap_or(0);
        if attempts.len() as u32 > 1 + kills {
            faults
                .push(format!("job {job} ran in attempts {attempts:?} with {kills} of its processes killed"));
        }
    }
    faults
}

/// All ranks of an attempt were told one place to meet.
fn met(work: &Work) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (attempt, place) in work.meetings() {
        places.entry(attempt).or_default().insert(place);
    }
    let is_one = |places: &BTreeSet<String>| {
        places.len() == 1 && places.iter().all(|place| !place.starts_with(':') && !place.ends_with(":0"))
    };
    let apart = places.iter().filter(|(_, places)| !is_one(places));
    apart
        .map(|(attempt, places)| format!("ranks of job and attempt {attempt} were to meet at {places:?}"))
        .collect()
}

/// No GPU was in two hands, and none is held at the end.
fn nothing_held(work: &Work, nodes: &[v1::Node]) -> Vec<String> {
    let twice =
        work.conflicts().into_iter().map(|line| format!("a GPU was held already: job, rank, attempt {line}"));
    let held = nodes.iter().filter(|node| !node.gpus_used.is_empty() || !node.jobs.is_empty());
    let name = |node: &v1::Node| node.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
    let held = held
        .map(|node| format!("{} still holds GPUs {:?} for jobs {:?}", name(node), node.gpus_used, node.jobs));
    twice.chain(held).collect()
}
