"""The same small training run with one loader or another: does the network learn the same."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2

from rivals.loader import IMAGENET_MEAN, IMAGENET_STD, versions
from rivals.protocol import Channel, Config

VERSIONS = versions("torch", "torchvision")
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


def train_transform(size: int, *, decoded: bool) -> v2.Compose:
    """Crop, flip, change colours a little, and normalise; the same object goes to every loader."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.4, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            *([] if decoded else [v2.PILToTensor()]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def network(classes: int) -> nn.Module:
    """Three strided convolutions: minutes on two cores, and not saturated at once."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)]
    return nn.Sequential(*block(3, 16), *block(16, 32), *block(32, 64), *head)


def measure(config: Config, rival: ModuleType, channel: Channel) -> dict[str, Any]:
    """Train with the rival's batches; validate always on the same tensors made by torchvision."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.workers)
    channel.mark("construct")
    pictures, answers, classes = validation(config)
    model = network(classes)
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    loader = rival.open_loader(config)
    accuracy, losses, samples = [], [], 0
    start = time.perf_counter()
    for epoch in range(config.epochs):
        model.train()
        total = 0.0
        for inputs, labels in loader.epoch(epoch):
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss) * len(labels)
            samples += len(labels)
        schedule.step()
        losses.append(total * (epoch + 1) / samples)
        model.eval()
        with torch.inference_mode():
            accuracy.append(float((model(pictures).argmax(1) == answers).float().mean()))
    seconds = time.perf_counter() - start
    channel.mark("measured")
    loader.close()
    return {
        "versions": rival.VERSIONS,
        "accuracy": accuracy,
        "loss": losses,
        "samples": samples,
        "seconds": seconds,
    }


def validation(config: Config) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Load the validation folder once, resized and normalised without chance."""
    from torchvision.datasets import ImageFolder

    transform = v2.Compose(
        [
            v2.Resize((config.size, config.size), antialias=True),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    data = ImageFolder(str(Path(config.dataset) / "val"), transform)
    pairs = [data[index] for index in range(len(data))]
    pictures = torch.stack([picture for picture, _ in pairs])
    return pictures, torch.tensor([label for _, label in pairs]), len(data.classes)
