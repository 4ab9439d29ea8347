"""Batches on their way to a CUDA device: copies on a stream of their own, one batch ahead, ordered by events.

While the training step works on one batch, the next is being copied. A batch of host memory is kept until the device
is done reading it, and a tensor's device memory until the stream that uses it is done. The place of the loader is that
of the last batch handed out, however many are ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from . import _core
from ._engines import HostBatches
from ._order import Place

AHEAD = 2
"""Batches on the device at once: one in use, one on its way."""


class Copied(NamedTuple):
    """A batch whose copy was asked for.

    Attributes:
        batch: on the device.
        host: what it is copied from, kept until ``done``.
        done: the event behind the copy.
        place: the loader's place behind it.
    """

    batch: Any
    host: Any
    done: Any
    place: Place


class Copies:
    """A stream that copies batches to a device.

    Args:
        device: where to.
        normalize: (mean, std) per channel; the first tensor of a batch, of uint8 pictures, becomes float32 there.
        cuda: what has ``Stream``, ``Event``, ``stream`` and ``current_stream`` as ``torch.cuda`` has them.
    """

    def __init__(
        self,
        device: torch.device,
        normalize: tuple[list[float], list[float]] | None = None,
        cuda: Any = torch.cuda,
    ) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)
        self._normal: tuple[torch.Tensor, torch.Tensor] | None = None
        if normalize is not None:
            mean, std = (torch.tensor(values, dtype=torch.float32) for values in normalize)
            with cuda.stream(self._stream):
                # In units of bytes, so that one subtraction and one division are left.
                self._normal = (
                    (mean * 255).view(-1, 1, 1).to(device),
                    (std * 255).view(-1, 1, 1).to(device),
                )

    def begin(self, batch: Any, place: Place) -> Copied:
        """Asks for a batch's copy, behind the copies before it."""
        with self._cuda.stream(self._stream):
            moved = _over_tensors(batch, self._move)
            if self._normal is not None:
                moved = _over_first(moved, self._normalize)
            done = self._cuda.Event()
            done.record(self._stream)
        return Copied(moved, batch, done, place)

    def hand_over(self, copied: Copied) -> Any:
        """The batch, for work on the current stream: that begins behind the copy, and memory stays until its end."""
        current = self._cuda.current_stream(self._device)
        current.wait_event(copied.done)

        def used(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(current)
            return tensor

        return _over_tensors(copied.batch, used)

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._device, non_blocking=True)

    def _normalize(self, pictures: torch.Tensor) -> torch.Tensor:
        assert self._normal is not None
        mean, std = self._normal
        if pictures.dtype != torch.uint8 or pictures.dim() != 4 or len(mean) not in (1, pictures.shape[1]):
            raise TypeError(
                f"normalize is for uint8 pictures [B, {len(mean)}, H, W]; this loader gives {pictures.dtype} "
                f"{list(pictures.shape)}: end transform with PILToTensor, which leaves them uint8"
            )
        return pictures.to(torch.float32).sub_(mean).div_(std)


class DeviceBatches:
    """Iterates over batches on a device.

    Args:
        host: the batches in host memory, behind ``place``.
        track: the loader's, on which places are marked.
        place: where the iteration begins.
        copies: copies them.
    """

    def __init__(self, host: HostBatches, track: _core.Track, place: Place, copies: Copies) -> None:
        self._host = host
        self._copies = copies
        self._track = track
        self._number = track.begin(place)
        self._ahead: deque[Copied] = deque()
        self._leaving: deque[Copied] = deque()
        self._failed: BaseException | None = None
        self._ended = False

    def __iter__(self) -> DeviceBatches:
        return self

    def __next__(self) -> Any:
        while len(self._ahead) < AHEAD and not self._ended and self._failed is None:
            self._take()
        if not self._ahead:
            if self._failed is not None:
                failed, self._failed = self._failed, None
                # As from an iterator over host memory, which can be taken up again behind the failed batch.
                self._track.reach(self._number, Place(*self._host.place))
                raise failed
            self._track.end(self._number)
            raise StopIteration
        copied = self._ahead.popleft()
        batch = self._copies.hand_over(copied)
        self._keep(copied)
        self._track.reach(self._number, copied.place)
        return batch

    def _take(self) -> None:
        """Takes a batch from the host and asks for its copy; what fails, fails in its turn."""
        try:
            batch = next(self._host)
            self._ahead.append(self._copies.begin(batch, Place(*self._host.place)))
        except StopIteration:
            self._ended = True
        except Exception as error:
            self._failed = error

    def _keep(self, copied: Copied) -> None:
        """Keeps the host's memory until it was read; no more than there are batches ahead, so no loop outruns it."""
        self._leaving.append(copied._replace(batch=None))
        while self._leaving and self._leaving[0].done.query():
            self._leaving.popleft()
        while len(self._leaving) > AHEAD:
            self._leaving.popleft().done.synchronize()

    def __del__(self) -> None:
        if not hasattr(self, "_failed"):
            return
        self._track.leave(self._number)
        # The device reads host memory behind Python's back; none of it may go before.
        for copied in (*self._leaving, *self._ahead):
            copied.done.synchronize()


def _over_tensors(batch: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch with every tensor changed: in tuples, lists and dictionaries; what is no tensor stays."""
    if isinstance(batch, torch.Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {name: _over_tensors(part, change) for name, part in batch.items()}
    if isinstance(batch, tuple):
        parts = [_over_tensors(part, change) for part in batch]
        # A named tuple takes its parts one by one.
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    if isinstance(batch, list):
        return [_over_tensors(part, change) for part in batch]
    return batch


def _over_first(batch: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch with its first tensor changed."""
    done = False

    def first(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal done
        if done:
            return tensor
        done = True
        return change(tensor)

    return _over_tensors(batch, first)
