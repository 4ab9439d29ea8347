"""Getting samples out of a dataset: errors caught with the sample they belong to, randomness per sample.

Shared by the worker processes, the threads and the inline way, so that all of them mean the same.
"""

from __future__ import annotations

import functools
import operator
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import DecodeError, PluginError
from . import seeding
from .errors import UnsupportedDatasetError

PluginCalls = list[tuple[int, int]]
"""(calls, nanoseconds) of each of a dataset's plugins; empty for none."""


def added(some: PluginCalls, more: PluginCalls) -> PluginCalls:
    """Both together."""
    if not some or not more:
        return some or more
    return [(calls + a, spent + b) for (calls, spent), (a, b) in zip(some, more, strict=True)]


@dataclass
class Skipped:
    """A sample that was dropped: its index and why (``ExceptionType: message``).

    Of Zenith's own exceptions it is what the native pipeline lists too: the path, the plugin and the reason.
    """

    sample: Any
    reason: str

    @classmethod
    def by(cls, error: Exception, sample: Any) -> Skipped:
        if not isinstance(error, (DecodeError, PluginError)):
            return cls(sample, f"{type(error).__name__}: {error}")
        parts = (error.path, getattr(error, "plugin", None), error.reason)
        return cls(sample, ": ".join(part for part in parts if part))


@dataclass
class Fetched:
    """What became of a list of indices.

    samples and kept run in parallel; failure ends the list (on_error="raise").
    """

    samples: list[Any] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failure: SampleFailure | None = None
    plugins: PluginCalls = field(default_factory=list)


@dataclass
class SampleFailure:
    """An exception and where it came from.

    sample is None when it is not known (a batched fetch, a collate).
    """

    error: BaseException
    sample: Any
    text: str

    @classmethod
    def here(cls, error: BaseException, sample: Any) -> SampleFailure:
        return cls(
            error, sample, "".join(traceback.format_exception(type(error), error, error.__traceback__))
        )


def check_dataset(dataset: Any) -> None:
    """Refuse what is not a map-style dataset.

    Raises:
        UnsupportedDatasetError: an IterableDataset, or an object without ``__getitem__``.
    """
    torch_data = sys.modules.get("torch.utils.data")
    if torch_data is not None and isinstance(dataset, torch_data.IterableDataset):
        raise UnsupportedDatasetError(
            f"{type(dataset).__name__} is an IterableDataset: it has no samples by index, so order, "
            "sharding and resume cannot be given; use a map-style Dataset (__getitem__ and __len__)"
        )
    if not hasattr(type(dataset), "__getitem__"):
        raise UnsupportedDatasetError(
            f"{type(dataset).__name__} has no __getitem__; a map-style Dataset (__getitem__ and __len__) "
            "would work"
        )


