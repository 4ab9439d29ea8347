//! How soon what goes wrong is put right: a dead member of a gang, urgent work without room, a node that says nothing.

use std::time::Instant;

use rustix::process::Signal;
use zenith_proto::v1;

use crate::cluster::{Client, Cluster, Said, kill};
use crate::starts::saying;

/// Ranks that end when they are asked to, and ranks that do not.
const WILLING: &str = "";
const STUBBORN: &str = "trap '' TERM; ";

/// What a rank does that nobody ends: for longer than anything here takes.
const STAY: &str = "; sleep 300";

/// Seconds between the signal to end and the kill.
pub(crate) const GRACE: &str = "2";

/// Seconds without a sign of life until a node is silent, and until it is lost.
pub(crate) const SILENT: &str = "5";
pub(crate) const LOST: &str = "8";

/// Deaths of one gang.
const DEATHS: u32 = 3;

/// Seconds from the death of one rank to the whole gang being there again, the longest of some: of gangs whose members end
/// when they are asked to, and of gangs whose members have to be killed.
pub(crate) async fn member_death(cluster: &mut Cluster, client: &Client, gpus: u32) -> [f64; 2] {
    let mut longest = [0.0; 2];
    for (longest, before) in longest.iter_mut().zip([WILLING, STUBBORN]) {
        let work = saying(cluster, gpus, before, STAY);
        let job = cluster.submit(client, work).await;
        let mut ranks = cluster.said_by_all(job, 1, gpus).await;
        for death in 1..=DEATHS {
            let begin = Instant::now();
            kill(ranks[(gpus / 2) as usize].process, Signal::KILL);
            ranks = cluster.said_by_all(job, death + 1, gpus).await;
            *longest = f64::max(*longest, (last(&ranks) - begin).as_secs_f64());
        }
        cluster.clear(client).await;
    }
    longest
}

/// Seconds from the submission of urgent work to all of its ranks being there, where work that may be preempted and does not
/// end when it is asked to has every GPU; and from the end of the urgent work to the other one being there again.
pub(crate) async fn preemption(cluster: &mut Cluster, client: &Client, gpus: u32) -> [f64; 2] {
    let victim = v1::Submission { preemptible: true, ..saying(cluster, gpus, STUBBORN, STAY) };
    let victim = cluster.submit(client, victim).await;
    let first = cluster.said_by_all(victim, 1, gpus).await;
    let begin = Instant::now();
    let urgent = v1::Submission { priority: 100, ..saying(cluster, gpus, WILLING, STAY) };
    let urgent = cluster.submit(client, urgent).await;
    let ranks = cluster.said_by_all(urgent, 1, gpus).await;
    let started = (last(&ranks) - begin).as_secs_f64();

    let begin = Instant::now();
    let cancelled = client.clone().cancel(v1::JobsRequest { jobs: vec![urgent] }).await;
    let outcomes = cancelled.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| outcome.refusal.is_none()), "{outcomes:?}");
    let again = cluster.said_by_all(victim, 2, gpus).await;
    let back = (last(&again) - begin).as_secs_f64();
    assert!(again.iter().all(|said| said.restarts == 1), "the work is told that it was there before");
    let folders = |said: &[Said]| said.iter().map(|said| said.checkpoint.clone()).collect::<Vec<_>>();
    let (mut before, mut after) = (folders(&first), folders(&again));
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after, "the work finds what it has saved");
    cluster.clear(client).await;
    [started, back]
}

/// Seconds from a node's last word to its being taken for silent, to its being given up, and to its work being there again on
/// another node.
pub(crate) async fn silence(cluster: &mut Cluster, client: &Client, gpus: u32) -> [f64; 3] {
    let work = saying(cluster, gpus, WILLING, STAY);
    let job = cluster.submit(client, work).await;
    let said = cluster.said_by_all(job, 1, gpus).await;
    let gone = said[0].node.clone();
    // It is neither dead nor disconnected: nobody but time tells.
    cluster.signal(&gone, Signal::STOP);
    let begin = Instant::now();
    let is = |contact: v1::NodeContact| {
        let gone = gone.clone();
        move |cluster: &v1::ClusterResponse| {
            let name = |node: &v1::Node| node.spec.as_ref().map(|spec| spec.name.clone());
            let node = cluster.nodes.iter().find(|node| name(node).as_ref() == Some(&gone));
            node.is_some_and(|node| node.contact() == contact)
        }
    };
    let (_, silent) = cluster.once(client, "a silent node", is(v1::NodeContact::Silent)).await;
    let (_, lost) = cluster.once(client, "a lost node", is(v1::NodeContact::Lost)).await;
    let again = cluster.said_by_all(job, 2, gpus).await;
    assert!(again.iter().all(|said| said.node != gone), "{again:?}");
    let times = [silent, lost, last(&again)].map(|at| (at - begin).as_secs_f64());
    cluster.signal(&gone, Signal::CONT);
    cluster.once(client, "the node to be back", is(v1::NodeContact::Up)).await;
    cluster.clear(client).await;
    times
}

fn last(said: &[Said]) -> Instant {
    said.iter().map(|said| said.at).max().unwrap()
}
