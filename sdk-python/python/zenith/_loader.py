"""The loader that users meet: arguments, epochs, state and reports. Which memory its batches are in is a subclass's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from . import _core
from ._account import Account, Counters, plugin_counters
from ._arguments import (
    callable_or_none,
    column_names,
    iterable_or_none,
    kept,
    label_choice,
    one_of,
    plugin_list,
    seconds,
    transform_or_none,
)
from ._engines import DeviceWanted, Engine, HostBatches, NativeEngine, OnDevice, PythonEngine, Start
from ._errors import ConfigError, ResumeError
from ._native import SourceOptions
from ._numbers import whole_number, whole_number_or_none
from ._oracle import oracle_ratio
from ._order import OrderOptions, Place
from ._ranks import rank_and_world
from ._report import Report
from ._sampling import Drawn, ListedOrder, WeightedSampler
from ._sources import Behind, Plan, dtype_name, plan_source

_STATE_VERSION = 2


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
            its container is granted); with 0 batches are made in ``next()``. No more are started than there are cores
            for this process, which ``notes`` say.
        pin_memory: page-locked batches where CUDA is present; the report says so where it is not.
        drop_last: leave out an incomplete last batch.
        prefetch_factor: batches made ahead, in all; small batches are made ahead in larger numbers.
        sampler: iterable of indices, asked anew each epoch, or :class:`zenith.WeightedSampler`. An epoch is drawn at
            its beginning, so it has to end.
        batch_sampler: iterable of lists of indices; as for ``sampler``.
        collate_fn: makes a batch of a list of samples, in Python.
        seed: key of shuffles and augmentation.
        transform: torchvision transforms (compiled to native ones where they have a twin),
            :class:`zenith.transforms.Wasm`, or any callable; a list of them is applied in its order. It gets a PIL
            picture (a tensor behind ``ToImage``) of pictures, and a row's inputs of tables.
        plugins: WebAssembly plugins applied to the inputs behind ``transform``, in their order: paths, bytes or
            :class:`zenith.transforms.Wasm`. One that drops or splits samples leaves batches full and the order the same
            for any ``num_workers``; such a loader has no ``len()`` and works on one rank only.
        target_transform: callable for labels, in Python.
        columns: columns of a table that become inputs; all but the label if None.
        label: name of the label column; found by its name, else the last, if None; False for no label.
        dtype: element type of tabular inputs, such as ``"float32"``.
        rank: this process; from torch.distributed or RANK if None. A ``sampler`` decides alone, without it.
        world_size: number of processes; from torch.distributed or WORLD_SIZE if None.
        on_error: ``"raise"`` a bad sample's error in its turn, or ``"skip"`` it, counted and listed in the report.
        memory_budget: bytes of rows a table may hold, a larger one is streamed (without it, rows are held, and the
            pictures of a column are streamed from 4 GiB on); and bytes that ``cache`` may take for pictures, by
            default half of the available memory. Arrays and Arrow buffers of the caller are read where they lie and
            do not count.
        cache: for pictures, ``"index"`` remembers where their data can be entered, so that from the second epoch on
            (and in later runs) crops skip the decoding outside of them, with the same pixels; ``"memory"`` keeps
            their files in memory, so that nothing is read again (a table's column of pictures is kept without it). The
            report's facts show hits and bytes.
        channels_last: pictures lie in memory as height, width, channel: torch gets [B, C, H, W] tensors of
            ``torch.channels_last``, NumPy [B, H, W, C] arrays. Where no Python makes the samples.
        decode: ``"exact"`` pixels as torchvision's, or ``"fast"``: JPEG pictures that are shrunk to a half or less
            are decoded at a fraction of their size.
        persistent_workers: accepted; workers always persist.
        worker_init_fn: called in each worker of the Python path; native workers run no Python.
        timeout: seconds a batch of the Python path may take; 0 for any.
        generator: torch.Generator whose initial seed replaces ``seed``.
        device: of ``zenith.torch.DataLoader``: ``"cuda"``, ``"cuda:1"`` or a ``torch.device``. Batches arrive there,
            copied from page-locked memory on a stream of their own, one ahead of the training step. None or
            ``"cpu"``: they stay in host memory.
        normalize: with a CUDA ``device``, (mean, std) per channel as torchvision's Normalize takes them: pictures
            travel as uint8 and become normalised float32 on the device. ``transform`` leaves them uint8 (PILToTensor
            at its end).

    Raises:
        SourceError: the source cannot be read as data.
        ConfigError: arguments that make no sense, alone or together.
        PluginError: a plugin cannot be loaded, or fails on the first samples.
    """

    _module: ClassVar[str] = "numpy"
    _on_device: OnDevice | None = None
    """What copies batches to the device, once the first iteration has begun."""

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
        plugins: Sequence[Any] | None = None,
        columns: Sequence[str] | None = None,
        label: str | bool | None = None,
        dtype: Any = None,
        rank: int | None = None,
        world_size: int | None = None,
        on_error: str = "raise",
        memory_budget: int | None = None,
        cache: str | None = None,
        channels_last: bool = False,
        decode: str = "exact",
        persistent_workers: bool = True,
        worker_init_fn: Callable[[int], Any] | None = None,
        timeout: float = 0,
        generator: Any = None,
        device: Any = None,
        normalize: Any = None,
    ) -> None:
        del persistent_workers
        # A second loader like this one is made of them.
        plugins, columns, normalize = kept(plugins), kept(columns), kept(normalize)
        self._arguments = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        batch_size = whole_number("batch_size", batch_size, 1)
        num_workers = whole_number_or_none("num_workers", num_workers)
        prefetch_factor = whole_number_or_none("prefetch_factor", prefetch_factor, 1)
        shuffle, drop_last = bool(shuffle), bool(drop_last)
        _check_samplers(batch_size, shuffle, sampler, batch_sampler, drop_last, (rank, world_size))
        self.dataset = source
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.num_workers = _core.processors() if num_workers is None else num_workers
        self.prefetch_factor = prefetch_factor or 1
        self.pin_memory = pin_memory
        self._device = self._checked_device(device, normalize)
        self.notes: list[str] = []
        # Batches for a device are page-locked where they are made, not by a copy within next().
        refusal = self._cannot_pin() if pin_memory and self._device is None else None
        self._pin = pin_memory and refusal is None and self._device is None
        if refusal is not None:
            self.notes.append(refusal)
        self._weights = sampler if isinstance(sampler, WeightedSampler) else None
        given: Any = batch_sampler if batch_sampler is not None else None if self._weights else sampler
        self._listed = None if given is None else ListedOrder(given, batches=batch_sampler is not None)
        ranks = rank_and_world(rank, world_size) if self._listed is None else (0, 1)
        self._order = OrderOptions(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=int(generator.initial_seed()) % (1 << 63)
            if generator is not None
            else whole_number("seed", seed),
            rank=ranks[0],
            world_size=ranks[1],
            drop_last=drop_last,
            draws=self._weights.num_samples if self._weights else None,
        )
        self._plan: Plan = plan_source(
            source,
            SourceOptions(
                columns=column_names(columns),
                label=label_choice(label),
                dtype=None if dtype is None else dtype_name(dtype),
                on_error=one_of("on_error", on_error, ("raise", "skip")),
                memory_budget=whole_number_or_none("memory_budget", memory_budget),
                cache=one_of("cache", cache, (None, "index", "memory")),
                threads=max(1, self.num_workers),
                decode=one_of("decode", decode, ("exact", "fast")),
            ),
            Behind(
                transform=transform_or_none(transform),
                plugins=plugin_list(plugins),
                target_transform=callable_or_none("target_transform", target_transform),
                collate_fn=callable_or_none("collate_fn", collate_fn),
                array_module=self._module,
                channels_last=bool(channels_last),
                seed=self._order.seed,
            ),
        )
        if self._weights is not None and len(self._weights.weights) != self._plan.samples:
            raise ConfigError(f"{len(self._weights.weights)} weights for {self._plan.samples} samples")
        self.notes += self._plan.notes
        if self._plan.filters is not None:
            _check_filters(self._plan.filters, rank_and_world(rank, world_size)[1], batch_sampler)
        self._note_what_is_slower()
        self._channels_last = bool(channels_last)
        self._python_options = {
            "worker_init_fn": callable_or_none("worker_init_fn", worker_init_fn),
            "timeout": seconds("timeout", timeout) or None,
        }
        if self._plan.native is not None:
            self.notes += [
                f"{name} has no effect: batches are made by native threads, which run no Python"
                for name, value in self._python_options.items()
                if value is not None
            ]
        self._skip = on_error == "skip"
        if self._pin and self._plan.native is not None:
            self.notes.append("pin_memory: each batch is copied into page-locked memory within next()")
        self._engine: Engine | None = None
        self._account = Account(self._unstarted())
        self._track = _core.Track()
        # What is ahead on its way to a device is not yet the loader's place.
        self._host_track = self._track if self._device is None else _core.Track()
        self._next = Place(0, 0)
        self._resumed = False
        self._resume_digest: str | None = None
        self._drawn: dict[int, Drawn] = {}
        """What the user's sampler gave to each iterator in use."""
        self._largest = 1

    def _note_what_is_slower(self) -> None:
        self._note_scattered_reads()
        self._note_fewer_threads()

    def _note_scattered_reads(self) -> None:
        """Says so where an order by the user's choice visits the blocks of a streamed table as it comes."""
        native = self._plan.beneath if self._plan.native is None else self._plan.native
        if native is not None and native.streamed and (self._weights or self._listed):
            self.notes.append(
                "the table is streamed, and a sampler's order knows nothing of its row groups: nearly every row may "
                "decode one again; a memory_budget that holds the table avoids it"
            )

    def _note_fewer_threads(self) -> None:
        """Says so where more threads were asked for than are started."""
        if self._plan.native is None:
            return
        started = _core.worker_threads(self.num_workers)
        if started < self.num_workers:
            threads = "1 thread" if started == 1 else f"{started} threads"
            self.notes.append(
                f"num_workers={self.num_workers}: {threads}, as many as this process may use at once"
            )

    # -- what a subclass says

    @staticmethod
    def _batches(native: _core.Loader, start: Start, pin: bool, channels_last: bool) -> HostBatches:
        """Iterates over a native loader in the subclass's kind of arrays.

        Args:
            native: the loader.
            start: where its iterator begins.
            pin: whether they are to be page-locked.
            channels_last: whether pictures come as [B, H, W, C].
        """
        raise TypeError(
            "zenith.DataLoader and zenith.torch.DataLoader say what batches are made of; this class does not"
        )

    @staticmethod
    def _checked_device(device: Any, normalize: Any) -> DeviceWanted | None:
        """The device that batches go to; None for host memory.

        Raises:
            ConfigError: there is no such device, or ``normalize`` makes no sense.
        """
        raise TypeError(
            "zenith.DataLoader and zenith.torch.DataLoader know their devices; this class does not"
        )

    def _cannot_pin(self) -> str | None:
        """Why memory cannot be page-locked for an accelerator; None where it can."""
        raise TypeError(
            "zenith.DataLoader and zenith.torch.DataLoader know their memory; this class does not"
        )

    # -- iteration

    def __len__(self) -> int:
        if self._plan.filters is not None:
            raise TypeError(
                f"this {type(self).__name__} has no len(): {self._plan.filters} may drop or split samples, so the "
                "number of batches is known only when they have been made"
            )
        if self._listed is not None:
            given = self.batch_sampler if self.batch_sampler is not None else self.sampler
            size = len(given)
            if self.batch_sampler is not None:
                return size
            return size // self.batch_size if self.drop_last else -(-size // self.batch_size)
        return self._started().steps_from(Place(self._next.epoch, 0))

    def __iter__(self) -> Iterator[Any]:
        place = self._next
        if self._listed is not None:
            self._draw(self._listed, place.epoch)
        batches: Iterator[Any] = self._on_its_way(self._started().begin(place, self._listed), place)
        if self._listed is not None:
            self._drawn[self._track.newest()] = self._listed.drawn
            concerned = self._track.concerned()
            self._drawn = {number: drawn for number, drawn in self._drawn.items() if number in concerned}
        self._next = Place(place.epoch + 1, 0)
        self._resumed, self._resume_digest = False, None
        return batches

    def _on_its_way(self, batches: HostBatches, place: Place) -> Iterator[Any]:
        """The batches where they were asked for."""
        if self._device is None:
            return batches
        if self._on_device is None:
            self._on_device = self._device.copies()
        return self._on_device(batches, self._track, place)

    def _draw(self, listed: ListedOrder, epoch: int) -> None:
        """Asks the user's sampler for an epoch, and makes room for the largest of its batches."""
        listed.set_epoch(epoch)
        listed.draw(self._plan.samples)
        if self._resume_digest is not None:
            listed.drawn.check(self._resume_digest)
        largest = listed.largest()
        if largest > self._largest:
            self._largest = largest
            if self._plan.native is not None:
                # Iterators in use keep the old engine, which ends with them.
                self._engine = None

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration epoch ``epoch`` (0 or more), from its beginning.

        Right after :meth:`load_state_dict`, the epoch that the state is in keeps the state's place, so that a loop
        over epochs that names each one can be resumed.
        """
        epoch = whole_number("epoch", epoch)
        if self._resumed and epoch == self._next.epoch:
            return
        self._next = Place(epoch, 0)
        self._resumed, self._resume_digest = False, None
        self._track.clear()

    def _started(self) -> Engine:
        if self._engine is None:
            self._engine = self._build()
            self._account.follow(self._engine.counters)
        return self._engine

    def _unstarted(self) -> Counters:
        """What there is to say of a loader that has not begun."""
        native = self._plan.native
        if native is None:
            named = getattr(self._plan.dataset, "zenith_plugins", None) or ()
            return Counters(
                workers=self.num_workers,
                stages={"python": 0.0, "transform": 0.0},
                plugins=plugin_counters((plugin.name, 0, 0, 0, 0) for plugin in named),
            )
        stages: dict[str, float] = dict.fromkeys(("read", "decode", "transform", "room"), 0.0)
        workers = _core.worker_threads(self.num_workers)
        plugins = plugin_counters(native.plugins)
        return Counters(workers=workers, stages=stages, plugins=plugins, facts=dict(native.facts))

    def _build(self) -> Engine:
        plan = self._plan
        if plan.native is not None:
            return NativeEngine(
                plan.native,
                self._order,
                self._host_track,
                workers=self.num_workers,
                prefetch=self.prefetch_factor,
                skip=self._skip,
                largest_batch=None if self.batch_sampler is None else self._largest,
                weights=self._weights,
                iterate=partial(type(self)._batches, pin=self._pin, channels_last=self._channels_last),
                locked_for=None if self._device is None else self._device.index,
            )
        return PythonEngine(
            plan.dataset,
            plan.samples,
            self._order,
            self._host_track,
            weights=self._weights,
            beneath=plan.beneath,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            collate_fn=plan.collate_fn,
            pin_memory=self._pin or self._device is not None,
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

        With several iterators in use at once it is the place of the newest of them.

        It does not depend on the rank: taken on any rank after the same number of batches, it restores every rank of
        any world size.
        """
        marked = self._track.place()
        place = self._next if marked is None else Place(*marked)
        state = {
            "version": _STATE_VERSION,
            "epoch": place.epoch,
            "cursor": place.cursor,
            "seed": self._order.seed,
            "shuffle": self._order.shuffle,
            "samples": self._plan.samples,
            "fingerprint": self._plan.fingerprint,
            "order": self._order_kind(),
            "drop_last": self._order.drop_last,
        }
        if place.part > 0:
            state |= {"part": place.part, "splitting": self._plan.splitting}
        if self._listed is not None and place[1:] > (0, 0):
            state["digest"] = self._resume_digest if marked is None else self._drawn_at_place().digest()
        return state

    def _drawn_at_place(self) -> Drawn:
        """The user's order in which the loader's place is."""
        assert self._listed is not None
        for number in self._track.concerned():
            # A signal handler may ask between the beginning of an iterator and the note of its order.
            return self._drawn.get(number, self._listed.drawn)
        return self._listed.drawn

    def _order_kind(self) -> str:
        """In words, what decides the order; two loaders in which it is equal go through an epoch in the same way."""
        if self._listed is not None:
            return f"that of a {self._listed.kind}"
        if self._weights is not None:
            return f"{self._order.draws} draws by weights {self._weights.digest()}"
        if not self._order.shuffle:
            return "as stored"
        if self._plan.window is None:
            return "shuffled"
        return f"shuffled in windows of {self._plan.window} samples, which memory_budget decides"

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a saved place; the next iteration begins with the batch that would have come next.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            ResumeError: the state belongs to other data, another seed or another version or, in the middle of an
                epoch, to another order; the message says which.
        """
        if not isinstance(state, dict) or "version" not in state:
            raise ResumeError(f"cannot resume: this is not a loader's state: {state!r:.200}")
        if state["version"] != _STATE_VERSION:
            raise ResumeError(
                f"cannot resume: the state has version {state['version']}, this Zenith reads {_STATE_VERSION}"
            )
        where = {name: state.get(name, 0 if name == "part" else None) for name in Place._fields}
        for name, value in where.items():
            if type(value) is not int or value < 0:
                raise ResumeError(f"cannot resume: the state's {name} is {value!r}, not a whole number")
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
        # At the beginning of an epoch nothing depends on the order of the one before.
        place = Place(**where)
        inside = place[1:] > (0, 0)
        mine = {"order": self._order_kind(), "drop_last": self._order.drop_last} if inside else {}
        for name, value in mine.items():
            if state.get(name) != value:
                raise ResumeError(
                    f"cannot resume in the middle of an epoch: {name} differs (was {state.get(name)}, is {value})"
                )
        if place.part > 0 and (
            self._plan.splitting is None or state.get("splitting") != self._plan.splitting
        ):
            raise ResumeError(
                "cannot resume inside of a split sample: the plugins have changed since "
                f"({self._plan.filters or 'none'} here), their modules or configurations, or the transform before them "
                f"(splitting was {state.get('splitting')}, is {self._plan.splitting})"
            )
        self._next = place
        self._resumed = True
        self._resume_digest = state.get("digest")
        self._track.clear()

    # -- account

    def report(self, oracle: Callable[[Any], Any] | None = None) -> Report:
        """An account of what the loader did and what limits it, over everything since its construction.

        Args:
            oracle: the training step, called with a batch; measures the oracle ratio with a second loader like this
                one, some seconds long.
        """
        report = Report.of(self._account.total(), self.notes)
        if oracle is not None:
            report.oracle_ratio = oracle_ratio(self._twin(), oracle)
        return report

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self._arguments), self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)

    def _twin(self) -> Loader:
        for name in ("source", "sampler", "batch_sampler"):
            if isinstance(self._arguments[name], Iterator):
                raise ConfigError(
                    f"{name} is an iterator, which a second loader like this one would use up; a list, or an object "
                    "that can be iterated over again, works with report(oracle=...)"
                )
        return type(self)(**self._arguments)

    def close(self) -> None:
        """Stops the workers.

        Batches that were handed out stay valid, place and report are kept. Iterators in use raise
        :class:`zenith.LoaderClosedError`; the next iteration starts workers anew.
        """
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
            self._account.settle(engine.counters)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _rebuilt(kind: type[Loader], arguments: dict[str, Any]) -> Loader:
    return kind(**arguments)


def _check_samplers(
    batch_size: int,
    shuffle: bool,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
    ranks: tuple[Any, Any],
) -> None:
    iterable_or_none("batch_sampler", batch_sampler)
    given = iterable_or_none("sampler", None if isinstance(sampler, WeightedSampler) else sampler)
    if (given is not None or batch_sampler is not None) and ranks != (None, None):
        raise ConfigError(
            "a sampler decides alone which samples this rank reads: give rank and world_size to the sampler, as "
            "torch's DistributedSampler takes them, and not to the loader"
        )
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ConfigError(
            "batch_sampler decides alone: leave batch_size, shuffle, sampler and drop_last at their defaults"
        )
    if sampler is not None and shuffle:
        raise ConfigError("sampler decides the order: leave shuffle at False")


def _check_filters(filters: str, world_size: int, batch_sampler: Any) -> None:
    """Refuses what plugins that change the number of samples cannot be combined with."""
    if world_size > 1:
        raise ConfigError(
            f"{filters} may drop or split samples, which cannot be used on {world_size} ranks: they would get unequal "
            "numbers of batches, and the ranks with more would wait for ever; filter the data beforehand, or give each "
            "rank data of its own with rank=0, world_size=1 and stop all ranks after the same number of steps"
        )
    if batch_sampler is not None:
        raise ConfigError(
            f"batch_sampler says which samples a batch holds, but {filters} may drop or split some; "
            "give sampler= and batch_size= instead"
        )
