//! `simulate TRACE [--nodes N] [--gpus-per-node G] [--policy P]...`
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use zenith_scheduler::simulate::{ClusterShape, Named, Trace, run, POLICIES};
    let mut args = std::env::args().skip(1);
    let trace = args.next().unwrap();
    let (mut nodes, mut gpus, mut policies) = (64, 8, vec![]);
    while let Some(a) = args.next() {
        let v = args.next().unwrap();
        match a.as_str() { "--nodes" => nodes = v.parse()?, "--gpus-per-node" => gpus = v.parse()?, _ => policies.push(v) }
    }
    if policies.is_empty() { policies = POLICIES.iter().map(|p| p.to_string()).collect(); }
    let t0 = std::time::Instant::now();
    let trace = Trace::open(trace.as_ref())?;
    eprintln!("parse {:?}", t0.elapsed());
    for p in policies {
        let t0 = std::time::Instant::now();
        let o = run(&trace, ClusterShape { nodes, gpus_per_node: gpus }, &Named::find(&p)?)?;
        let b: Vec<String> = o.wait_by_gpus.iter().map(|b| format!("{}:{:.1}", b.name, b.wait.mean)).collect();
        println!("{:10} jct {:.1} med {:.2} p95 {:.1} maxwait {:.0} | {} | util {:.3} frag {:.4} {:.4} | jain {:.3} | mk {:.0} rounds {} {:?}", p, o.completion.mean, o.completion.median, o.completion.p95, o.wait.max, b.join(" "), o.utilisation_while_submitting, o.fragmentation, o.fragmentation_while_submitting, o.fairness.jain, o.makespan, o.rounds, t0.elapsed());
    }
    Ok(())
}
