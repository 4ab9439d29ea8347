//! The suite that every way of joining ranks passes, ranks being threads here: what a communicator promises, and what it
//! says when ranks err. Dead and stopped processes are in `tests/collective_faults.rs`.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::tcp::{Tcp, Token};
use super::{CollectiveError, Communicator, Dtype, ReduceOp, Solo, share};

/// Longer than any machine is stopped while tests run.
const LONG: Duration = Duration::from_secs(120);
/// For ranks that are to be found late.
const SHORT: Duration = Duration::from_millis(600);

type Rank = Box<dyn Communicator>;
type Meet = fn(usize) -> Vec<Rank>;

fn place() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("contract-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn solo(world: usize) -> Vec<Rank> {
    assert_eq!(world, 1);
    vec![Box::new(Solo)]
}

fn shared(world: usize) -> Vec<Rank> {
    let place = place();
    on_threads((0..world).collect(), |rank| -> Rank {
        Box::new(Shared::meet(&place, rank, world, LONG).unwrap())
    })
}

fn tcp(world: usize) -> Vec<Rank> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let token = Token::new(place());
    let listener = std::sync::Mutex::new(Some(listener));
    on_threads((0..world).collect(), |rank| -> Rank {
        Box::new(match rank {
            0 => Tcp::host(listener.lock().unwrap().take().unwrap(), world, &token, LONG).unwrap(),
            _ => Tcp::join(address, rank, world, &token, LONG).unwrap(),
        })
    })
}

