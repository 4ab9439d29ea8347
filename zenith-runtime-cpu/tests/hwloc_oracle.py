#!/usr/bin/env python3
"""Compares the topology reader with hwloc, on the files of other machines.

    hwloc_oracle.py [--program PATH] [--verbose] FOLDER

FOLDER holds sysfs dumps as hwloc's test suite keeps them: `*.tar.bz2`, or folders that have a `sys`. For each dump the
example program `topology` (built with cargo unless --program is given) and hwloc's `lstopo` (package hwloc) describe the
machine, and every fact both of them know is compared: online and allowed processors, packages, memory nodes with their
processors, memory and distances, caches, kinds of cores, PCI devices with class, vendor and node.

Where hwloc means something else than the kernel's files say, the difference is written down in DIFFERENCES below with its
reason and must be exactly that difference; anything else fails. Exit status: 0 all equal, 1 a difference, 2 no comparison.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

CACHE_TYPES = {"0": "Unified", "1": "Data", "2": "Instruction"}
CRATE = Path(__file__).resolve().parent.parent

# (dump, fact) -> (reason, {key: (ours, hwloc's)}): exactly these entries of the fact differ, in exactly this way.
DIFFERENCES = {
    ("32em64t-2n8c+dax+nvme+mic+dimms", "pci"): (
        "hwloc leaves out a bridge whose bus numbers are all 0, because it leads nowhere; the device is there nevertheless",
        {"0000:00:11.0": (["0604", "8086"], None)},
    ),
    ("32em64t-2n8c+dax+nvme+mic+dimms", "pci nodes"): (
        "the same bridge",
        {"0000:00:11.0": (0, None)},
    ),
    ("40intel64-2g2n4c+pcilocality", "pci nodes"): (
        "hwloc places all devices of a root bus alike, here everywhere, as its first bridge says (node -1); the kernel names a "
        "node for this device itself",
        {"0000:43:00.0": (2, list(range(40)))},
    ),
}


def bits(mask):
    """Members of a set in hwloc's notation: 32-bit words, highest first, empty ones left out."""
    members = set()
    for index, word in enumerate(reversed((mask or "0x0").split(","))):
        value = int(word, 16) if word else 0
        members.update(32 * index + bit for bit in range(32) if value >> bit & 1)
    return sorted(members)


def ours(program, root):
    output = subprocess.run([program, root], check=True, capture_output=True, text=True).stdout
    found = json.loads(output)
    nodes = found["numa_nodes"]
    matrix = [node["distances"] for node in nodes]
    known = len(nodes) > 1 and all(len(row) == len(nodes) for row in matrix)
    return {
        "cpus": found["cpus"],
        "allowed cpus": found["allowed_cpus"],
        "allowed nodes": found["allowed_nodes"],
        "packages": {package["id"]: package["cpus"] for package in found["packages"]},
        "node ids": [node["id"] for node in nodes],
        "node cpus": {node["id"]: node["cpus"] for node in nodes},
        "node memory": {node["id"]: node["memory_bytes"] for node in nodes},
        "distances": {node["id"]: node["distances"] for node in nodes} if known else None,
        "nearest cpus": {node["id"]: node["nearest_cpus"] for node in nodes},
        "caches": sorted([c["level"], c["type"], c["bytes"], c["cpus"]] for c in found["caches"]),
        "core kinds": sorted(kind["cpus"] for kind in found["core_kinds"]),
        "pci": {d["address"]: [d["class"][2:6], d["vendor"][2:]] for d in found["pci"]},
        "pci nodes": {d["address"]: d["numa_node"] for d in found["pci"] if d["numa_node"] is not None},
    }


