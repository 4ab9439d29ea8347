"""The order of samples: which argument decides it, and the samplers of Zenith's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from ._errors import ConfigError, ResumeError


class WeightedSampler:
    """Draws samples with replacement, in proportion to their weights; another draw each epoch, exact on resume.

    Args:
        weights: one finite, non-negative weight per sample; any sequence or array of shape [N].
        num_samples: draws per epoch; the number of weights if None.
    """

    def __init__(self, weights: Sequence[float] | Any, num_samples: int | None = None) -> None:
        self.weights = [float(weight) for weight in weights]
        self.num_samples = len(self.weights) if num_samples is None else int(num_samples)
        if self.num_samples < 1:
            raise ConfigError(f"num_samples must be at least 1, not {num_samples}")

    def __len__(self) -> int:
        return self.num_samples


class ListedOrder:
    """An epoch's order as the user's ``sampler`` or ``batch_sampler`` gives it."""

    def __init__(self, sampler: Iterable[Any], *, batches: bool) -> None:
        self._sampler = sampler
        self._batches = batches
        self.order: list[int] = []
        self.ends: list[int] | None = None

    def draw(self) -> None:
        """Asks the sampler for one epoch."""
        if not self._batches:
            self.order, self.ends = [int(index) for index in self._sampler], None
            return
        self.order, ends = [], []
        for batch in self._sampler:
            self.order.extend(int(index) for index in batch)
            ends.append(len(self.order))
        self.ends = [end for i, end in enumerate(ends) if end > (ends[i - 1] if i else 0)]

    def largest(self) -> int:
        """Samples in the largest batch that the user cut; 1 where Zenith cuts."""
        ends = self.ends or []
        return max((end - begin for begin, end in zip([0, *ends], ends, strict=False)), default=1)

    def set_epoch(self, epoch: int) -> None:
        """Tells the sampler the epoch, as DistributedSampler wants it."""
        for target in (self._sampler, getattr(self._sampler, "sampler", None)):
            if hasattr(target, "set_epoch"):
                target.set_epoch(epoch)  # type: ignore[union-attr]

    def digest(self) -> str:
        """A digest of the epoch's order, by which a resumed run knows that its sampler repeats itself."""
        text = ",".join(map(str, self.order)) + "|" + ",".join(map(str, self.ends or ()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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
