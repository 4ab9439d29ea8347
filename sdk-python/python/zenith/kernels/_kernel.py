"""An operation with several implementations, of which each call gets the fastest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from .. import _core
from .._errors import ConfigError, KernelError
from . import _explanation, _process, _trial
from ._candidate import DEADLINE, Candidate, check_name, libraries_of, source_hash
from ._explanation import Explanation
from ._operands import Operands
from ._problem import Situation, Undecidable, situation

# Spans that each doubling of a size is cut into.
STEPS = 4


class KernelWarning(RuntimeWarning):
    """A call is done by the default because nothing could be chosen for it."""


class Kernel(_core.Dispatcher):
    """An operation. Calling it calls the candidate that was chosen for calls that look alike.

    Made by ``zenith.kernel``.

    Attributes:
        name: its name in the store.
        reference: what computes the right result in higher precision.
        tol: how far a result may be from it, as a part of the largest value; None for the element type's.
    """

    name: str
    reference: Callable[..., Any] | None
    tol: float | None

    def __init__(
        self,
        name: str,
        default: Candidate,
        *,
        key: Callable[..., dict[str, Any] | str] | None = None,
        reference: Callable[..., Any] | None = None,
        tol: float | None = None,
        steps: int | Mapping[str, int] = STEPS,
        meaning: str = "",
    ) -> None:
        check_name(name)
        self.name = name
        self._meaning = meaning
        self.reference = reference
        self.tol = tol
        self.__doc__ = default.call.__doc__
        self._key = key
        if isinstance(steps, Mapping):
            self._steps = (sorted(steps.items()), STEPS)
        else:
            self._steps = ([], steps)
        self._candidates: tuple[Candidate, ...] = (default,)
        self._sendable: dict[str, str | None] = {}
        self._warned: set[str] = set()
        _process.enroll(self)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, the default first."""
        return self._candidates

    @overload
    def register(
        self,
        name: str,
        fn: None = None,
        *,
        when: Callable[..., Any] | None = None,
        version: str = "0",
        libraries: Mapping[str, str] | Sequence[str] | None = None,
        differentiable: bool = False,
        risky: bool = False,
        deadline: float = DEADLINE,
        out: Callable[..., Any] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...

    @overload
    def register(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        when: Callable[..., Any] | None = None,
        version: str = "0",
        libraries: Mapping[str, str] | Sequence[str] | None = None,
        differentiable: bool = False,
        risky: bool = False,
        deadline: float = DEADLINE,
        out: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]: ...

    def register(
        self,
        name: str,
        fn: Callable[..., Any] | None = None,
        *,
        when: Callable[..., Any] | None = None,
        version: str = "0",
        libraries: Mapping[str, str] | Sequence[str] | None = None,
        differentiable: bool = False,
        risky: bool = False,
        deadline: float = DEADLINE,
        out: Callable[..., Any] | None = None,
    ) -> Any:
        """Adds a candidate. Only it is measured where the others were measured before.

        Args:
            name: its name among the candidates.
            fn: what takes the operation's arguments and returns its result; without it this is a decorator.
            when: whether it can do a call with the same arguments: true, or false or the reason why not. It may look at
                shapes, types, layouts and plain values.
            version: raised by its author when it changes in a way that its source does not show.
            libraries: names of libraries whose versions its measurements depend on, or names with versions. By default
                those that the function names.
            differentiable: whether autograd sees through it. Others are not used where a gradient is wanted.
            risky: whether it may hang or crash: it is then tried in a process of its own first.
            deadline: seconds that this trial may take.
            out: makes the array for the result from the arguments; ``fn`` then takes it as ``out=`` and writes into it.

        Returns:
            ``fn``, or a decorator.

        Raises:
            ConfigError: a name that is taken; a deadline that is no positive, finite number.
            KernelError: a name that is none.
        """
        if not 0 < deadline < float("inf"):
            raise ConfigError(f"deadline={deadline!r}: seconds, more than 0 and not endless, would work")
        if fn is None:
            return lambda fn: self.register(
                name,
                fn,
                when=when,
                version=version,
                libraries=libraries,
                differentiable=differentiable,
                risky=risky,
                deadline=deadline,
                out=out,
            )
        check_name(name)
        if any(candidate.name == name for candidate in self._candidates):
            raise ConfigError(f"{self.name} has a candidate {name!r} already: another name would work")
        candidate = Candidate(
            name,
            fn,
            version=version,
            source=source_hash(fn),
            libraries=libraries_of(fn) if libraries is None else libraries,
            when=when,
            differentiable=differentiable,
            risky=risky,
            deadline=deadline,
            out=out,
        )
        self.add(candidate)
        return fn

    def add(self, candidate: Candidate) -> None:
        """Adds a candidate that is one already."""
        self._candidates = (*self._candidates, candidate)
        self.forget()

    def default(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """What does a call that nothing is chosen for."""
        return self._candidates[0].direct(args, kwargs)

    def forget(self) -> None:
        """Lets calls ask the store again."""
        super().forget()

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """Why a call with these arguments is done by the candidate that does it. Measures nothing."""
        met = situation(self.name, args, kwargs, self._key, self._meaning)
        if isinstance(met, Undecidable):
            return _explanation.undecided(self.name, _name(self.default(args, kwargs)), met.reason)
        told, text = _process.selector().explain(met.problem, self._described(met, args, kwargs), self._steps)
        return _explanation.decided(self.name, told, text)

    def key(self, *args: Any, **kwargs: Any) -> str | None:
        """The key that a call with these arguments shares with calls of like speed; None if nothing can be chosen."""
        met = situation(self.name, args, kwargs, self._key, self._meaning)
        return None if isinstance(met, Undecidable) else _core.KernelSelector.key_of(met.problem, self._steps)

    def _choose(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], Callable[..., Any] | None, bool]:
        """What does a call, what does it where something wants to see every operation, and whether that may be kept."""
        met = situation(self.name, args, kwargs, self._key, self._meaning)
        if isinstance(met, Undecidable):
            return self.default(args, kwargs), None, met.lasting
        candidate = self._candidate(met, args, kwargs)
        if candidate is None:
            return self.default(args, kwargs), None, True
        # What is not torch's own sees no modes, no wrapped tensors and no tensors that are lazily negated.
        fallback = None if candidate.differentiable else self.default(args, kwargs)
        return candidate.direct(args, kwargs), fallback, True

    def _candidate(self, met: Situation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Candidate | None:
        described = self._described(met, args, kwargs)
        selector = _process.selector()
        try:
            told = selector.choose(met.problem, described, self._steps, lambda: self._operands(args, kwargs))
        except KernelError as error:
            if met.problem not in self._warned:
                self._warned.add(met.problem)
                warnings.warn(f"{self.name}: the default is called: {error}", KernelWarning, stacklevel=4)
            return None
        return self._candidates[json.loads(told)["index"]]

    def _operands(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operands:
        _process.count(keys=1)
        return Operands(self, args, kwargs, prepared=lambda: _process.count(benchmarks=1))

    def _described(
        self, met: Situation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[_trial.Described]:
        def described(candidate: Candidate) -> _trial.Described:
            return _trial.Described(
                name=candidate.name,
                version=candidate.version,
                source=candidate.source,
                libraries=candidate.versions(),
                refusal=candidate.refusal(args, kwargs, met.gradient) or self._unsendable(candidate),
                probe=(lambda: _trial.command(self, candidate, args, kwargs), candidate.deadline)
                if candidate.risky
                else None,
            )

        return [described(candidate) for candidate in self._candidates]

    def _unsendable(self, candidate: Candidate) -> str | None:
        if not candidate.risky:
            return None
        if candidate.name not in self._sendable:
            self._sendable[candidate.name] = _trial.refusal(candidate)
        return self._sendable[candidate.name]


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def kernel(
    name: str,
    *,
    key: Callable[..., dict[str, Any] | str] | None = None,
    reference: Callable[..., Any] | None = None,
    tol: float | None = None,
    steps: int | Mapping[str, int] = STEPS,
    libraries: Mapping[str, str] | Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Makes an operation of a function, which is its default candidate.

    The default is what autograd sees through, where gradients are wanted.

    Args:
        name: the operation's name in the store: letters, digits and ``_ . + : / -``.
        key: what matters of the arguments: takes them and gives a dictionary of sizes (whole numbers, which are put
            together in spans) and words, or a text that says why nothing can be chosen. By default all sizes of arrays
            and all plain values. Element types, layouts and alignment of arrays always matter.
        reference: computes the right result; called with float64 in the place of all floats. By default the function
            itself.
        tol: how far a result may be from the reference, as a part of the reference's largest value. By default 1e-4 for
            float32, 1e-10 for float64.
        steps: spans that each doubling of a size is cut into, or that by the names of sizes; 0 for each size by itself.
        libraries: as for ``Kernel.register``.

    Raises:
        KernelError: a name that is none.
    """

    def make(fn: Callable[..., Any]) -> Kernel:
        default = Candidate(
            "default",
            fn,
            source=source_hash(fn),
            libraries=libraries_of(fn) if libraries is None else libraries,
            differentiable=True,
        )
        judges = source_hash(fn if reference is None else reference)
        # What was found right and fast for another meaning says nothing of this one.
        meaning = hashlib.sha256(f"{default.source} {judges} {tol}".encode()).hexdigest()[:16]
        return Kernel(name, default, key=key, reference=reference, tol=tol, steps=steps, meaning=meaning)

    return make
