"""Both roads mean the same: what plugins raise, what is skipped, what is counted, and what ranks may do without."""

import numpy as np
import pyarrow as pa
import pytest
import torch
import wasm_modules as wasm
import zenith
import zenith.torch as zt
from photographs import write_folder
from torch.utils.data import Dataset
from zenith._pydata import PythonLoader
from zenith._sources import Transformed
from zenith.transforms import Wasm

# ABI 0, of a sample whose first byte is 3: never ends, and traps.
STUCK_AT_THREE = wasm.module({"process": (2, 0, "loop get 0 load8 0 const 3 eq br_if 0 end const 0")})
TRAP_AT_THREE = wasm.module(
    {
        "process": (
            2,
            0,
            "block get 0 load8 0 const 3 eq const 0 eq br_if 0 unreachable end const 0",
        )
    }
)


class Numbers(Dataset):
    """Only Python can read it: sample i is uint8 [i, i + 1] and i."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.tensor([index, index + 1], dtype=torch.uint8), index


def rows():
    """The same samples, which need no Python."""
    numbers = np.arange(20)
    return {"inputs": np.stack([numbers, numbers + 1], 1).astype(np.uint8), "label": numbers}


ROADS = {"native": rows, "python": Numbers}


@pytest.fixture(params=ROADS)
def source(request):
    """The same samples by either road."""
    return ROADS[request.param]()


def errors_of(loader):
    found, batches = [], iter(loader)
    while True:
        try:
            next(batches)
        except zenith.ZenithError as error:
            found.append(error)
        except StopIteration:
            return found


# ---- errors


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("module", "kind", "code"),
    [(wasm.NO_THREE, "code", 7), (STUCK_AT_THREE, "deadline", None), (TRAP_AT_THREE, "trap", None)],
)
def test_a_plugins_error_says_its_cause_and_its_sample(source, workers, module, kind, code):
    # Long enough for a plugin that is held up by a busy machine.
    plugin = Wasm(module, deadline_ms=1000)
    with zt.DataLoader(source, 5, num_workers=workers, plugins=[plugin]) as loader:
        (error,) = errors_of(loader)
    assert type(error) is zenith.PluginError
    assert (error.plugin, error.kind, error.code, error.sample) == ("plugin", kind, code, 3)
    assert error.reason and not error.reason.startswith("plugin") and str(error).startswith("plugin: ")


def test_what_does_not_fit_has_a_kind_too():
    wide = {"inputs": np.array([[1, 0], [200, 0]], np.uint8), "label": np.arange(2)}
    with pytest.raises(zenith.PluginError) as called:
        Wasm(wasm.BELOW_100)(wide["inputs"][1])
    with pytest.raises(zenith.PluginError) as tried:
        zt.DataLoader({"inputs": wide["inputs"][1:]}, plugins=[wasm.BELOW_100])
    for error in (called.value, tried.value):
        assert (error.plugin, error.kind, error.code) == ("below_100", "unfit", None)


def test_a_refused_configuration_has_its_code():
    with pytest.raises(zenith.PluginError) as raised:
        Wasm(wasm.ADD_ONE, "anything")
    assert (raised.value.kind, raised.value.code) == ("config", None), "it takes none at all"


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_samples_have_one_reason(workers):
    def skipped(source):
        options = {"num_workers": workers, "on_error": "skip", "plugins": [wasm.NO_THREE]}
        with zt.DataLoader(source, 5, **options) as loader:
            assert sum(len(labels) for _, labels in loader) == 19
            return loader.report().skipped

    assert skipped(Numbers()) == skipped(rows()) == [(3, "plugin: error 7")]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_skipped_for_one_reason(tmp_path, workers):
    folder = write_folder(tmp_path / "pictures")
    broken = sorted(folder.glob("*/*.jpg"))[4]
    broken.write_bytes(broken.read_bytes()[:300])

    def skipped(**python):
        with zt.DataLoader(folder, 5, num_workers=workers, on_error="skip", **python) as loader:
            assert sum(len(labels) for _, labels in loader) == 11
            return loader.report().skipped

    found = skipped(target_transform=abs)
    assert found == skipped() and found[0][0] == 4 and found[0][1].startswith(f"{broken}: ")


# ---- ranks


@pytest.mark.parametrize("workers", [0, 2])
def test_a_rank_without_a_batch_is_an_error_on_several_ranks(source, workers):
    options = {"num_workers": workers, "on_error": "skip", "plugins": [wasm.NO_THREE]}
    for rank, failing in ((0, 0), (1, 1)):
        with zt.DataLoader(source, 1, rank=rank, world_size=2, **options) as loader:
            found = errors_of(loader)
            assert [type(error) for error in found] == [zenith.ConfigError] * failing
            assert all("unequal numbers of batches" in str(error) for error in found)
    with zt.DataLoader(source, 1, **options) as loader:
        assert len(list(loader)) == 19, "alone it does no harm"


# ---- accounts


def account(loader, name):
    """Samples of a plugin's account, and the seconds of its stage."""
    report = loader.report()
    (seconds,) = (stage.seconds for stage in report.stages if stage.name == f"plugin {name}")
    return int(report.facts[f"plugin {name}"].split()[0].replace(",", "")), seconds


