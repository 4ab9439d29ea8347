"""The loader's account of itself."""

import json
import time

import numpy as np
import pytest
import torch
import zenith
import zenith.torch as zt
from torchvision.transforms import v2


def table(rows=640):
    return {"x": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), "label": np.arange(rows)}


def test_fields_count_what_happened(pictures):
    loader = zt.DataLoader(
        pictures, 4, num_workers=1, transform=v2.Compose([v2.Resize((16, 16)), v2.ToImage()])
    )
    for _ in range(2):
        for _batch in loader:
            time.sleep(0.01)
    report = loader.report()
    assert isinstance(report, zenith.Report)
    assert (report.samples, report.batches, report.workers) == (24, 6, 1)
    assert 0 < report.samples_per_second < 24 / 0.04
    assert 0 <= report.data_wait_fraction < 1 and report.data_wait_seconds >= 0
    assert report.first_batch_seconds > 0 and report.oracle_ratio is None
    assert report.bytes_read >= 2 * sum(file.stat().st_size for file in pictures.glob("*/*.jpg"))
    stages = {stage.name: stage for stage in report.stages}
    assert stages["decode"].seconds > 0 and sum(stage.share for stage in report.stages) == pytest.approx(1)
    assert report.skipped == [] and report.skipped_count == 0
    assert report.bottleneck in {"step", "read", "decode", "transform"} and report.advice


