"""The order of samples: which argument decides it, and the samplers of Zenith's own."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np

from ._errors import ConfigError, ResumeError
from ._numbers import whole_number

MOST_DRAWN = 1 << 24
"""Indices (and batches) that a sampler without a length may give in an epoch, or 16 times the samples if that is
more. An epoch of a user's own order is drawn at its beginning, so it has to end."""


class WeightedSampler:
    """Draws samples with replacement, in proportion to their weights; another draw each epoch, exact on resume.

    Args:
        weights: one finite, non-negative weight per sample; any sequence or array of shape [N].
        num_samples: draws per epoch; the number of weights if None.
    """

    def __init__(self, weights: Sequence[float] | Any, num_samples: int | None = None) -> None:
        try:
            given = np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError):
            raise ConfigError(f"weights must be numbers, one per sample, not {weights!r:.200}") from None
        if given.ndim != 1:
            raise ConfigError(f"weights must have the shape [N], not {list(given.shape)}")
        bad = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
        if len(bad):
            raise ConfigError(f"weight {bad[0]} is {given[bad[0]]}; weights must be finite and not negative")
        if not 0 < given.sum() < np.inf:
            raise ConfigError("weights must have a positive, finite sum")
        self.weights: list[float] = given.tolist()
        self.num_samples = len(given) if num_samples is None else whole_number("num_samples", num_samples, 1)

    def __len__(self) -> int:
        return self.num_samples

    def digest(self) -> str:
        """A digest of the weights, by which a resumed run knows them again."""
        return hashlib.sha256(np.asarray(self.weights).tobytes()).hexdigest()[:16]


class Drawn:
    """One epoch as a user's sampler gave it.

    Args:
        order: indices, one after the other.
        ends: where each batch ends among them; None where Zenith cuts.
    """

    def __init__(self, order: Sequence[int] = (), ends: list[int] | None = None) -> None:
        self.order = order
        self.ends = ends
        self._digest: str | None = None

    def digest(self) -> str:
        """A digest of the epoch's order, by which a resumed run knows that its sampler repeats itself."""
        if self._digest is None:
            text = ",".join(map(str, self.order)) + "|" + ",".join(map(str, self.ends or ()))
            self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._digest

    def check(self, digest: str) -> None:
        """Refuses an order other than the one a state was taken in.

        Raises:
            ResumeError: the sampler gave another order.
        """
        if digest != self.digest():
            raise ResumeError(
                "cannot resume: the sampler gave another order than in the saved run; seed it by the epoch "
                "(set_epoch), or use shuffle=True or zenith.WeightedSampler, which repeat exactly"
            )


class ListedOrder:
    """An epoch's order as the user's ``sampler`` or ``batch_sampler`` gives it."""

    def __init__(self, sampler: Iterable[Any], *, batches: bool) -> None:
        self._sampler = sampler
        self._batches = batches
        self.drawn = Drawn()

    @property
    def kind(self) -> str:
        """The argument that gave the order."""
        return "batch_sampler" if self._batches else "sampler"

    def draw(self, samples: int) -> None:
        """Asks the sampler for one epoch over ``samples`` samples.

        Raises:
            ConfigError: it gives an index that no sample can have, or does not come to an end.
        """
        most = room = max(MOST_DRAWN, 16 * samples)
        if hasattr(self._sampler, "__len__"):
            most = max(most, len(self._sampler))  # type: ignore[arg-type]
            room = (
                sys.maxsize - 1 if self._batches else most
            )  # a number of batches says nothing of their sizes
        order, ends, ended = array("q"), [0], True
        try:
            for batch in islice(self._sampler, most + 1) if self._batches else (self._sampler,):
                room_here = min(most, room - len(order))
                order.extend(map(int, islice(batch, room_here + 1)))
                ended = len(order) - ends[-1] <= room_here and len(ends) <= most
                ends.append(len(order))
                if not ended:
                    break
        except OverflowError:
            raise ConfigError(f"the {self.kind} gave an index beyond 64 bits") from None
        if not ended:
            raise ConfigError(
                f"the {self.kind} gave more than {most} indices or batches and does not end; an epoch has to: give the "
                "sampler an end, such as itertools.islice, or __len__ where that many are meant"
            )
        if order and min(order) < 0:
            raise ConfigError(f"the {self.kind} gave index {min(order)}; samples are counted from 0")
        cuts = [end for before, end in pairwise(ends) if end > before]
        self.drawn = Drawn(order, cuts if self._batches else None)

    def largest(self) -> int:
        """Samples in the largest batch that the user cut; 1 where Zenith cuts."""
        ends = self.drawn.ends or []
        return max((end - begin for begin, end in zip([0, *ends], ends, strict=False)), default=1)

    def set_epoch(self, epoch: int) -> None:
        """Tells the sampler the epoch, as DistributedSampler wants it."""
        for target in (self._sampler, getattr(self._sampler, "sampler", None)):
            if hasattr(target, "set_epoch"):
                target.set_epoch(epoch)  # type: ignore[union-attr]
