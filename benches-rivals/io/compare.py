#!/usr/bin/env python3
"""Random reads: Zenith's io_uring reader against fio at the same depth and block size, in alternating rounds.

Makes a file of random bytes if it is not there, runs both on it, prints every round, the medians and their ratio.
Both drop the file's cached pages before a buffered round.

    python3 benches-rivals/io/compare.py [--file FILE] [--gigabytes 4] [--block 102400] [--depth 32] [--rounds 5]
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def build() -> Path:
    """Build the reader bench and return its path."""
    command = ["cargo", "bench", "-p", "zenith-runtime-cpu", "--bench", "reader", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [m["executable"] for m in map(json.loads, lines) if m.get("executable")]
    return Path(found[-1])


def fill(file: Path, size: int) -> None:
    """Make `file` of `size` random bytes, on the disk and not only in the cache."""
    if file.exists() and file.stat().st_size == size:
        return
    with file.open("wb") as out:
        for _ in range(size >> 24):
            out.write(os.urandom(1 << 24))
        out.flush()
        os.fsync(out.fileno())


def ours(bench: Path, file: Path, options: argparse.Namespace, mode: str) -> float:
    """Bytes per second of Zenith's reader."""
    words = ["random", str(file), str(options.seconds), str(options.depth), str(options.block), mode]
    if options.registered:
        words.append("registered")
    result = json.loads(subprocess.run([bench, *words], check=True, capture_output=True, text=True).stdout)
    if result["fallbacks"]:
        print("note:", result["fallbacks"])
    return result["bytes_per_second"]


def fio(file: Path, options: argparse.Namespace, mode: str) -> float:
    """Bytes per second of fio."""
    command = [
        "fio", "--name=random", f"--filename={file}", "--ioengine=io_uring", "--rw=randread", f"--bs={options.block}",
        f"--iodepth={options.depth}", f"--direct={int(mode == 'direct')}", "--time_based", "--norandommap",
        f"--runtime={options.seconds}", "--invalidate=1", "--randrepeat=0", "--output-format=json",
    ]  # fmt: skip
    if options.registered:
        command += ["--fixedbufs=1", "--registerfiles=1"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["jobs"][0]["read"]["bw_bytes"]


def main() -> None:
    """Measure both in turns and print the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=Path("random-reads.bin"))
    parser.add_argument("--gigabytes", type=int, default=4)
    parser.add_argument("--block", type=int, default=102400)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--registered", action="store_true", help="registered buffers and files on both sides")
    options = parser.parse_args()
    fill(options.file, options.gigabytes << 30)
    bench = build()
    for mode in ("direct", "buffered"):
        rates: dict[str, list[float]] = {"zenith": [], "fio": []}
        for turn in range(options.rounds):
            for name in sorted(rates, reverse=turn % 2 == 0):
                rate = (
                    ours(bench, options.file, options, mode) if name == "zenith" else fio(options.file, options, mode)
                )
                rates[name].append(rate)
            print(
                f"  {mode} {turn + 1}: "
                + ", ".join(f"{name} {rate[-1] / 1e6:.0f} MB/s" for name, rate in rates.items())
            )
        medians = {name: statistics.median(rate) for name, rate in rates.items()}
        print(
            f"{mode}: zenith {medians['zenith'] / 1e6:.0f} MB/s, fio {medians['fio'] / 1e6:.0f} MB/s, "
            f"ratio {medians['zenith'] / medians['fio']:.3f}"
        )


if __name__ == "__main__":
    main()