/// Runs every item on a thread of its own; the results in the items' order.
fn on_threads<I: Send, T: Send>(items: Vec<I>, run: impl Fn(I) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || run(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What rank `rank` has at `index`: exact in all types, also summed.
fn value(rank: usize, index: usize) -> i64 {
    (index % 5) as i64 + rank as i64
}

fn encode(dtype: Dtype, values: impl Iterator<Item = i64>) -> Vec<u8> {
    values
        .flat_map(|value| match dtype {
            Dtype::F32 => (value as f32).to_ne_bytes().to_vec(),
            Dtype::F64 => (value as f64).to_ne_bytes().to_vec(),
            Dtype::I32 => (value as i32).to_ne_bytes().to_vec(),
            Dtype::I64 => value.to_ne_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f64(value as f64).to_ne_bytes().to_vec(),
            Dtype::Bf16 => half::bf16::from_f64(value as f64).to_ne_bytes().to_vec(),
            Dtype::U8 => vec![value as u8],
        })
        .collect()
}

fn reduces_and_gathers(meet: Meet, world: usize) {
    // Nothing, less than a rank each, what does not divide, and more than a round of slots.
    for count in [0, 1, world - 1, world, 10 * world + 1, 300_001] {
        let sums = |index: usize| (0..world).map(|rank| value(rank, index)).sum::<i64>();
        let dtypes = if count > 1000 { &[Dtype::F32, Dtype::Bf16][..] } else { &Dtype::ALL[..] };
        for &dtype in dtypes {
            on_threads(meet(world), |mut rank| {
                let me = rank.rank();
                let mine = encode(dtype, (0..count).map(|index| value(me, index)));
                let sum = encode(dtype, (0..count).map(sums));
                let part = share(mine.len(), dtype, me, world);

                let mut data = mine.clone();
                rank.all_reduce(&mut data, dtype, ReduceOp::Sum, LONG).unwrap();
                assert!(data == sum, "sum of {count} {dtype} on rank {me} of {world}");

                let mut data = mine.clone();
                rank.all_reduce(&mut data, dtype, ReduceOp::Min, LONG).unwrap();
                assert!(
                    data == encode(dtype, (0..count).map(|index| value(0, index))),
                    "min of {count} {dtype}"
                );
                rank.all_reduce(&mut data, dtype, ReduceOp::Max, LONG).unwrap();

                let mut data = mine.clone();
                rank.reduce_scatter(&mut data, dtype, ReduceOp::Sum, LONG).unwrap();
                assert!(data[part.clone()] == sum[part.clone()], "scattered sum of {count} {dtype}");

                let mut data = vec![0xee; mine.len()];
                data[part.clone()].copy_from_slice(&sum[part]);
                rank.all_gather(&mut data, dtype, LONG).unwrap();
                assert!(data == sum, "gathered {count} {dtype}");

                for root in [0, world - 1] {
                    let mut data = mine.clone();
                    rank.broadcast(&mut data, root, LONG).unwrap();
                    let expected = encode(dtype, (0..count).map(|index| value(root, index)));
                    assert!(data == expected, "broadcast of {count} {dtype} from {root}");
                }
                if dtype.is_float() {
                    let mut data = encode(dtype, (0..count).map(|_| (me as i64) * 2));
                    rank.all_reduce(&mut data, dtype, ReduceOp::Avg, LONG).unwrap();
                    let expected = encode(dtype, (0..count).map(|_| world as i64 - 1));
                    assert!(data == expected, "average of {count} {dtype}");
                }
                rank.barrier(LONG).unwrap();
            });
        }
    }
}

fn sums_are_bit_equal(meet: Meet, world: usize) {
    // Numbers of very different size, whose sums depend on their order.
    let results = on_threads(meet(world), |mut rank| {
        let me = rank.rank() as f32;
        let mut data: Vec<u8> = (0..70_001)
            .flat_map(|index| ((index as f32 * 0.37 + me).sin() * 10f32.powi(index % 9 - 4)).to_ne_bytes())
            .collect();
        rank.all_reduce(&mut data, Dtype::F32, ReduceOp::Sum, LONG).unwrap();
        data
    });
    assert!(results.iter().all(|result| *result == results[0]));
}

fn many_small_ones_keep_their_order(meet: Meet, world: usize) {
    on_threads(meet(world), |mut rank| {
        for round in 0..2000i64 {
            let mut data = (round + rank.rank() as i64).to_ne_bytes();
            rank.all_reduce(&mut data, Dtype::I64, ReduceOp::Max, LONG).unwrap();
            assert_eq!(i64::from_ne_bytes(data), round + world as i64 - 1);
        }
    });
}

fn two_groups_do_not_disturb_each_other(meet: Meet, world: usize) {
    let pairs: Vec<(Rank, Rank)> = meet(world).into_iter().zip(meet(world)).collect();
    on_threads(pairs, |(mut one, mut two)| {
        let run = |rank: &mut Rank, factor: i64| {
            for _ in 0..50 {
                let mut data = encode(Dtype::I64, (0..1000).map(|_| factor));
                rank.all_reduce(&mut data, Dtype::I64, ReduceOp::Sum, LONG).unwrap();
                assert!(data == encode(Dtype::I64, (0..1000).map(|_| factor * world as i64)));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| run(&mut one, 3));
            run(&mut two, 7);
        });
    });
}

fn decisions_are_unanimous(meet: Meet, world: usize) {
    on_threads(meet(world), |mut rank| {
        let me = rank.rank();
        for call in 0..20 {
            assert!(rank.decide(true, LONG).unwrap());
            let outcome = rank.decide(me != call % world, LONG).unwrap();
            assert!(!outcome, "rank {} said no", call % world);
        }
    });
}

fn nonsense_is_refused_and_harmless(meet: Meet, world: usize) {
    on_threads(meet(world), |mut rank| {
        let refused = |outcome: super::Result<()>| {
            assert!(matches!(outcome, Err(CollectiveError::Refused { .. })), "{outcome:?}");
        };
        refused(rank.all_reduce(&mut [0; 3], Dtype::F32, ReduceOp::Sum, LONG));
        refused(rank.all_reduce(&mut [0; 4], Dtype::I32, ReduceOp::Avg, LONG));
        refused(rank.broadcast(&mut [0; 4], world, LONG));
        rank.barrier(LONG).unwrap();
    });
}

/// Runs a call per rank in a group of three and gives the errors.
fn faults(meet: Meet, call: impl Fn(&mut Rank) -> super::Result<()> + Sync) -> Vec<Option<CollectiveError>> {
    let mut kept = Vec::new();
    let outcomes = on_threads(meet(3), |mut rank| {
        let error = call(&mut rank).err();
        if error.is_some() {
            let again = rank.barrier(LONG).unwrap_err();
            assert!(matches!(again, CollectiveError::Broken(_)), "{again}");
        }
        (error, rank)
    });
    let errors = outcomes.into_iter().map(|(error, rank)| {
        kept.push(rank);
        error
    });
    errors.collect()
}

fn different_calls_are_named(meet: Meet) {
    let odd = |call: fn(&mut Rank) -> super::Result<()>, words: &str| {
        let errors = faults(meet, |rank| match rank.rank() {
            1 => call(rank),
            _ => rank.all_reduce(&mut [0; 64], Dtype::F32, ReduceOp::Sum, LONG),
        });
        for (rank, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("rank {rank} noticed nothing ({words})"));
            assert!(matches!(error, CollectiveError::Mismatch { .. }), "rank {rank}: {error}");
            assert!(error.to_string().contains(words), "rank {rank}: {error}");
            assert_eq!(error.ranks() == [1], rank != 1, "rank {rank}: {error}");
        }
    };
    odd(|rank| rank.all_reduce(&mut [0; 60], Dtype::F32, ReduceOp::Sum, LONG), "15 float32");
    odd(|rank| rank.all_reduce(&mut [0; 64], Dtype::I32, ReduceOp::Sum, LONG), "16 int32");
    odd(|rank| rank.all_reduce(&mut [0; 64], Dtype::F32, ReduceOp::Max, LONG), "max");
    odd(|rank| rank.broadcast(&mut [0; 64], 2, LONG), "broadcast(64 uint8, from rank 2)");
    odd(|rank| rank.barrier(LONG), "barrier");
}

