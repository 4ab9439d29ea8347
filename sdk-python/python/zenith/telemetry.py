"""Where the time of a training loop goes: ``zenith.telemetry.steps`` around it, ``zenith.report()`` behind it.

Five numbers, none of which stands for another: time blocked in ``next()``, gaps between steps on the device, activity
of its multiprocessors, use of its arithmetic (MFU), and the oracle ratio. A number that this machine or this run does
not have is None, with a reason. Nothing is sampled before ``steps`` is entered, and nothing after it is left.
"""

from __future__ import annotations

import json
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from . import _core
from ._errors import ConfigError, MachineError
from ._oracle import oracle_ratio
from ._run_report import Activity, RunReport, Spread, Timeline

PENDING = 256
"""Steps whose device times are waited for; what a device leaves unanswered longer is not counted."""

_entered: list[Steps] = []
"""The steps entered last, and no others."""


class DeviceMarks(Protocol):
    """Marks on a device's stream that have a time."""

    name: str

    def mark(self) -> Any:
        """A mark behind everything asked of the stream so far."""
        ...

    def is_reached(self, mark: Any) -> bool:
        """Whether the device has come to it. Does not wait."""
        ...

    def wait(self, mark: Any) -> None:
        """Blocks until the device has come to it."""
        ...

    def nanoseconds(self, earlier: Any, later: Any) -> int:
        """The device's time between two marks that it has reached."""
        ...


class _CudaMarks:
    """Events of ``torch.cuda`` on the current stream."""

    def __init__(self, cuda: Any, device: Any) -> None:
        self._cuda = cuda
        self.device = device
        self.name = f"{device}: {cuda.get_device_name(device)}"

    def mark(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self.device))
        return event

    def is_reached(self, mark: Any) -> bool:
        return mark.query()

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def nanoseconds(self, earlier: Any, later: Any) -> int:
        return max(0, round(earlier.elapsed_time(later) * 1e6))