def batched_fetch(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """The dataset's ``__getitems__`` where it is worth calling.

    A torch Subset always has one; over a dataset that has none it only loops, which would hide the single
    samples.
    """
    torch_data = sys.modules.get("torch.utils.data")
    if (
        torch_data is not None
        and type(dataset) is torch_data.Subset
        and batched_fetch(dataset.dataset) is None
    ):
        return None
    found = getattr(dataset, "__getitems__", None)
    return found if callable(found) else None


class Fetcher:
    """Fetches by index from one dataset, in one thread."""

    def __init__(
        self, dataset: Any, *, seed: int, skip: bool, watch: bool = True, caller: bool = False
    ) -> None:
        """Watch over one dataset.

        Args:
        dataset: map-style dataset.
        seed: of the loader.
        skip: drop samples that raise instead of stopping at the first.
        watch: give every sample its own randomness; False where other threads share the generators.
        caller: the generators are the user's own here and are put back after each call.
        """
        self._dataset = dataset
        self._get: Callable[[Any], Any] = functools.partial(operator.getitem, dataset)
        # Zenith's own datasets make sample i differently in each epoch; users' datasets know no epochs.
        self._at_epoch: Callable[[int], Callable[[Any], Any]] | None = getattr(
            dataset, "zenith_at_epoch", None
        )
        self._plugins: Sequence[Any] = getattr(dataset, "zenith_plugins", ())
        self._batched = batched_fetch(dataset)
        self._seed = seed
        self._skip = skip
        self._watch = seeding.Watch() if watch else None
        self._keeper = seeding.Keeper(self._watch) if caller and self._watch is not None else None
        self._draws: bool | None = None
        self._collate_draws: bool | None = None
        self._key: tuple[int, int] = (-1, 0)

    @property
    def batched(self) -> bool:
        """Whether the dataset's own ``__getitems__`` is used."""
        return self._batched is not None

    @property
    def draws(self) -> bool | None:
        """Whether the dataset was seen to use the global generators; None before the first sample."""
        return self._draws

    def fetch(
        self, epoch: int, indices: Sequence[Any], on_sample: Callable[[int], None] | None = None
    ) -> Fetched:
        """Samples of ``indices``; ``on_sample`` is told each position before it is begun."""
        if not self._plugins:
            return self._fetch(epoch, indices, on_sample)
        before = [plugin._spent() for plugin in self._plugins]
        fetched = self._fetch(epoch, indices, on_sample)
        spent = (plugin._spent() for plugin in self._plugins)
        fetched.plugins = [(now[0] - was[0], now[1] - was[1]) for was, now in zip(before, spent, strict=True)]
        return fetched

    def _fetch(self, epoch: int, indices: Sequence[Any], on_sample: Callable[[int], None] | None) -> Fetched:
        if self._at_epoch is not None:
            self._get = self._at_epoch(epoch)
        watch = self._watch
        if watch is None:
            return self._run(indices, None, on_sample)
        if self._key[0] != epoch:
            self._key = (epoch, seeding.epoch_key(self._seed, epoch))
        key = self._key[1]
        keeper = self._keeper
        before = keeper.save() if keeper is not None else watch.mark() if self._draws is False else None
        untouched = False
        try:
            if self._draws is False:
                fetched = self._run(indices, None, on_sample)
                untouched = watch.mark() == before
                if untouched:
                    return fetched
                self._draws = True
            return self._run(indices, key, on_sample)
        finally:
            if keeper is not None and not untouched:
                keeper.restore()

    def _run(
        self, indices: Sequence[Any], key: int | None, on_sample: Callable[[int], None] | None
    ) -> Fetched:
        out = Fetched()
        if self._batched is not None and self._run_batched(self._batched, indices, key, out):
            return out
        if key is None and on_sample is None:
            try:
                out.samples = list(map(self._get, indices))
            except Exception:
                out.samples = []  # again, one by one, to see which
            else:
                out.kept = list(indices)
                return out
        get, samples, watch = self._get, out.samples, self._watch
        learning = key is not None and self._draws is None
        moved = False
        mark: Any = None
        for at, index in enumerate(indices):
            if on_sample is not None:
                on_sample(at)
            if key is not None:
                seeding.seed_generators(seeding.sample_key(key, index))
                if learning and watch is not None:
                    mark = watch.mark()
            try:
                samples.append(get(index))
                out.kept.append(index)
            except BaseException as error:
                if self._keeper is not None and not isinstance(error, Exception):
                    raise  # Ctrl-C in the caller's own process
                if not self._skip or not isinstance(error, Exception):
                    out.failure = SampleFailure.here(error, index)
                    break
                out.skipped.append(Skipped.by(error, index))
            if learning and watch is not None and watch.mark() != mark:
                moved = True
        if learning:
            self._draws = moved
        return out

    def _run_batched(
        self, fetch: Callable[[list[Any]], Any], indices: Sequence[Any], key: int | None, out: Fetched
    ) -> bool:
        """Try the dataset's own batched fetch. False: go sample by sample to find and skip the bad one."""
        watch = self._watch
        mark: Any = None
        if key is not None and watch is not None:
            seeding.seed_generators(seeding.sample_key(key, list(indices)))
            mark = watch.mark() if self._draws is None else None
        try:
            samples = list(fetch(list(indices)))
            if len(samples) != len(indices):
                raise ValueError(f"__getitems__ returned {len(samples)} samples for {len(indices)} indices")
        except BaseException as error:
            if self._keeper is not None and not isinstance(error, Exception):
                raise
            if self._skip and isinstance(error, Exception):
                return False
            out.failure = SampleFailure.here(error, None)
            return True
        if key is not None and watch is not None and self._draws is None:
            self._draws = watch.mark() != mark
        out.samples, out.kept = samples, list(indices)
        return True

    def collate(
        self, epoch: int, indices: Sequence[Any], fetched: Fetched, function: Callable[[list[Any]], Any]
    ) -> Any:
        """Run the user's ``collate_fn``, with the randomness of (seed, epoch, batch).

        Raises:
            Exception: whatever ``function`` raises.
        """
        watch, keeper = self._watch, self._keeper
        if watch is None:
            return function(fetched.samples)
        mark = keeper.save() if keeper is not None else None
        try:
            if keeper is not None and self._collate_draws is False:
                batch = function(fetched.samples)
                if watch.mark() == mark:
                    return batch
                # It draws after all, and may have changed the samples in place: both again, with seeds.
                self._collate_draws = True
                keeper.restore()
                fetched = self.fetch(epoch, indices)
                if fetched.failure is not None:
                    raise fetched.failure.error
            key = seeding.epoch_key(self._seed, epoch)
            seeding.seed_generators(seeding.sample_key(key, list(indices)))
            seeded = watch.mark() if self._collate_draws is None else None
            batch = function(fetched.samples)
            if seeded is not None:
                self._collate_draws = watch.mark() != seeded
                if keeper is not None and not self._collate_draws:
                    keeper.restore()
            return batch
        finally:
            if keeper is not None and self._collate_draws is not False:
                keeper.restore()
