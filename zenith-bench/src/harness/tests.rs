//! Laws of the harness, on contenders whose work and cost are known.

use super::*;

const EFFORT: Effort = Effort { seconds: 0.003, rounds: 3 };

fn race(agreement: Agreement, contenders: Vec<Contender<'_>>) -> Result<Group, Failure> {
    let race = Race {
        title: "a race".to_owned(),
        unit: "steps",
        quantity: Quantity::Throughput,
        agreement,
        contenders,
        absent: Vec::new(),
    };
    race.run(EFFORT, &mut std::io::sink())
}

/// Work of a known price.
fn priced(wall: f64, cpu: f64) -> impl FnMut(u64) -> Result<Done, Failure> {
    move |passes| {
        std::thread::sleep(std::time::Duration::from_micros(20 * passes));
        Ok(Done {
            units: 10 * passes,
            sum: 7 * passes,
            took: Some(Cost { wall: wall * passes as f64, cpu: cpu * passes as f64 }),
        })
    }
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
}

#[test]
fn a_ratio_is_taken_within_each_round() {
    // The second round was twice as slow for both: the ratio is 2 all the same.
    assert_eq!(ratio(&[2.0, 4.0, 2.2], &[1.0, 2.0, 1.1]), 2.0);
}

#[test]
fn the_true_median_lies_between_the_order_statistics_of_a_sign_test() {
    let ranks = |n: u32| {
        let shuffled: Vec<f64> = (0..n).map(|at| f64::from(at * 7 % n + 1)).collect();
        median_between(&shuffled)
    };
    // From tables of the binomial distribution with p = 1/2.
    assert_eq!(ranks(5), None);
    assert_eq!(ranks(6), Some([1.0, 6.0]));
    assert_eq!(ranks(9), Some([2.0, 8.0]));
    assert_eq!(ranks(25), Some([8.0, 18.0]));
    assert_eq!(ranks(100), Some([40.0, 61.0]));
    assert!(ranks(3000).is_some_and(|[low, high]| low > 1440.0 && high < 1560.0));
}

#[test]
fn figures_are_per_unit_and_beside_the_fastest_rival() {
    let group = race(
        Agreement::Exact,
        vec![
            Contender::ours("ours", priced(1.0, 2.0)),
            Contender::rival("slow", priced(9.0, 1.0)),
            Contender::rival("fast", priced(3.0, 4.0)),
        ],
    )
    .unwrap();
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    let [ours, slow, fast] = &group.cases[..] else { panic!("three cases") };
    assert!(close(ours.wall.median, 0.1) && close(ours.wall.min, 0.1) && close(ours.wall.max, 0.1));
    assert!(close(ours.cpu.median, 0.2));
    let beside = ours.beside_rival.as_ref().unwrap();
    assert_eq!(beside.rival, "fast");
    assert!(close(beside.wall, 3.0) && close(beside.cpu, 2.0));
    assert!(close(slow.beside_rival.as_ref().unwrap().wall, 1.0 / 3.0));
    assert_eq!(fast.beside_rival, None);
    assert_eq!((ours.rounds, ours.units_per_round % 10), (3, 0));
}

#[test]
fn every_round_begins_with_another_contender() {
    let order = std::cell::RefCell::new(Vec::new());
    let contender = |name: char| {
        let order = &order;
        Contender::ours(name, move |passes| {
            order.borrow_mut().push(name);
            std::thread::sleep(std::time::Duration::from_millis(2));
            Ok(Done { units: passes, sum: passes, took: None })
        })
    };
    race(Agreement::Exact, vec![contender('a'), contender('b')]).unwrap();
    let order: String = order.into_inner().into_iter().collect();
    assert!(order.ends_with("abbaab"), "{order}");
}

#[test]
fn work_that_is_left_out_is_an_error() {
    let mut calls = 0;
    let lazy = move |passes: u64| {
        calls += 1;
        Ok(Done { units: if calls > 3 { 1 } else { passes }, sum: passes, took: None })
    };
    let error = race(Agreement::Exact, vec![Contender::ours("lazy", lazy)]).unwrap_err();
    assert!(error.to_string().contains("lazy"), "{error}");
}

#[test]
fn work_that_shows_nothing_is_an_error() {
    let idle = |passes| Ok(Done { units: passes, ..Done::default() });
    let error = race(Agreement::Exact, vec![Contender::ours("idle", idle)]).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[test]
fn results_that_differ_are_an_error() {
    let sums = |sum: u64| move |passes: u64| Ok(Done { units: passes, sum: sum * passes, took: None });
    let pair = |other| vec![Contender::ours("one", sums(1000)), Contender::rival("other", sums(other))];
    let error = race(Agreement::Exact, pair(1001)).unwrap_err();
    assert!(error.to_string().contains("different results"), "{error}");
    assert!(race(Agreement::Near(0.01), pair(1009)).is_ok());
    assert!(race(Agreement::Near(0.01), pair(1011)).is_err());
}
