"""The models that both sides train, and the steps they take. Nothing here knows where batches come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

PICTURE_SIZE = 224
# ImageNet's, as every tutorial has them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture_model(classes: int) -> nn.Module:
    """A small convolutional network for [B, 3, 224, 224] float32; about 65,000 parameters."""

    def block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    layers = [*block(3, 16, 5, 2), *block(16, 32, 3, 2), *block(32, 64, 3, 2), *block(64, 64, 3, 2)]
    return nn.Sequential(nn.AvgPool2d(2), *layers, _Pool(), nn.Linear(128, classes))


class _Pool(nn.Module):
    """The largest and the mean value of each channel, side by side."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return torch.cat([planes.amax((2, 3)), planes.mean((2, 3))], dim=1)


def table_model(features: int, classes: int) -> nn.Module:
    """A perceptron with one hidden layer for [B, features] float32."""
    return nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


def transforms(train: bool) -> Any:
    """torchvision's usual ImageNet transforms, their crops larger than usual; the same goes to both loaders."""
    from torchvision.transforms import v2

    crop = (
        [v2.RandomResizedCrop(PICTURE_SIZE, scale=(0.35, 1.0)), v2.RandomHorizontalFlip()]
        if train
        else [v2.Resize(256), v2.CenterCrop(PICTURE_SIZE)]
    )
    return v2.Compose([*crop, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


class Trainer:
    """A model with its optimizer.

    Args:
        model: made under a fixed seed, so that both sides begin with the same weights.
        steps: steps of the whole run, for the learning rate's one cycle.
        rate: the learning rate's peak.
    """

    def __init__(self, model: nn.Module, steps: int, rate: float) -> None:
        self.model = model
        self._optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, rate, total_steps=steps + 1)
        self._left = steps

    def step(self, batch: Any) -> None:
        """One step of training on (inputs, labels)."""
        inputs, labels = batch
        self._optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.model(inputs), labels).backward()
        self._optimizer.step()
        if self._left > 0:
            self._left -= 1
            self._schedule.step()

    def accuracy(self, batches: Iterable[Any]) -> float:
        """The part of held-out samples that the model names rightly, 0 to 1."""
        right = seen = 0
        self.model.eval()
        with torch.inference_mode():
            for inputs, labels in batches:
                right += int((self.model(inputs).argmax(1) == labels).sum())
                seen += len(labels)
        self.model.train()
        return right / seen