class Slow:
    """Half a millisecond a sample."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.0005)
        return float(index), index


def test_python_samples_are_said_to_be_the_slow_path():
    loader = zt.DataLoader(Slow(), 4, num_workers=0)
    start = time.perf_counter()
    for _ in loader:
        time.sleep(0.001)
    spent = time.perf_counter() - start
    report = loader.report()
    assert (report.samples, report.batches) == (40, 10)
    assert report.samples_per_second >= 40 / spent * 0.9
    assert report.samples_per_second <= 40 / (40 * 0.0005 + 9 * 0.001)
    assert 0.01 < report.data_wait_fraction < 1 and report.data_wait_seconds >= 0.02
    assert report.bottleneck == "python" and "native" in report.advice
    assert any("slow path" in note for note in report.notes)


def test_the_step_is_the_limit_where_data_is_always_there():
    loader = zt.DataLoader(list(range(16)), 4, num_workers=0)
    for _ in loader:
        time.sleep(0.3)
    assert loader.report().bottleneck == "step"


def test_transforms_that_stay_python_are_named(pictures):
    transform = v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.GaussianBlur(3)])
    notes = zt.DataLoader(pictures, 4, num_workers=0, transform=transform).report().notes
    assert any("GaussianBlur" in note and "Python" in note for note in notes)


def test_text_dictionary_and_page(tmp_path):
    loader = zenith.DataLoader(table(), 64, num_workers=1)
    assert zenith.DataLoader(table()).report().samples == 0
    list(loader)
    report = loader.report()
    text = str(report)
    for word in ("samples/s", "data wait", "oracle ratio", "bottleneck", "640 in 10 batches"):
        assert word in text
    numbers = report.to_dict()
    assert json.loads(json.dumps(numbers))["samples"] == 640
    assert numbers["stages"][0].keys() == {"name", "seconds", "share"}
    report.skipped = [(3, "</script><b>bad & worse</b>")]
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "<svg" in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "<b>" not in page and page.count("</script>") == 1
    data = page.split("id=report>")[1].split("</script>")[0]
    assert json.loads(data)["skipped"] == [[3, "</script><b>bad & worse</b>"]]


@pytest.mark.parametrize("source", [table(), Slow()])
def test_oracle_ratio(source):
    loader = zt.DataLoader(source, 4, num_workers=0)
    # Long enough for a stall of the machine to be small beside it, and not longer than what the slow source takes.
    step = 0.001 if isinstance(source, Slow) else 0.004
    report = loader.report(oracle=lambda batch: time.sleep(step))
    assert report.oracle_ratio is not None and 0 < report.oracle_ratio < 1.1
    if isinstance(source, Slow):
        assert report.oracle_ratio < 0.7
    assert loader.state_dict()["cursor"] == 0 and f"{report.oracle_ratio:.3f}" in str(report)
    with pytest.raises(zenith.ConfigError, match="at least one batch"):
        zt.DataLoader({"x": np.zeros(3)}, 4, drop_last=True, num_workers=0).report(oracle=lambda batch: None)


class Odd(Slow):
    def __getitem__(self, index):
        if index % 4 == 1:
            raise ValueError("odd one")
        return super().__getitem__(index)


@pytest.mark.parametrize(("source", "workers"), [(table(), 2), (Slow(), 2), (Slow(), 0), (Odd(), 2)])
def test_the_report_outlives_close_and_adds_up_what_comes_later(source, workers):
    with zt.DataLoader(source, 4, num_workers=workers, on_error="skip") as loader:
        list(loader)
        before = loader.report()
    after = loader.report()
    skipped = 10 if isinstance(source, Odd) else 0
    assert (
        after.samples
        == before.samples
        == len(source if not isinstance(source, dict) else source["x"]) - skipped
    )
    assert after.batches == before.batches > 0 and after.first_batch_seconds > 0
    assert after.data_wait_seconds >= before.data_wait_seconds > 0
    assert after.skipped == before.skipped and len(after.skipped) == after.skipped_count == skipped
    assert after.workers == workers and after.facts.keys() >= before.facts.keys()
    assert [stage.name for stage in after.stages] == [stage.name for stage in before.stages]
    list(loader)
    again = loader.report()
    loader.close()
    assert (again.samples, again.batches) == (2 * after.samples, 2 * after.batches)
    assert loader.report().samples == 2 * after.samples
    assert loader.report().skipped_count == 2 * skipped
    assert len(set(again.notes)) == len(again.notes)


@pytest.mark.parametrize("source", [table(), Slow()])
def test_a_report_starts_nothing(source):
    from process_facts import children, threads

    before = threads(), children()
    loader = zt.DataLoader(source, 4, num_workers=1)
    assert loader.report().samples == 0 and loader.report().workers == 1
    assert loader._engine is None
    with loader:
        next(iter(loader))
    assert loader.report().batches == 1 and loader._engine is None
    loader.state_dict()
    assert loader._engine is None
    for _ in range(1000):
        if (threads(), children()) == before:
            break
        time.sleep(0.02)
    assert (threads(), children()) == before


def test_counters_and_skipped_survive_a_larger_batch(pictures, tmp_path):
    import shutil

    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "ant" / "01.jpg").write_bytes(b"")

    class Growing:
        size = 2

        def __iter__(self):
            self.size += 2
            return iter([list(range(at, at + self.size)) for at in range(0, 12, self.size)])

    loader = zt.DataLoader(folder, num_workers=1, batch_sampler=Growing(), on_error="skip")
    for epoch in range(1, 3):
        list(loader)
        report = loader.report()
        assert report.samples == 11 * epoch and report.skipped_count == epoch
        assert [sample for sample, _ in report.skipped] == [1] * epoch


def test_copying_into_page_locked_memory_counts_as_waiting(monkeypatch):
    pinned = []

    def pin(tensor):
        time.sleep(0.005)
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    loader = zt.DataLoader(table(), 64, num_workers=0, pin_memory=True)
    list(loader)
    report = loader.report()
    assert len(pinned) == 20 and report.data_wait_seconds >= 0.1
    assert report.data_wait_fraction > 0.5
    assert sum("page-locked memory within next()" in note for note in report.notes) == 1


def test_pinning_numpy_arrays_has_no_meaning():
    for source in (table(), Slow()):
        notes = zenith.DataLoader(source, 4, num_workers=0, pin_memory=True).report().notes
        (note,) = [note for note in notes if "pin_memory" in note]
        assert "NumPy" in note and "CUDA" not in note


def test_pinning_without_cuda_is_noted():
    if torch.cuda.is_available():
        assert next(iter(zt.DataLoader(table(), 4, pin_memory=True)))[0].is_pinned()
        return
    for source in (table(), Slow()):
        loader = zt.DataLoader(source, 4, num_workers=0, pin_memory=True)
        assert len([note for note in loader.report().notes if "pin_memory" in note and "CUDA" in note]) == 1
        assert not next(iter(loader))[0].is_pinned()
