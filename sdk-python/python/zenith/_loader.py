"""The loader that users meet: arguments, epochs, state and reports. Which memory its batches are in is a subclass's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from . import _core
from ._engines import Engine, NativeEngine, PythonEngine
from ._errors import ConfigError, ResumeError
from ._oracle import oracle_ratio
from ._order import OrderOptions, Place
from ._ranks import rank_and_world
from ._report import Report
from ._sampling import ListedOrder, WeightedSampler
from ._sources import Plan, plan_source

_STATE_VERSION = 1


class Loader:
    """Iterates over a source in batches, made ahead by native threads.

    Names, defaults and meanings are those of ``torch.utils.data.DataLoader`` wherever the two overlap. The order of
    samples is a pure function of (seed, epoch), augmentation one of (seed, epoch, sample): neither depends on
    ``num_workers``, on timing or, for the global sequence, on ``world_size``.

    Args:
        source: path, glob or URL; a list of paths; a dictionary of arrays ([N, ...] each); an Arrow table; or any
            map-style Python dataset. Kinds of files are told from their content: class folders of pictures (JPEG,
            PNG, WebP), Parquet, Arrow IPC/Feather, CSV, NPY/NPZ.
        batch_size: samples in a batch.
        shuffle: a new exact global order each epoch (within windows where ``memory_budget`` makes it a stream).
        num_workers: native threads; if None as many as this process may run at once (its cores, or the processor time
            its container is granted); with 0 batches are made in ``next()``.
        pin_memory: page-locked batches where CUDA is present; the report says so where it is not.
        drop_last: leave out an incomplete last batch.
        prefetch_factor: batches made ahead, in all; small batches are made ahead in larger numbers.
        sampler: iterable of indices, asked anew each epoch, or :class:`zenith.WeightedSampler`.
        batch_sampler: iterable of lists of indices.
        collate_fn: makes a batch of a list of samples, in Python.
        seed: key of shuffles and augmentation.
        transform: torchvision transforms (compiled to native ones where they have a twin) or any callable.
        target_transform: callable for labels, in Python.
        columns: columns of a table that become inputs; all but the label if None.
        label: name of the label column; found by its name, else the last, if None; False for no label.
        dtype: element type of tabular inputs, such as ``"float32"``.
        rank: this process; from torch.distributed or RANK if None.
        world_size: number of processes; from torch.distributed or WORLD_SIZE if None.
        on_error: ``"raise"`` a bad sample's error in its turn, or ``"skip"`` it, counted and listed in the report.
        memory_budget: bytes of rows a table may hold, a larger one is streamed (without it, rows are held, and the
            pictures of a column are streamed from 4 GiB on); and bytes that ``cache`` may take for pictures, by
            default half of the available memory. Arrays and Arrow buffers of the caller are read where they lie and
            do not count.
        cache: for pictures, ``"index"`` remembers where their data can be entered, so that from the second epoch on
            (and in later runs) crops skip the decoding outside of them, with the same pixels; ``"memory"`` keeps
            their files in memory, so that nothing is read again. The report's facts show hits and bytes.
        persistent_workers: accepted; workers always persist.
        worker_init_fn: called in each worker of the Python path.
        timeout: seconds a batch of the Python path may take; 0 for any.
        generator: torch.Generator whose initial seed replaces ``seed``.

    Raises:
        SourceError: the source cannot be read as data.
        ConfigError: arguments that make no sense, alone or together.
    """

    _module: ClassVar[str] = "numpy"

    def __init__(
        self,
        source: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        num_workers: int | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        prefetch_factor: int | None = 2,
        sampler: Any = None,
        batch_sampler: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        seed: int = 0,
        transform: Any = None,
        target_transform: Callable[[Any], Any] | None = None,
        columns: Sequence[str] | None = None,
        label: str | bool | None = None,
        dtype: Any = None,
        rank: int | None = None,
        world_size: int | None = None,
        on_error: str = "raise",
        memory_budget: int | None = None,
        cache: str | None = None,
        persistent_workers: bool = True,
        worker_init_fn: Callable[[int], Any] | None = None,
        timeout: float = 0,
        generator: Any = None,
    ) -> None:
        del persistent_workers
        self._arguments = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        _check(batch_size, num_workers, prefetch_factor, on_error, cache)
        _check_samplers(batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset = source
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = _core.processors() if num_workers is None else num_workers
        self.prefetch_factor = prefetch_factor or 1
        self.pin_memory = pin_memory
        self.notes: list[str] = []
        self._pin = pin_memory and self._can_pin()
        if pin_memory and not self._pin:
            self.notes.append("pin_memory was asked for, but there is no CUDA device: batches are pageable")
        self._weights = sampler if isinstance(sampler, WeightedSampler) else None
        given: Any = batch_sampler if batch_sampler is not None else None if self._weights else sampler
        self._listed = None if given is None else ListedOrder(given, batches=batch_sampler is not None)
        ranks = rank_and_world(rank, world_size) if self._listed is None else (0, 1)
        self._order = OrderOptions(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=int(generator.initial_seed()) % (1 << 63) if generator is not None else seed,
            rank=ranks[0],
            world_size=ranks[1],
            drop_last=drop_last,
            draws=self._weights.num_samples if self._weights else None,
        )
        self._plan: Plan = plan_source(
            source,
            transform=transform,
            target_transform=target_transform,
            collate_fn=collate_fn,
            columns=columns,
            label=label,
            dtype=dtype,
            on_error=on_error,
            memory_budget=memory_budget,
            cache=cache,
            threads=max(1, self.num_workers),
            seed=self._order.seed,
        )
        self.notes += self._plan.notes
        self._note_scattered_reads()
        self._python_options = {"worker_init_fn": worker_init_fn, "timeout": timeout or None}
        self._skip = on_error == "skip"
        self._engine: Engine | None = None
        self._next: Place = (0, 0)
        self._resume_digest: str | None = None
        self._begun = False
        self._left: Place | None = None
        self._largest = 1

    def _note_scattered_reads(self) -> None:
        """Says so where an order by the user's choice visits the blocks of a streamed table as it comes."""
        native = self._plan.native
        if native is not None and native.streamed and (self._weights or self._listed):
            self.notes.append(
                "the table is streamed, and a sampler's order knows nothing of its row groups: nearly every row may "
                "decode one again; a memory_budget that holds the table avoids it"
            )

    # -- what a subclass says

    @staticmethod
    def _batches(native: _core.Loader, pin: bool) -> Iterator[Any]:
        """Iterates over a native loader in the subclass's kind of arrays, page-locked if ``pin``."""
        raise TypeError(
            "zenith.DataLoader and zenith.torch.DataLoader say what batches are made of; this class does not"
        )

    def _can_pin(self) -> bool:
        """Whether memory can be page-locked for an accelerator."""
        return False

    # -- iteration

    def __len__(self) -> int:
        if self._listed is not None:
            given = self.batch_sampler if self.batch_sampler is not None else self.sampler
            size = len(given)
            if self.batch_sampler is not None:
                return size
            return size // self.batch_size if self.drop_last else -(-size // self.batch_size)
        return self._started().steps_from((self._next[0], 0))

    def __iter__(self) -> Iterator[Any]:
        place = self._next
        if self._listed is not None:
            self._draw(self._listed, place[0])
        batches = self._started().begin(place, self._listed)
        self._next = (place[0] + 1, 0)
        self._resume_digest = None
        self._begun = True
        self._left = None
        return batches

    def _draw(self, listed: ListedOrder, epoch: int) -> None:
        """Asks the user's sampler for an epoch, and makes room for the largest of its batches."""
        listed.set_epoch(epoch)
        listed.draw()
        if self._resume_digest is not None:
            listed.check(self._resume_digest)
        largest = listed.largest()
        if largest > self._largest:
            self._largest = largest
            if self._engine is not None and self._plan.native is not None:
                self._engine.close()
                self._engine = None

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration epoch ``epoch`` (0 or more), from its beginning."""
        if epoch < 0:
            raise ConfigError(f"epoch must be 0 or more, not {epoch}")
        self._next = (int(epoch), 0)
        self._begun, self._left = False, None

    def _started(self) -> Engine:
        if self._engine is None:
            self._engine = self._build()
        return self._engine

    def _build(self) -> Engine:
        plan = self._plan
        if plan.native is not None:
            return NativeEngine(
                plan.native,
                self._order,
                workers=self.num_workers,
                prefetch=self.prefetch_factor,
                skip=self._skip,
                largest_batch=None if self.batch_sampler is None else self._largest,
                weights=self._weights,
                iterate=partial(type(self)._batches, pin=self._pin),
            )
        return PythonEngine(
            plan.dataset,
            plan.samples,
            self._order,
            weights=self._weights,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            collate_fn=plan.collate_fn,
            pin_memory=self._pin,
            on_error="skip" if self._skip else "raise",
            array_module=self._module,
            **self._python_options,
        )

    # -- state

    @property
    def classes(self) -> list[str] | None:
        """Names of the label's classes in the order of their numbers, or None."""
        return self._plan.classes

    def state_dict(self) -> dict[str, Any]:
        """The loader's place, exact between any two batches; plain numbers and strings.

        It does not depend on the rank: taken on any rank after the same number of batches, it restores every rank of
        any world size.
        """
        place = self._left or (self._started().place() if self._begun else self._next)
        state = {
            "version": _STATE_VERSION,
            "epoch": place[0],
            "cursor": place[1],
            "seed": self._order.seed,
            "shuffle": self._order.shuffle,
            "samples": self._plan.samples,
            "fingerprint": self._plan.fingerprint,
        }
        if self._listed is not None and place[1] > 0:
            state["order"] = self._resume_digest or self._listed.digest()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a saved place; the next iteration begins with the batch that would have come next.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            ResumeError: the state belongs to other data, another seed or another version; the message says which.
        """
        if not isinstance(state, dict) or "version" not in state:
            raise ResumeError(f"cannot resume: this is not a loader's state: {state!r:.200}")
        if state["version"] != _STATE_VERSION:
            raise ResumeError(
                f"cannot resume: the state has version {state['version']}, this Zenith reads {_STATE_VERSION}"
            )
        for name in ("epoch", "cursor"):
            if type(state.get(name)) is not int or state[name] < 0:
                raise ResumeError(
                    f"cannot resume: the state's {name} is {state.get(name)!r}, not a whole number"
                )
        mine = {
            "seed": self._order.seed,
            "shuffle": self._order.shuffle,
            "samples": self._plan.samples,
            "fingerprint": self._plan.fingerprint,
        }
        words = {"fingerprint": "the dataset has changed since", "samples": "the dataset has changed since"}
        for name in ("samples", "fingerprint", "seed", "shuffle"):
            if state.get(name) != mine[name]:
                what = words.get(name, f"{name} differs")
                raise ResumeError(f"cannot resume: {what} ({name} was {state.get(name)}, is {mine[name]})")
        self._next = (int(state["epoch"]), int(state["cursor"]))
        self._resume_digest = state.get("order")
        self._begun, self._left = False, None

    # -- account

    def report(self, oracle: Callable[[Any], Any] | None = None) -> Report:
        """An account of what the loader did and what limits it.

        Args:
            oracle: the training step, called with a batch; measures the oracle ratio with a second loader like this
                one, some seconds long.
        """
        report = self._started().report(self.notes)
        if oracle is not None:
            report.oracle_ratio = oracle_ratio(self._twin(), oracle)
        return report

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self._arguments), self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)

    def _twin(self) -> Loader:
        return type(self)(**self._arguments)

    def close(self) -> None:
        """Stops the workers. Batches that were handed out stay valid; the next iteration starts workers anew."""
        if self._engine is not None:
            if self._begun:
                self._left = self._engine.place()
                self._begun = False
            self._engine.close()
            self._engine = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _rebuilt(kind: type[Loader], arguments: dict[str, Any]) -> Loader:
    return kind(**arguments)


def _check(batch_size: Any, workers: Any, prefetch: Any, on_error: Any, cache: Any) -> None:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise ConfigError(f"num_workers must be None or a whole number of at least 0, not {workers!r}")
    if prefetch is not None and (not isinstance(prefetch, int) or prefetch < 1):
        raise ConfigError(f"prefetch_factor must be None or a whole number of at least 1, not {prefetch!r}")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f'on_error must be "raise" or "skip", not {on_error!r}')
    if cache not in (None, "index", "memory"):
        raise ConfigError(f'cache must be None, "index" or "memory", not {cache!r}')


def _check_samplers(
    batch_size: int, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ConfigError(
            "batch_sampler decides alone: leave batch_size, shuffle, sampler and drop_last at their defaults"
        )
    if sampler is not None and shuffle:
        raise ConfigError("sampler decides the order: leave shuffle at False")
