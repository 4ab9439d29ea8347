//! Calls to the scheduler: one submission as REST or gRPC brings it, or many calls of users and nodes one after another. They are refused
//! by name or taken in; the laws of the core hold after each, and what is known can be shown and told again.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use zenith_fuzz::choices;
use zenith_proto::v1;
use zenith_scheduler::controller::ops::Act;
use zenith_scheduler::view;

use crate::said::{Call, Listener};

#[path = "../../zenith-scheduler/tests/said/mod.rs"]
mod said;

/// Most calls of an input.
const MOST: usize = 120;
/// Jobs of a submission, where it asks for a number that is possible: the core is fuzzed, not the memory.
const FEW: u32 = 4;
/// Jobs of a submission that are possible.
const POSSIBLE: u32 = 1_000_000;

/// Numbers as they make a difference, or any.
fn number(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match input.arbitrary::<u8>()? {
        byte @ 0..=199 => u32::from(byte % 18),
        200..=219 => 60 + u32::from(input.arbitrary::<u8>()? % 10),
        220..=229 => u32::MAX,
        _ => input.arbitrary()?,
    })
}

fn id(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.arbitrary::<u8>()? {
        byte @ 0..=229 => u64::from(byte % 24),
        230..=239 => u64::MAX,
        _ => input.arbitrary()?,
    })
}

fn word(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.arbitrary::<u8>()? {
        0..=99 => String::new(),
        100..=149 => "a".to_owned(),
        150..=199 => "b".to_owned(),
        200..=219 => "default".to_owned(),
        220..=229 => "x".repeat(5000),
        _ => input.arbitrary()?,
    })
}

fn maybe<T>(
    input: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if input.arbitrary()? { make(input).map(Some) } else { Ok(None) }
}

fn several<T>(
    input: &mut Unstructured<'_>,
    most: usize,
    mut make: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = usize::from(input.arbitrary::<u8>()?) % (most + 1);
    (0..count).map(|_| make(input)).collect()
}

fn resources(input: &mut Unstructured<'_>) -> Result<v1::Resources> {
    Ok(v1::Resources {
        gpus: maybe(input, number)?,
        nodes_min: maybe(input, number)?,
        nodes_max: maybe(input, number)?,
        gpus_per_node: maybe(input, number)?,
        cpus: number(input)?,
        memory_mib: number(input)?.into(),
        topology: input.int_in_range(-1..=6)?,
        topology_required: input.arbitrary()?,
        ranks_per: input.int_in_range(-1..=3)?,
    })
}

/// A submission; one that has a program, and nothing else that is seldom right, where it is to be taken in.
fn submission(input: &mut Unstructured<'_>, is_sensible: bool) -> Result<v1::Submission> {
    let after =
        |input: &mut Unstructured<'_>| Ok(v1::Dependency { job: id(input)?, completed: input.arbitrary()? });
    let asked = v1::Submission {
        user: "a".to_owned(),
        priority: input.arbitrary::<i8>()?.into(),
        resources: maybe(input, resources)?,
        time_limit_ms: maybe(input, id)?,
        preemptible: input.arbitrary()?,
        retries: number(input)?,
        held: input.arbitrary()?,
        count: number(input)?,
        command: vec!["x".to_owned()],
        ..v1::Submission::default()
    };
    if is_sensible {
        let gpus = u32::from(input.arbitrary::<u8>()? % 20);
        let plain = v1::Resources { gpus: Some(gpus), cpus: 1, ..v1::Resources::default() };
        return Ok(v1::Submission { resources: asked.resources.or(Some(plain)), ..asked });
    }
    Ok(v1::Submission {
        name: word(input)?,
        user: word(input)?,
        queue: word(input)?,
        priority: input.arbitrary()?,
        after: several(input, 3, after)?,
        command: several(input, 2, word)?,
        environment: several(input, 2, |input| Ok((word(input)?, word(input)?)))?.into_iter().collect(),
        directory: word(input)?,
        ..asked
    })
}

/// Not so many jobs that memory is what is tried.
fn bounded(asked: v1::Submission) -> v1::Submission {
    let count = if asked.count > POSSIBLE { asked.count } else { asked.count % (FEW + 1) };
    v1::Submission { count, ..asked }
}

fn register(input: &mut Unstructured<'_>) -> Result<v1::Register> {
    let gpu = |input: &mut Unstructured<'_>| {
        let (numa, nvlink) = (number(input)?, number(input)?);
        Ok(v1::Gpu { numa, nvlink, model: String::new(), memory_mib: maybe(input, id)? })
    };
    let known = |input: &mut Unstructured<'_>| {
        Ok(v1::Attempt { job: id(input)?, attempt: number(input)?, master_port: number(input)? })
    };
    let name =
        if input.ratio(9, 10)? { ["a", "b", "c"][input.choose_index(3)?].to_owned() } else { word(input)? };
    let identity =
        if input.ratio(9, 10)? { ["", "1", "2"][input.choose_index(3)?].to_owned() } else { word(input)? };
    Ok(v1::Register {
        identity,
        spec: Some(v1::NodeSpec {
            name,
            rack: word(input)?,
            cpus: number(input)?,
            memory_mib: id(input)?,
            gpus: several(input, 70, gpu)?,
        }),
        address: "127.0.0.1".to_owned(),
        known: several(input, 4, known)?,
        version: String::new(),
    })
}

