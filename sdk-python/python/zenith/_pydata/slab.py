"""Shared memory of the worker processes: one sparse memfd, cut into regions, lent out as slabs.

A region has a number; its bytes begin at ``number * STRIDE`` of the file, so parent and workers agree on
where a region lies without a word, and a region may grow to any size without moving. Nothing is put in
/dev/shm. Only the parent decides which region is free; a worker writes where it is told to.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections import OrderedDict, deque
from typing import Any

STRIDE = 1 << 36
_REGIONS = 1 << 24
_PAGE = mmap.PAGESIZE
_MAP_FAILED = ctypes.c_void_p(-1).value
_FALLOC_KEEP_AND_PUNCH = 0x01 | 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def available() -> bool:
    """Whether this system has what the slabs need (Linux: memfd)."""
    return hasattr(os, "memfd_create")


def _round_up(nbytes: int) -> int:
    return max(_PAGE, (nbytes + _PAGE - 1) // _PAGE * _PAGE)


class Arena:
    """The memfd and this process's mappings of its regions.

    ``mmap.mmap`` would hold one descriptor per mapping, which a user who keeps a thousand batches cannot
    afford; hence the C library's own call.
    """

    def __init__(self, fd: int | None = None, *, keep: int | None = None) -> None:
        """Make a new arena, or adopt the descriptor of an inherited one.

        Args:
            fd: descriptor of an existing arena, owned by this object from here on.
            keep: most mappings to keep; the least recently used goes first. None keeps all.

        Raises:
            OSError: memfd_create or ftruncate was refused.
        """
        if fd is None:
            fd = os.memfd_create("zenith-batches", os.MFD_CLOEXEC)
            try:
                os.ftruncate(fd, STRIDE * _REGIONS)
            except OSError:
                os.close(fd)
                raise
        self.fd = fd
        self._keep = keep
        self._maps: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def address(self, region: int, nbytes: int) -> int:
        """Where the first ``nbytes`` of ``region`` lie in this process; maps them if need be.

        A growing region moves: addresses from earlier calls for the same region are dead when this one maps
        anew.
        """
        found = self._maps.get(region)
        if found is not None and found[1] >= nbytes:
            if self._keep is not None:
                self._maps.move_to_end(region)
            return found[0]
        if nbytes > STRIDE:
            raise MemoryError(f"batch of {nbytes} bytes is larger than a region can be ({STRIDE} bytes)")
        if found is not None:
            self.unmap(region)
        length = _round_up(nbytes)
        prot = mmap.PROT_READ | mmap.PROT_WRITE
        address = _libc.mmap(None, length, prot, mmap.MAP_SHARED, self.fd, region * STRIDE)
        if address is None or address == _MAP_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot map {length} bytes of batch memory: {os.strerror(code)}")
        self._maps[region] = (address, length)
        if self._keep is not None and len(self._maps) > self._keep:
            self.unmap(next(iter(self._maps)))
        return address

    def address_for_good(self, region: int, nbytes: int) -> int:
        """As `address`, for a region that is never unmapped and never grows."""
        address = self.address(region, nbytes)
        del self._maps[region]
        return address

    def mapped(self, region: int) -> int:
        """Bytes of ``region`` that are mapped here."""
        return self._maps.get(region, (0, 0))[1]

    def unmap(self, region: int) -> None:
        found = self._maps.pop(region, None)
        if found is not None:
            _libc.munmap(found[0], found[1])

    def punch(self, region: int) -> None:
        """Give the memory of ``region`` back to the system, for every process that maps it."""
        _libc.fallocate(
            ctypes.c_int(self.fd),
            ctypes.c_int(_FALLOC_KEEP_AND_PUNCH),
            ctypes.c_int64(region * STRIDE),
            ctypes.c_int64(STRIDE),
        )

    def write(self, region: int, data: bytes) -> None:
        """Write ``data`` at the start of ``region`` without mapping it."""
        done = 0
        view = memoryview(data)
        while done < len(data):
            done += os.pwrite(self.fd, view[done:], region * STRIDE + done)

    def read(self, region: int, nbytes: int) -> bytes:
        """The first ``nbytes`` of ``region``, copied."""
        parts: list[bytes] = []
        done = 0
        while done < nbytes:
            part = os.pread(self.fd, nbytes - done, region * STRIDE + done)
            if not part:
                raise OSError(f"batch memory ended at byte {done} of {nbytes}")
            parts.append(part)
            done += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close_fd(self) -> None:
        """Close the descriptor; mappings stay, so batches that the user holds stay valid."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def regions(self) -> list[int]:
        return list(self._maps)