def hwlocs(root):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HWLOC_")},
        "HWLOC_FSROOT": root,
        # Without "stop" hwloc would also ask the processor it runs on, which is not the one in the dump.
        "HWLOC_COMPONENTS": "linux,stop",
        "HWLOC_HIDE_ERRORS": "2",
    }
    command = ["lstopo", "--of", "xml", "--whole-system"]
    for kind in ("io:all", "cache:all", "icache:all"):
        command += ["--filter", kind]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    tree = ElementTree.fromstring(output)
    machine = tree.find("object")
    facts = {
        "cpus": bits(machine.get("cpuset")),
        "allowed cpus": bits(machine.get("allowed_cpuset")),
        "allowed nodes": bits(machine.get("allowed_nodeset")),
        "packages": {},
        "node cpus": {},
        "node memory": {},
        "caches": [],
        "pci": {},
        "pci nodes": {},
    }

    def walk(element, cpus):
        kind = element.get("type", "")
        if element.get("cpuset"):
            cpus = bits(element.get("cpuset"))
        if kind == "Package":
            facts["packages"][int(element.get("os_index"))] = cpus
        elif kind == "NUMANode":
            node = int(element.get("os_index"))
            facts["node cpus"][node] = cpus
            facts["node memory"][node] = int(element.get("local_memory", "0"))
        elif kind.endswith("Cache"):
            facts["caches"].append(
                [int(element.get("depth")), CACHE_TYPES[element.get("cache_type")], int(element.get("cache_size")), cpus]
            )
        elif element.get("pci_busid"):
            description = element.get("pci_type").split()
            facts["pci"][element.get("pci_busid")] = [description[0], description[1][1:5]]
            facts["pci nodes"][element.get("pci_busid")] = cpus
        for child in element.findall("object"):
            walk(child, cpus)

    walk(machine, [])
    facts["caches"].sort()
    facts["node ids"] = sorted(facts["node cpus"])
    facts["distances"] = None
    for distances in tree.findall("distances2"):
        if distances.get("name") == "NUMALatency":
            ids = [int(text) for e in distances.findall("indexes") for text in e.text.split()]
            values = [int(text) for e in distances.findall("u64values") for text in e.text.split()]
            facts["distances"] = {node: values[row * len(ids) :][: len(ids)] for row, node in enumerate(ids)}
    kinds = [bits(kind.get("cpuset")) for kind in tree.findall("cpukind")]
    facts["core kinds"] = sorted(kinds) if len(kinds) > 1 else []
    return facts


def align(mine, his):
    """Makes the two answers say the same kind of thing. Nothing is dropped here that is not checked otherwise."""
    # hwloc gives a memory-only node the processors near it; we give those apart from its own (it has none).
    near = mine.pop("nearest cpus")
    mine["near cpus of memory-only nodes"] = {n: near[n] for n, cpus in mine["node cpus"].items() if not cpus}
    his["near cpus of memory-only nodes"] = {
        node: his["node cpus"].get(node) for node in mine["near cpus of memory-only nodes"]
    }
    for node in mine["near cpus of memory-only nodes"]:
        if node in his["node cpus"]:
            his["node cpus"][node] = []
    # hwloc hangs a device below the processors near it; where we name a node, these must be the node's.
    near_devices = his["pci nodes"]
    his["pci nodes"] = {
        address: node if near_devices.get(address) == mine["node cpus"][node] else near_devices.get(address)
        for address, node in mine["pci nodes"].items()
    }


def differences(mine, his):
    if not (isinstance(mine, dict) and isinstance(his, dict)):
        return {} if mine == his else {"": (mine, his)}
    keys = sorted(mine.keys() | his.keys())
    return {key: (mine.get(key), his.get(key)) for key in keys if mine.get(key) != his.get(key)}


def compare(name, program, root, verbose):
    mine, his = ours(program, root), hwlocs(root)
    align(mine, his)
    failures, explained = [], []
    for fact in sorted(mine.keys() | his.keys()):
        reason, expected = DIFFERENCES.get((name, fact), ("", {}))
        found = differences(mine.get(fact), his.get(fact))
        if found != expected:
            failures.append(f"{fact}, {{key: (ours, hwloc's)}}: {found}")
        elif found:
            explained.append(f"{fact}: {reason}: {found}")
    counts = (
        f"{len(mine['cpus'])} cpus, {len(mine['packages'])} packages, {len(mine['node ids'])} nodes, "
        f"{len(mine['caches'])} caches, {len(mine['pci'])} pci"
    )
    print(f"{'DIFFERS' if failures else 'same'}  {name}: {counts}")
    for text in explained:
        print(f"    as known: {text}")
    for text in failures:
        print(f"    {text if verbose else text[:600]}")
    return not failures


def build():
    subprocess.run(["cargo", "build", "--quiet", "--example", "topology"], cwd=CRATE, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=CRATE, check=True, capture_output=True, text=True
    ).stdout
    return str(Path(json.loads(metadata)["target_directory"]) / "debug" / "examples" / "topology")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", help="prints the topology below the folder it is given, as JSON")
    parser.add_argument("--verbose", action="store_true", help="print differences in full")
    arguments = parser.parse_args()
    if not shutil.which("lstopo"):
        print("lstopo is missing; it is in the package hwloc", file=sys.stderr)
        return 2
    program = arguments.program or build()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for dump in sorted(arguments.folder.iterdir()):
            if dump.name.endswith(".tar.bz2"):
                name = dump.name.removesuffix(".tar.bz2")
                target = Path(scratch) / name
                with tarfile.open(dump) as archive:
                    # The dumps' links point anywhere, as sysfs's do; the folder is thrown away.
                    archive.extractall(target, filter="tar")
                (root,) = [path.parent for path in target.glob("*/sys")]
            elif (dump / "sys").is_dir():
                name, root = dump.name, dump
            else:
                continue
            results.append(compare(name, program, str(root), arguments.verbose))
    if not results:
        print(f"no dumps in {arguments.folder}", file=sys.stderr)
        return 2
    print(f"{sum(results)} of {len(results)} machines agree with hwloc")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
