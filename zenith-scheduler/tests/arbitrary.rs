//! Whatever is said on the wire, nothing panics: it is refused by name, or the core knows what it means, and what the core then
//! knows can be shown.

mod said;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use said::{Call, Listener};
use zenith_proto::v1;
use zenith_scheduler::controller::ops::Act;

/// Numbers as people get them wrong.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..10, 60_u32..70, Just(u32::MAX), any::<u32>()]
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..20, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        3 => "[ab]",
        1 => Just("default".to_owned()),
        1 => any::<String>(),
        1 => Just("x".repeat(5000)),
        1 => Just("a\0b\u{1b}".to_owned()),
    ]
}

fn resources() -> impl Strategy<Value = v1::Resources> {
    let counts = (option::of(number()), option::of(number()), option::of(number()), option::of(number()));
    let amounts = (number(), any::<u64>(), -1_i32..7, option::of(any::<bool>()), -1_i32..4);
    (counts, amounts).prop_map(|(counts, amounts)| v1::Resources {
        gpus: counts.0,
        nodes_min: counts.1,
        nodes_max: counts.2,
        gpus_per_node: counts.3,
        cpus: amounts.0,
        memory_mib: amounts.1 >> (amounts.1 % 64),
        topology: amounts.2,
        topology_required: amounts.3,
        ranks_per: amounts.4,
    })
}

fn submission() -> impl Strategy<Value = v1::Submission> {
    let words = (word(), word(), word(), prop_oneof![Just(String::new()), Just("/x".to_owned()), word()]);
    let flags = (any::<bool>(), any::<bool>(), number(), prop_oneof![0_u32..4, Just(u32::MAX)]);
    let after =
        vec((id(), any::<bool>()).prop_map(|(job, completed)| v1::Dependency { job, completed }), 0..3);
    let work = (vec(word(), 0..3), btree_map(word(), word(), 0..3), after);
    let rest = (option::of(resources()), prop_oneof![-2_i32..3, any::<i32>()], option::of(id()));
    (words, flags, work, rest).prop_map(|(words, flags, work, rest)| v1::Submission {
        name: words.0,
        user: words.1,
        queue: words.2,
        priority: rest.1,
        resources: rest.0,
        time_limit_ms: rest.2,
        preemptible: flags.0,
        retries: flags.2,
        after: work.2,
        held: flags.1,
        count: flags.3,
        command: work.0,
        environment: work.1,
        directory: words.3,
    })
}

/// One that is often taken in.
fn sensible() -> impl Strategy<Value = v1::Submission> {
    (submission(), 0_u32..20, any::<bool>()).prop_map(|(given, gpus, keep)| v1::Submission {
        user: "ann".to_owned(),
        queue: String::new(),
        name: String::new(),
        directory: String::new(),
        command: vec!["x".to_owned()],
        environment: [].into(),
        priority: given.priority % 1000,
        after: if keep { given.after } else { Vec::new() },
        resources: match keep {
            true => given.resources,
            false => Some(v1::Resources { gpus: Some(gpus), cpus: 1, ..Default::default() }),
        },
        ..given
    })
}

fn register() -> impl Strategy<Value = v1::Register> {
    let gpu = (0_u32..300, 0_u32..3).prop_map(|(numa, nvlink)| v1::Gpu {
        numa: numa % 257,
        nvlink,
        ..Default::default()
    });
    let known = (id(), 0_u32..4, number());
    let known = known.prop_map(|(job, attempt, master_port)| v1::Attempt { job, attempt, master_port });
    let name = prop_oneof![4 => "[ab]", 1 => word()];
    let identity = prop_oneof![4 => "[12]?", 1 => word()];
    (name, word(), number(), any::<u64>(), vec(gpu, 0..70), vec(known, 0..4), identity).prop_map(
        |(name, rack, cpus, memory_mib, gpus, known, identity)| v1::Register {
            spec: Some(v1::NodeSpec { name, rack, cpus, memory_mib, gpus }),
            address: "127.0.0.1".to_owned(),
            known,
            version: String::new(),
            identity,
        },
    )
}

fn report() -> impl Strategy<Value = v1::Report> {
    let usage = (any::<u64>(), any::<u64>(), any::<u64>());
    let usage =
        usage.prop_map(|(user_ms, system_ms, max_rss_kib)| v1::Usage { user_ms, system_ms, max_rss_kib });
    let how = option::of(prop_oneof![
        any::<i32>().prop_map(v1::rank_exited::How::Code),
        any::<i32>().prop_map(v1::rank_exited::How::Signal),
        word().prop_map(v1::rank_exited::How::NotStarted),
    ]);
    let exited = (how, option::of(usage), -1_i32..5);
    let exited = exited.prop_map(|(how, usage, fault)| v1::RankExited { how, usage, fault });
    let what = option::of(prop_oneof![
        vec(word(), 0..3).prop_map(|notes| v1::report::What::Started(v1::RankStarted { notes })),
        exited.prop_map(v1::report::What::Exited),
        Just(v1::report::What::Gone(v1::AttemptGone {})),
    ]);
    (id(), 0_u32..4, number(), what).prop_map(|(job, attempt, rank, what)| v1::Report {
        number: 0,
        job,
        attempt,
        rank,
        what,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let weight = || prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), any::<f64>(), 0.1..10.0];
    let queue = (word(), option::of((number(), option::of(number()), weight())));
    let queue = queue.prop_map(|(name, settings)| v1::SetQueueRequest {
        name,
        settings: settings.map(|(guarantee, limit, weight)| v1::QueueSettings { guarantee, limit, weight }),
    });
    let user = (word(), option::of((option::of(number()), weight())));
    let user = user.prop_map(|(name, settings)| v1::SetUserRequest {
        name,
        settings: settings.map(|(limit, weight)| v1::UserSettings { limit, weight }),
    });
    let list = (vec(-1_i32..12, 0..3), word(), word(), id(), id(), any::<bool>());
    let list = list.prop_map(|(states, user, queue, after, limit, newest_first)| v1::ListRequest {
        states,
        user,
        queue,
        after,
        limit,
        newest_first,
    });
    let act = prop_oneof![Just(Act::Cancel), Just(Act::Hold), Just(Act::Release), Just(Act::Requeue)];
    prop_oneof![
        2 => (submission(), word()).prop_map(|(given, key)| Call::Submit(Box::new(given), key)),
        4 => (sensible(), word()).prop_map(|(given, key)| Call::Submit(Box::new(given), key)),
        3 => (act, id()).prop_map(|(act, job)| Call::Act(act, job)),
        2 => register().prop_map(|given| Call::Join(Box::new(given))),
        4 => (0_u32..3, report()).prop_map(|(node, given)| Call::Report(node, Box::new(given))),
        1 => (0_u32..3, number(), any::<bool>()).prop_map(|(node, gpu, well)| Call::Health(node, gpu, well)),
        1 => (0_u32..3, any::<bool>()).prop_map(|(node, drained)| Call::Drain(node, drained)),
        1 => (0_u32..3).prop_map(Call::Silent),
        1 => (0_u32..3).prop_map(Call::Lost),
        1 => queue.prop_map(Call::Queue),
        1 => user.prop_map(Call::User),
        1 => list.prop_map(Call::List),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_said_makes_anything_panic(calls in vec(call(), 1..40)) {
        let mut listener = Listener::new();
        calls.into_iter().for_each(|call| listener.hear(call));
        listener.show();
        listener.replay();
    }
}