fn a_late_rank_is_named(meet: Meet) {
    let errors = faults(meet, |rank| {
        if rank.rank() == 2 {
            // As long as it takes the others to give it up.
            let started = Instant::now();
            while started.elapsed() < 3 * SHORT {
                thread::sleep(SHORT / 4);
            }
        }
        rank.all_reduce(&mut [0; 64], Dtype::F32, ReduceOp::Sum, SHORT)
    });
    for (rank, error) in errors.into_iter().enumerate() {
        let error = error.unwrap();
        if rank == 2 {
            assert!(matches!(error, CollectiveError::GivenUp { .. }), "{error}");
        } else {
            assert!(matches!(error, CollectiveError::Deadline { .. }), "rank {rank}: {error}");
            assert_eq!(error.ranks(), [2], "rank {rank}: {error}");
        }
    }
}

fn a_rank_that_left_is_named(meet: Meet) {
    let errors = on_threads(meet(3), |mut rank| {
        rank.barrier(LONG).unwrap();
        if rank.rank() == 1 { None } else { Some(rank.barrier(LONG).unwrap_err()) }
    });
    for error in errors.into_iter().flatten() {
        assert!(matches!(error, CollectiveError::Left { .. }), "{error}");
        assert_eq!(error.ranks(), [1], "{error}");
    }
}

macro_rules! suite {
    ($module:ident, $meet:expr, $($world:literal)*) => {
        mod $module {
            use super::*;

            #[test]
            fn it_reduces_and_gathers() {
                $(reduces_and_gathers($meet, $world);)*
            }

            #[test]
            fn its_sums_are_bit_equal() {
                $(sums_are_bit_equal($meet, $world);)*
            }

            #[test]
            fn it_keeps_the_order_of_many_small_ones() {
                $(many_small_ones_keep_their_order($meet, $world);)*
            }

            #[test]
            fn its_groups_do_not_disturb_each_other() {
                $(two_groups_do_not_disturb_each_other($meet, $world);)*
            }

            #[test]
            fn its_decisions_are_unanimous() {
                $(decisions_are_unanimous($meet, $world);)*
            }

            #[test]
            fn it_refuses_nonsense() {
                $(nonsense_is_refused_and_harmless($meet, $world);)*
            }
        }
    };
}

macro_rules! faults {
    ($module:ident, $meet:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn it_names_different_calls() {
                different_calls_are_named($meet);
            }

            #[test]
            fn it_names_a_late_rank() {
                a_late_rank_is_named($meet);
            }

            #[test]
            fn it_names_a_rank_that_left() {
                a_rank_that_left_is_named($meet);
            }
        }
    };
}

suite!(alone, solo, 1);
suite!(by_memory, shared, 1 2 3 5);
suite!(by_ring, tcp, 2 3 5);
faults!(faults_by_memory, shared);
faults!(faults_by_ring, tcp);

#[test]
fn a_rank_without_the_token_is_not_let_in() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let host = scope.spawn(|| Tcp::host(listener, 2, &Token::new("right"), SHORT));
        let error = Tcp::join(address, 1, 2, &Token::new("wrong"), SHORT).unwrap_err();
        assert!(error.to_string().contains("token"), "{error}");
        let error = host.join().unwrap().unwrap_err();
        assert_eq!(error.ranks(), [1], "{error}");
    });
}

#[test]
fn ranks_that_do_not_come_are_named() {
    let place = place();
    thread::scope(|scope| {
        let guest = scope.spawn(|| Shared::meet(&place, 2, 4, LONG));
        let error = Shared::meet(&place, 0, 4, SHORT).unwrap_err();
        assert!(error.ranks().contains(&1) && error.ranks().contains(&3), "{error}");
        assert!(guest.join().unwrap().unwrap_err().to_string().contains("did not come"));
    });
    assert_eq!(Shared::meet("nobody", 1, 2, SHORT).unwrap_err().ranks(), [0]);
}

#[test]
fn ranks_of_different_worlds_do_not_meet() {
    let place = place();
    thread::scope(|scope| {
        let guest = scope.spawn(|| Shared::meet(&place, 1, 3, LONG));
        let error = Shared::meet(&place, 0, 2, LONG).unwrap_err();
        assert!(error.to_string().contains("expects 3"), "{error}");
        assert!(guest.join().unwrap().unwrap_err().to_string().contains("expects 3"));
    });
}