fn report(input: &mut Unstructured<'_>) -> Result<v1::Report> {
    use v1::rank_exited::How;
    use v1::report::What;
    let usage = |input: &mut Unstructured<'_>| {
        let (user_ms, system_ms, max_rss_kib) = (id(input)?, id(input)?, id(input)?);
        Ok(v1::Usage { user_ms, system_ms, max_rss_kib })
    };
    let what = match input.arbitrary::<u8>()? % 8 {
        0 => None,
        1 => Some(What::Gone(v1::AttemptGone {})),
        2..=4 => Some(What::Started(v1::RankStarted { notes: several(input, 2, word)? })),
        _ => {
            let how = match input.arbitrary::<u8>()? % 6 {
                0 => None,
                1 => Some(How::NotStarted(word(input)?)),
                2 => Some(How::Signal(input.arbitrary::<i8>()?.into())),
                3 => Some(How::Code(input.arbitrary()?)),
                _ => Some(How::Code(0)),
            };
            let fault = input.int_in_range(-1..=4)?;
            Some(What::Exited(v1::RankExited { how, usage: maybe(input, usage)?, fault }))
        }
    };
    Ok(v1::Report { number: 0, job: id(input)?, attempt: number(input)?, rank: number(input)?, what })
}

fn call(input: &mut Unstructured<'_>) -> Result<Call> {
    let node = |input: &mut Unstructured<'_>| Ok::<u32, _>(u32::from(input.arbitrary::<u8>()? % 4));
    Ok(match input.arbitrary::<u8>()? % 24 {
        0..=1 => Call::Submit(Box::new(bounded(submission(input, false)?)), word(input)?),
        2..=6 => Call::Submit(Box::new(bounded(submission(input, true)?)), word(input)?),
        7..=9 => {
            let act = [Act::Cancel, Act::Hold, Act::Release, Act::Requeue][input.choose_index(4)?];
            Call::Act(act, id(input)?)
        }
        10..=11 => Call::Join(Box::new(register(input)?)),
        12..=16 => Call::Report(node(input)?, Box::new(report(input)?)),
        17 => Call::Health(node(input)?, number(input)?, input.arbitrary()?),
        18 => Call::Drain(node(input)?, input.arbitrary()?),
        19 => Call::Silent(node(input)?),
        20 => Call::Lost(node(input)?),
        21 => {
            let settings = |input: &mut Unstructured<'_>| {
                let (guarantee, limit) = (number(input)?, maybe(input, number)?);
                Ok(v1::QueueSettings { guarantee, limit, weight: input.arbitrary()? })
            };
            Call::Queue(v1::SetQueueRequest { name: word(input)?, settings: maybe(input, settings)? })
        }
        22 => {
            let settings = |input: &mut Unstructured<'_>| {
                Ok(v1::UserSettings { limit: maybe(input, number)?, weight: input.arbitrary()? })
            };
            Call::User(v1::SetUserRequest { name: word(input)?, settings: maybe(input, settings)? })
        }
        _ => Call::List(v1::ListRequest {
            states: several(input, 3, |input| input.int_in_range(-1..=12))?,
            user: word(input)?,
            queue: word(input)?,
            after: id(input)?,
            limit: id(input)?,
            newest_first: input.arbitrary()?,
        }),
    })
}

/// A node that has room, so that what is taken in also starts.
fn roomy() -> Call {
    let gpus = vec![v1::Gpu::default(); 8];
    let spec =
        v1::NodeSpec { name: "a".to_owned(), cpus: 64, memory_mib: 1 << 20, gpus, ..Default::default() };
    let address = "127.0.0.1".to_owned();
    Call::Join(Box::new(v1::Register { spec: Some(spec), address, ..Default::default() }))
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [mode])) = choices::<1>(input) else {
        return;
    };
    let mut listener = Listener::new();
    listener.hear(roomy());
    match mode % 4 {
        // As REST brings it.
        0 => {
            let Ok(given) = serde_json::from_slice::<view::Submission>(bytes) else { return };
            listener.hear(Call::Submit(Box::new(bounded(given.into())), String::new()));
        }
        // As gRPC brings it.
        1 => {
            let Ok(given) = v1::SubmitRequest::decode(bytes) else { return };
            let asked = bounded(given.submission.unwrap_or_default());
            listener.hear(Call::Submit(Box::new(asked), given.idempotency_key));
        }
        _ => {
            let mut input = Unstructured::new(bytes);
            for _ in 0..MOST {
                let Ok(call) = call(&mut input) else { break };
                listener.hear(call);
                if input.is_empty() {
                    break;
                }
            }
        }
    }
    listener.show();
    listener.replay();
});