def cuda_address(device: Any) -> str | None:
    """The PCI address of a ``torch.device``, as the kernel writes it; None where torch does not tell."""
    facts = sys.modules["torch"].cuda.get_device_properties(device)
    parts = [getattr(facts, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
    if None in parts:
        return None
    domain, bus, number = parts
    return f"{domain:04x}:{bus:02x}:{number:02x}.0"


class Steps:
    """Measures a training loop. Made by :func:`steps`; iterate over it in the place of the loader."""

    def __init__(
        self,
        batches: Iterable[Any],
        *,
        flops_per_step: float | None = None,
        peak_flops: float | None = None,
        device: Any = None,
        every: float = 0.2,
        marks: DeviceMarks | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        for name, value in (("flops_per_step", flops_per_step), ("peak_flops", peak_flops)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}={value}: a number above 0 would work")
        self._batches: Iterable[Any] | None = batches
        self._alive = _reference(batches)
        self._flops, self._peak = flops_per_step, peak_flops
        self._every = every
        self._clock = clock
        self._account = _core.Steps()
        self._origin = clock()
        self._reasons: dict[str, str] = {}
        self._marks = marks
        self._asked_device = device
        self._pending: deque[tuple[int, Any, Any, Any]] = deque()
        self._unanswered = 0
        self._activity: _core.Activity | None = None
        self._activity_origin = self._origin
        self._seen: Activity | None = None
        self._loader_report: Any = None
        self._oracle: float | None = None

    def __enter__(self) -> Steps:
        _entered[:] = [self]
        self._origin = self._clock()
        if self._marks is None:
            found = _cuda_marks(self._asked_device)
            if isinstance(found, str):
                self._reasons |= {"gap": found, "activity": found}
            else:
                self._marks = found
                self._watch(cuda_address(found.device))
        else:
            self._reasons["activity"] = "the device's marks are not CUDA's"
        return self

    def __exit__(self, *exception: object) -> None:
        if self._marks is not None and self._pending and exception[0] is None:
            # The loop is over, so that nothing is held up by waiting for its last step.
            self._marks.wait(self._pending[-1][3])
        self._resolve(last=exception[0] is None)
        self._see()
        if self._activity is not None:
            self._activity.stop()
            self._activity = None
        # The account outlives the loop, and does not keep the loader for it.
        self._loader_report = self._report_of_loader()
        self._batches = None

    def __iter__(self) -> Iterator[Any]:
        if self._batches is None:
            raise ConfigError("these steps have ended: begin with zenith.telemetry.steps(loader) anew")
        batches = iter(self._batches)
        before: Any = None
        asked = self._clock()
        for batch in batches:
            given = self._clock()
            begin = None if self._marks is None else self._marks.mark()
            try:
                yield batch
            finally:
                # Also when the loop is left by break or an exception: that step was worked on.
                end = None if self._marks is None else self._marks.mark()
                del batch
                done = self._clock()
                number = self._account.add(asked - self._origin, given - asked, done - given)
                if self._marks is not None:
                    self._pending.append((number, before, begin, end))
                    self._resolve()
                before, asked = end, done

    def report(self, oracle: Callable[[Any], Any] | None = None) -> RunReport:
        """What was measured so far.

        Args:
            oracle: the training step, called with a batch; measures the oracle ratio with a second loader like the one
                that is measured (any other iterable is iterated over anew), some seconds long.

        Raises:
            ConfigError: the loader is gone, so that there is nothing to measure the oracle ratio with.
        """
        if oracle is not None:
            self._oracle = oracle_ratio(self._again(), oracle)
        self._resolve()
        self._see()
        told = json.loads(self._account.told())
        newest = self._account.newest()
        seconds = (told["step"] or {"sum": 0})["sum"] / 1e9
        mfu, reasons = self._mfu(told)
        reasons = self._reasons | reasons
        if self._oracle is None:
            reasons["oracle_ratio"] = "not measured; ask report(oracle=step)"
        if told["gap"] is None and "gap" not in reasons:
            reasons["gap"] = "fewer than two steps were answered by the device"
        if self._unanswered:
            reasons["unanswered"] = (
                f"the device left {self._unanswered} steps unanswered; they are not in its numbers"
            )
        return RunReport(
            steps=told["steps"],
            seconds=seconds,
            first_wait_seconds=told["first_wait"] / 1e9,
            wait=Spread.of(told["wait"]),
            wait_fraction=told["wait_fraction"],
            step=Spread.of(told["step"]),
            gap=Spread.of(told["gap"]),
            gap_fraction=told["gap_fraction"],
            device_step=Spread.of(told["device"]),
            activity=self._seen,
            mfu=mfu,
            oracle_ratio=self._oracle,
            device=None if self._marks is None else self._marks.name,
            reasons=reasons,
            loader=self._loader_report or self._report_of_loader(),
            timeline=Timeline(newest, self._activity_origin - self._origin),
        )

    # -- parts of a report

    def _mfu(self, told: dict[str, Any]) -> tuple[float | None, dict[str, str]]:
        missing = [
            name
            for name, value in (("flops_per_step", self._flops), ("peak_flops", self._peak))
            if value is None
        ]
        if self._flops is None or self._peak is None:
            return None, {"mfu": f"give {' and '.join(missing)}"}
        # The host runs ahead of a device, so that only the device knows what its steps took.
        parts = [told["step"]] if self._marks is None else [told["device"], told["gap"]]
        nanoseconds = sum(part["sum"] for part in parts if part is not None)
        if parts[0] is None or nanoseconds <= 0:
            return None, {"mfu": "no step has ended"}
        return self._flops * parts[0]["count"] / (nanoseconds / 1e9 * self._peak), {}

    def _report_of_loader(self) -> Any:
        loader = self._alive()
        make = getattr(loader, "report", None)
        return make() if callable(make) else None

    def _again(self) -> Any:
        loader = self._alive()
        if loader is None:
            raise ConfigError("the loader that was measured is gone: keep it for report(oracle=step)")
        twin = getattr(loader, "_twin", None)
        return twin() if callable(twin) else _Entered(loader)

    # -- what a device says

    def _watch(self, pci: str | None) -> None:
        try:
            self._activity = _core.Activity(pci, self._every)
            self._activity_origin = self._clock()
        except (MachineError, ConfigError) as error:
            self._reasons["activity"] = str(error)

    def _see(self) -> None:
        if self._activity is None:
            return
        text = self._activity.seen()
        if text is not None:
            self._seen = Activity.of(json.loads(text))
            if self._seen.ended is not None:
                self._reasons["activity"] = f"sampling ended early: {self._seen.ended}"
            elif self._seen.intervals == 0:
                self._reasons["activity"] = "the run was shorter than one interval of sampling"
            else:
                self._reasons.pop("activity", None)

    def _resolve(self, last: bool = False) -> None:
        """Takes what the device has answered meanwhile; waits for nothing."""
        marks = self._marks
        if marks is None or not self._pending:
            return
        while self._pending and marks.is_reached(self._pending[0][3]):
            number, before, begin, end = self._pending.popleft()
            gap = None if before is None else marks.nanoseconds(before, begin)
            self._account.on_device(number, gap, marks.nanoseconds(begin, end))
        while len(self._pending) > PENDING or (last and self._pending):
            self._pending.popleft()
            self._unanswered += 1


class _Entered:
    """Any iterable as something that can be entered, as loaders are."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    def __enter__(self) -> _Entered:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


def _reference(batches: Iterable[Any]) -> Callable[[], Any]:
    """What gives the iterable for as long as somebody else keeps it."""
    try:
        return weakref.ref(batches)
    except TypeError:
        # Lists and such: they hold no workers, so that keeping them does no harm.
        return lambda: batches


def _cuda_marks(device: Any) -> _CudaMarks | str:
    """Marks on a CUDA device, or why there are none. Does not import torch for it."""
    torch = sys.modules.get("torch")
    if device is not None and str(device) == "cpu":
        return "the loop runs on the processor"
    if torch is None:
        return "torch is not imported, so that no device works for this loop"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return _CudaMarks(
        torch.cuda, torch.device("cuda", torch.cuda.current_device()) if device is None else device
    )


def steps(
    batches: Iterable[Any],
    *,
    flops_per_step: float | None = None,
    peak_flops: float | None = None,
    device: Any = None,
    every: float = 0.2,
) -> Steps:
    """Measures a training loop: ``with zenith.telemetry.steps(loader) as steps: for batch in steps: ...``.

    Args:
        batches: the loader, or any iterable of batches; iterated over once for each ``for`` over the steps.
        flops_per_step: floating-point operations that the model needs for a step, forwards and backwards; for MFU.
        peak_flops: what the device can do in a second, in the precision that is used; for MFU.
        device: the CUDA device that works; torch's current one if None, none with ``"cpu"``.
        every: seconds between samples of the device's activity; 0.1 is the shortest.

    Returns:
        What to enter and iterate over. Memory is bounded however long it runs: distributions of all steps, and the
        newest 4,096 one by one.

    Raises:
        ConfigError: a number that makes no sense.
    """
    return Steps(batches, flops_per_step=flops_per_step, peak_flops=peak_flops, device=device, every=every)


def report(oracle: Callable[[Any], Any] | None = None) -> RunReport:
    """The report of the steps entered last, with the loader's own report in it.

    Args:
        oracle: the training step, called with a batch; measures the oracle ratio, some seconds long.

    Raises:
        ConfigError: no steps were measured in this process.
    """
    if not _entered:
        raise ConfigError(
            "nothing was measured: put the loop into `with zenith.telemetry.steps(loader) as steps:`"
        )
    return _entered[0].report(oracle)


__all__ = ["PENDING", "DeviceMarks", "RunReport", "Steps", "report", "steps"]
