"""A cluster at one moment: its nodes with their GPUs, its queues and users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU of a node.

    Attributes:
        numa: the NUMA node it hangs on.
        nvlink: the group of GPUs that NVLink joins.
        model: what it is called; empty where that is not known.
        memory_mib: its memory in MiB, or None where that is not known.
    """

    numa: int
    nvlink: int
    model: str
    memory_mib: int | None


@dataclass(frozen=True)
class IllGpu:
    """A GPU on which nothing new is placed.

    Attributes:
        gpu: its number on the node.
        reason: what its driver says; empty where it says nothing.
    """

    gpu: int
    reason: str


@dataclass(frozen=True)
class NodeSpec:
    """What a node has.

    Attributes:
        rack: its rack; empty where it has none.
        cpus: processors.
        memory_mib: memory in MiB.
        gpus: its GPUs; their numbers are their places.
    """

    rack: str
    cpus: int
    memory_mib: int
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
        id: its number.
        name: its name.
        rack: its rack; empty where it has none.
        contact: whether it is heard: ``"up"``, ``"silent"``, ``"lost"``.
        drained: it takes no new work.
        cpus, cpus_used: processors, and how many are in use.
        memory_mib, memory_used_mib: memory in MiB, and how much is in use.
        gpus: its GPUs; their numbers are their places.
        gpus_used: numbers of the GPUs in use.
        gpus_ill: numbers of the GPUs that failed.
        ill: why they are that.
        jobs: numbers of the jobs on it.
        next: what it has become, with other GPUs than before, while something still holds some of those: nothing new is
            placed on it until nothing does. None otherwise.
    """

    id: int
    name: str
    rack: str
    contact: str
    drained: bool
    cpus: int
    cpus_used: int
    memory_mib: int
    memory_used_mib: int
    gpus: tuple[Gpu, ...]
    gpus_used: tuple[int, ...]
    gpus_ill: tuple[int, ...]
    ill: tuple[IllGpu, ...]
    jobs: tuple[int, ...]
    next: NodeSpec | None


@dataclass(frozen=True)
class Queue:
    """A queue.

    Attributes:
        name: its name.
        gpus_used: GPUs that its jobs hold.
        guarantee: GPUs that it can have whenever it wants.
        limit: GPUs that it may have at most, or None.
        weight: its share relative to others.
    """

    name: str
    gpus_used: int
    guarantee: int
    limit: int | None
    weight: float


@dataclass(frozen=True)
class User:
    """A user.

    Attributes:
        name: their name.
        gpus_used: GPUs that their jobs hold.
        limit: GPUs that they may have at most, or None.
        weight: their share relative to others.
    """

    name: str
    gpus_used: int
    limit: int | None
    weight: float


@dataclass(frozen=True)
class Cluster:
    """The cluster at one moment.

    Attributes:
        version: the scheduler's version.
        started_ms: when the scheduler was started, in milliseconds since 1970.
        nodes: every node that ever joined.
        queues: its queues.
        users: its users.
        counts: jobs by state, for each state that has any.
    """

    version: str
    started_ms: int
    nodes: tuple[Node, ...]
    queues: tuple[Queue, ...]
    users: tuple[User, ...]
    counts: dict[str, int]

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(len(node.gpus) for node in self.nodes)

    @property
    def gpus_used(self) -> int:
        """GPUs in use."""
        return sum(len(node.gpus_used) for node in self.nodes)


def cluster_of(told: dict[str, Any]) -> Cluster:
    """A cluster as the scheduler tells of it."""
    nodes = tuple(map(_node, told.pop("nodes")))
    queues = tuple(Queue(**queue) for queue in told.pop("queues"))
    users = tuple(User(**user) for user in told.pop("users"))
    return Cluster(**told, nodes=nodes, queues=queues, users=users)


def _node(told: dict[str, Any]) -> Node:
    gpus = tuple(Gpu(**gpu) for gpu in told.pop("gpus"))
    ill = tuple(IllGpu(**gpu) for gpu in told.pop("ill"))
    lists: dict[str, Any] = {name: tuple(told.pop(name)) for name in ("gpus_used", "gpus_ill", "jobs")}
    then = told.pop("next")
    if then is not None:
        then = NodeSpec(**{**then, "gpus": tuple(Gpu(**gpu) for gpu in then["gpus"])})
    return Node(**told, **lists, gpus=gpus, ill=ill, next=then)


__all__ = ["Cluster", "Gpu", "IllGpu", "Node", "NodeSpec", "Queue", "User", "cluster_of"]