@pytest.mark.parametrize("workers", [0, 2])
def test_the_report_has_each_plugin_by_itself(source, workers):
    again = Wasm(wasm.BELOW_100) if isinstance(source, dict) else Wasm(wasm.RANDOM)
    plugins = [wasm.ADD_ONE, wasm.NO_THREE, again]
    with zt.DataLoader(source, 5, num_workers=workers, on_error="skip", plugins=plugins) as loader:
        names = ["plugin", "plugin 2", again.name]
        assert [account(loader, name) for name in names] == [(0, 0.0)] * 3
        given = sum(len(labels) for _, labels in loader)
        assert given == 19, "2 becomes 3, which the second refuses"
        counted = [account(loader, name) for name in names]
    # The next epoch may have begun.
    assert all(samples >= least for (samples, _), least in zip(counted, (20, 20, 19), strict=True))
    assert all(seconds > 0 for _, seconds in counted)


def test_one_plugin_in_two_places_has_two_accounts(source):
    plugin = Wasm(wasm.ADD_ONE)
    with zt.DataLoader(source, 5, num_workers=0, plugins=[plugin, plugin]) as loader:
        assert next(iter(loader))[0][0].tolist() == [2, 3]
        assert account(loader, "plugin")[0] == account(loader, "plugin 2")[0] == 5


def test_the_account_outlives_workers_and_does_not_count_other_loaders(source):
    plugin = Wasm(wasm.ADD_ONE)
    loader = zt.DataLoader(source, 5, num_workers=0, plugins=[plugin])
    other = zt.DataLoader(source, 5, num_workers=0, plugins=[plugin])
    for epochs in (1, 2):
        for _ in zip(loader, other, strict=True):
            pass
        plugin(b"\1")
        loader.close()
        assert account(loader, "plugin")[0] == 20 * epochs


def test_threads_count_their_calls():
    plugin = Wasm(wasm.ADD_ONE)
    dataset = Transformed(Numbers(), plugin, None, [plugin])
    batches = [list(range(at, at + 5)) for at in range(0, 20, 5)]
    with PythonLoader(dataset, batches, num_workers=2, worker="thread") as loader:
        assert len(list(loader)) == 4
        ((name, calls, nanoseconds),) = loader.stats()["plugins"]
    assert (name, calls) == ("plugin", 20) and nanoseconds > 0


# ---- arguments that are iterators


def test_the_oracles_loader_has_what_iterators_gave(source):
    seen = []
    loader = zt.DataLoader(source, 20, num_workers=0, plugins=iter([wasm.ADD_ONE]))
    loader.report(oracle=lambda batch: seen.append(batch[0][0].tolist()))
    assert seen and all(row == [1, 2] for row in seen)
    table = {"a": np.ones(8), "b": np.zeros(8), "label": np.arange(8)}
    chosen = zt.DataLoader(table, 4, num_workers=0, columns=iter(["a"]))
    assert next(iter(chosen._twin()))[0].shape == next(iter(chosen))[0].shape == (4, 1)


def test_a_reader_of_batches_is_not_read_twice():
    table = pa.table({"a": np.ones(8), "label": np.arange(8)})
    loader = zt.DataLoader(table.to_reader(), 4, num_workers=0)
    with pytest.raises(zenith.ConfigError, match="source is an iterator"):
        loader.report(oracle=lambda batch: None)
    assert len(list(loader)) == 2


@pytest.mark.parametrize("name", ["sampler", "batch_sampler"])
def test_an_iterator_of_indices_is_not_used_up_by_the_oracle(source, name):
    batches = name == "batch_sampler"
    loader = zt.DataLoader(source, num_workers=0, **{name: iter([[4], [2]] if batches else [4, 2])})
    with pytest.raises(zenith.ConfigError, match=f"{name} is an iterator"):
        loader.report(oracle=lambda batch: None)
    assert [labels.tolist() for _, labels in loader] == [[4], [2]]
