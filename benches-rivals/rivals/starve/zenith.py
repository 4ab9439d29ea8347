"""The picture loader of the same name, followed by a training step."""

from rivals.pictures.zenith import VERSIONS, open_loader

__all__ = ["VERSIONS", "open_loader"]
