"""``zenith.devices()``: the CPU always, GPUs by way of a stand-in for NVIDIA's library, and why there are none."""

import json
import os
import subprocess
import sys

import fakenvml
import pytest
import zenith
from zenith import _core


def finding(devices, source):
    return next(finding for finding in devices.findings if finding.source == source)


def test_the_cpu_is_a_device_and_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("ZENITH_NVML", str(tmp_path / "libnvidia-ml.so.1"))
    devices = zenith.devices()
    assert isinstance(devices, list) and isinstance(devices, zenith.Devices)
    cpu = devices[0]
    assert cpu.kind == "cpu" and cpu.processors == len(zenith.topology()["cpus"])
    assert cpu.memory_bytes is None or cpu.memory_bytes > 0
    assert cpu.address is None and cpu.uuid is None and cpu.instances == ()
    assert all(device.kind == "gpu" for device in devices[1:])
    assert finding(devices, "nvml").kind == "absent" and devices.driver is None


def test_a_broken_library_is_said_and_raises_nothing(monkeypatch, tmp_path):
    library = tmp_path / "libnvidia-ml.so.1"
    library.write_text("this is no library")
    monkeypatch.setenv("ZENITH_NVML", str(library))
    devices = zenith.devices()
    assert devices[0].kind == "cpu"
    broken = finding(devices, "nvml")
    assert broken.kind == "not_a_library" and broken.details["reason"] and "reinstall" in broken.hint


def test_eight_gpus_of_which_one_is_cut(monkeypatch, tmp_path):
    links = [{"switch": 160}] * 18
    instance = {
        "name": "H100 MIG 3g.40gb",
        "uuid": "MIG-1",
        "memory_mib": 40_448,
        "multiprocessors": 48,
        "gpu_slices": 3,
        "compute_slices": 3,
    }
    gpus = [fakenvml.gpu(number, links=links) for number in range(8)]
    gpus[5]["mig"] = {"enabled": True, "pending": True, "slots": [None, instance]}
    monkeypatch.setenv("ZENITH_NVML", str(fakenvml.install(tmp_path, {"gpus": gpus})))
    devices = zenith.devices()
    found = [device for device in devices if device.has_driver and device.kind == "gpu"]
    assert [device.uuid for device in found] == [f"GPU-{number}" for number in range(8)]
    first, cut = found[0], found[5]
    assert (first.vendor, first.model, first.index) == ("NVIDIA", "NVIDIA H100 80GB HBM3", 0)
    assert (first.address, first.compute_capability) == ("0000:10:00.0", (9, 0))
    assert (first.memory_bytes, first.free_memory_bytes) == (80 << 30, 79 << 30)
    assert first.details["clocks"]["max_sm_mhz"] == 1980 and first.instances == ()
    assert cut.instances == (zenith.DeviceInstance("MIG-1", "H100 MIG 3g.40gb", 40_448 << 20, 48),)
    assert [len(group) for group in devices.groups] == [7] and cut not in devices.groups[0]
    assert devices.driver == {"version": "580.82.07", "nvml": "13.580.82.07", "cuda": "13.0"}
    assert finding(devices, "nvml").details == {"gpus": 8}


def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path):
    for path, text in {
        "sys/devices/system/cpu/online": "0-1",
        "sys/devices/system/cpu/cpu0/online": "1",
        "sys/bus/pci/devices/0000:65:00.0/class": "0x030200",
        "sys/bus/pci/devices/0000:65:00.0/vendor": "0x10de",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    told = json.loads(_core.devices(nvml=str(tmp_path / "none.so"), root=str(tmp_path)))
    assert [(gpu["source"], gpu["vendor"], gpu["pci"]) for gpu in told["gpus"]] == [
        ("pci", "nvidia", "0000:65:00.0")
    ]
    assert "install" in told["sources"][0]["hint"]


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ({"init": "lib_rm_version_mismatch"}, "different versions"),
        ({"gpus": [fakenvml.gpu(0), fakenvml.gpu(1, fault="gpu_is_lost")]}, "GPU 1 fell off the bus"),
        (
            {
                "gpus": [
                    fakenvml.gpu(0, rows={"corrected": 0, "uncorrected": 9, "pending": False, "failed": True})
                ]
            },
            "could not be replaced",
        ),
    ],
)
def test_the_doctor_names_what_ails_gpus_with_a_fix(script, word, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "zenith._command", "doctor", "--format", "json"],
        env=os.environ | {"ZENITH_NVML": str(fakenvml.install(tmp_path, script))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = [finding for finding in json.loads(run.stdout) if word in finding["value"]]
    assert found and all(finding["state"] == "limit" and finding["fix"] for finding in found), run.stdout