class SlabPool:
    """The parent's free list over an :class:`Arena`.

    A slab is lent twice: to the workers that fill it, then (by :meth:`lease`) to the arrays that the user
    sees. When the last of those is collected, the slab is free again.
    """

    def __init__(self, arena: Arena, *, spare: int) -> None:
        """``spare``: how many free slabs keep their memory; more than that give it back to the system."""
        self.arena = arena
        self._spare = spare
        self._free: deque[int] = deque()
        self._cold: deque[int] = deque()
        self._returned: deque[int] = deque()
        self._leased: set[int] = set()
        self._next = 1  # region 0 is the control page
        self._spills: deque[int] = deque()
        self._next_spill = _REGIONS // 2
        self._closed = False
        self._pid = os.getpid()
        self.pinner: Any = None

    def take(self) -> int:
        """A region that nobody uses, warm if there is one."""
        self._collect()
        if self._free:
            return self._free.pop()
        if self._cold:
            return self._cold.pop()
        region = self._next
        self._next += 1
        if region >= _REGIONS // 2:
            raise MemoryError(f"{region} batches are alive at once")
        return region

    def take_spill(self) -> int:
        """A region for a message that is too long to send; never a slab's, so that slabs stay warm."""
        if self._spills:
            return self._spills.pop()
        self._next_spill += 1
        return self._next_spill

    def give_back_spill(self, region: int) -> None:
        self._spills.append(region)

    def give_back(self, region: int) -> None:
        """Return a region that was taken and not leased."""
        if self._closed:
            return
        if len(self._free) < self._spare:
            self._free.append(region)
        else:
            self._cool(region)
            self._cold.append(region)

    def lease(self, region: int, nbytes: int) -> ctypes.Array[ctypes.c_char]:
        """The bytes of ``region`` as a buffer owner; when it is collected, the region is free again."""
        if self.pinner is not None and self.arena.mapped(region) < nbytes:
            self.pinner.unpin(region)  # the mapping is about to move
        address = self.arena.address(region, nbytes)
        if self.pinner is not None:
            self.pinner.pin(region, address, self.arena.mapped(region))
        owner = (ctypes.c_char * nbytes).from_address(address)
        self._leased.add(region)
        weakref.finalize(owner, self._on_dropped, region).atexit = False
        return owner

    def live(self) -> int:
        """Slabs that the user's arrays still hold."""
        self._collect()
        return len(self._leased)

    def close(self) -> None:
        """Unmap what nobody holds and close the file; held slabs are unmapped with their arrays."""
        if self._closed:
            return
        self._closed = True
        self._collect()
        for region in self.arena.regions():
            if region not in self._leased:
                self._unmap(region)
        self._free.clear()
        self._cold.clear()
        self.arena.close_fd()

    # Runs wherever the last reference dies, perhaps on another thread: only an atomic append while the pool
    # is open.
    def _on_dropped(self, region: int) -> None:
        self._returned.append(region)
        if self._closed:
            self._collect()

    def _collect(self) -> None:
        while True:
            try:
                region = self._returned.popleft()
            except IndexError:
                return
            self._leased.discard(region)
            if self._closed:
                self._unmap(region)
            else:
                self.give_back(region)

    def _cool(self, region: int) -> None:
        self._unmap(region)
        # A forked copy of the parent shares the file: it must not take the memory away from the owner.
        if os.getpid() == self._pid:
            self.arena.punch(region)

    def _unmap(self, region: int) -> None:
        if self.pinner is not None:
            self.pinner.unpin(region)
        self.arena.unmap(region)
