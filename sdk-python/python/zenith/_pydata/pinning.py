"""Page-locked batches: the slab itself is registered with CUDA, so pinning costs no copy."""

from __future__ import annotations

import sys
from typing import Any


def cuda_ready() -> bool:
    """Whether torch is loaded and finds a CUDA device."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available())


class Pinner:
    """Registers slab mappings with the CUDA driver; `cuda_ready` must be true."""

    def __init__(self) -> None:
        torch: Any = sys.modules["torch"]
        torch.cuda.init()
        self._torch = torch
        self._runtime: Any = torch.cuda.cudart()
        self._pinned: dict[int, int] = {}

    def pin(self, region: int, address: int, nbytes: int) -> None:
        """Page-lock the mapping of ``region``, once.

        Raises:
            RuntimeError: CUDA refuses; its error code is in the text.
        """
        if self._pinned.get(region) == address:
            return
        self.unpin(region)
        code = int(self._runtime.cudaHostRegister(address, nbytes, 0))
        if code != 0:
            raise RuntimeError(
                f"cudaHostRegister of {nbytes} bytes failed with error {code}; use pin_memory=False"
            )
        self._pinned[region] = address

    def unpin(self, region: int) -> None:
        """Undo `pin`, before the mapping goes."""
        address = self._pinned.pop(region, None)
        if address is not None:
            self._runtime.cudaHostUnregister(address)

    def pinned(self, view: Any) -> Any:
        """A page-locked copy of a small tensor."""
        return self._torch.empty(view.shape, dtype=view.dtype, pin_memory=True).copy_(view)


def pin_tree(batch: Any) -> Any:
    """Page-lock every tensor of a batch that was made in this process, as torch's DataLoader does."""
    from torch.utils.data._utils.pin_memory import pin_memory

    return pin_memory(batch)
