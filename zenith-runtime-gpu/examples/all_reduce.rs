//! Times the all-reduce of a buffer by memory and by the ring, between processes of this machine: `all_reduce [MIB [RANKS]]`.
#![expect(clippy::print_stdout, reason = "the result")]

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use zenith_runtime_gpu::collective::shared::Shared;
use zenith_runtime_gpu::collective::tcp::{Tcp, Token};
use zenith_runtime_gpu::collective::{Communicator, Dtype, ReduceOp};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 31;
const ROLE: &str = "ZENITH_EXAMPLE_ROLE";

fn main() -> Result<(), Box<dyn Error>> {
    let number = |place: usize, otherwise: usize| {
        std::env::args().nth(place).map_or(Ok(otherwise), |text| text.parse())
    };
    let (mib, world) = (number(1, 64)?, number(2, 2)?);
    if let Ok(role) = std::env::var(ROLE) {
        let (rank, port) = role.split_once(' ').ok_or("a role is a rank and a port")?;
        return play(rank.parse()?, world, port.parse()?, mib);
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut ranks = Vec::new();
    for rank in 0..world {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([mib.to_string(), world.to_string()]).env(ROLE, format!("{rank} {port}"));
        ranks.push(command.spawn()?);
    }
    for mut rank in ranks {
        if !rank.wait()?.success() {
            return Err("a rank failed".into());
        }
    }
    Ok(())
}

fn play(rank: usize, world: usize, port: u16, mib: usize) -> Result<(), Box<dyn Error>> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let token = Token::new("example");
    let ring = match rank {
        0 => Tcp::host(TcpListener::bind(address)?, world, &token, LIMIT)?,
        _ => Tcp::join(address, rank, world, &token, LIMIT)?,
    };
    let mut ways: [Box<dyn Communicator>; 2] =
        [Box::new(Shared::meet(&format!("example-{port}"), rank, world, LIMIT)?), Box::new(ring)];
    let mut data: Vec<u8> = (0..mib << 18).flat_map(|index| (index as f32).to_ne_bytes()).collect();
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            way.barrier(LIMIT)?;
            let (start, processor) = (Instant::now(), processor_time());
            way.all_reduce(&mut data, Dtype::F32, ReduceOp::Avg, LIMIT)?;
            times.push((start.elapsed(), processor_time() - processor));
        }
    }
    for (way, times) in ways.iter().zip(&mut times) {
        times.sort();
        let (wall, processor) = times[times.len() / 2];
        if rank == 0 {
            println!(
                "{}: {mib} MiB, {world} ranks: {wall:.2?} a call ({processor:.2?} of this rank's processor)",
                way.backend()
            );
        }
    }
    Ok(())
}

/// Of this process, from the kernel's account.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0))
}
