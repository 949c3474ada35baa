"""Sums of named losses as text: ``ce + 0.5*tversky(alpha=0.3, beta=0.7)``."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from geoseg.errors import ParameterError
from geoseg.models.files import nearest

PARAMETERS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "ce": {},
        "weighted_ce": {},
        "focal": {"gamma": 2.0},
        "weighted_focal": {"gamma": 2.0},
        "dice": {},
        "generalized_dice": {},
        "jaccard": {},
        "tversky": {"alpha": 0.3, "beta": 0.7},
        "lovasz": {},
    }
)
"""The losses by name, with their parameters and the papers' values for them."""

CLASS_WEIGHTED = frozenset({"weighted_ce", "weighted_focal"})
"""The losses that class weights apply to."""


@dataclass(frozen=True)
class LossTerm:
    """One loss in a weighted sum.

    Attributes:
        name: A key of :data:`PARAMETERS`.
        factor: What it is multiplied by, above 0.
        parameters: Every parameter of the loss; what is left out has its default, all finite and at least 0.

    Raises:
        ParameterError: An unknown loss or parameter, or a value out of range.
    """

    name: str
    factor: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in PARAMETERS:
            near = nearest(self.name, PARAMETERS)
            raise ParameterError(f"there is no loss {self.name!r}{near}; there are: {', '.join(PARAMETERS)}")
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise ParameterError(f"loss {self.name} has factor {self.factor}; give a finite number above 0")
        known = PARAMETERS[self.name]
        for key, value in self.parameters.items():
            if key not in known:
                raise ParameterError(f"loss {self.name} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(f"loss {self.name} has {key}={value}; give a finite number from 0 up")
        object.__setattr__(self, "parameters", MappingProxyType({**known, **self.parameters}))
        if self.name == "tversky" and not any(self.parameters.values()):
            raise ParameterError("loss tversky has alpha=0 and beta=0: no error would count; give one of them above 0")

    def __str__(self) -> str:
        """As :func:`parse_losses` reads it."""
        told = ", ".join(f"{k}={v:g}" for k, v in self.parameters.items() if v != PARAMETERS[self.name][k])
        return ("" if self.factor == 1 else f"{self.factor:g}*") + self.name + (f"({told})" if told else "")


def parse_losses(losses: str | Mapping[str, float]) -> tuple[LossTerm, ...]:
    """Read a weighted sum of losses.

    Args:
        losses: Text such as ``ce+0.5*dice`` or ``focal(gamma=3) + jaccard``, or factors by loss, such as
            ``{"ce": 1, "tversky(alpha=0.3, beta=0.7)": 0.5}``.

    Returns:
        The terms in the order given.

    Raises:
        ParameterError: No such sum, a loss named twice, or see :class:`LossTerm`.
    """
    if isinstance(losses, str):
        terms = [_term(node, losses) for node in _addends(_tree(losses))]
    else:
        terms = [LossTerm(t.name, t.factor * factor, t.parameters) for t, factor in _named(losses)]
    if not terms:
        raise ParameterError("there is no loss to minimise; give at least one, such as ce+dice")
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError(f"loss {twice[0]} stands {names.count(twice[0])} times in the sum; give it one factor")
    return tuple(terms)


def _named(factors: Mapping[str, float]) -> Iterator[tuple[LossTerm, float]]:
    for text, factor in factors.items():
        yield _term(_tree(text), text), factor


def _tree(text: str) -> ast.expr:
    """The text as Python's grammar has it; it is looked at, never run."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _unreadable(text) from None


def _addends(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _addends(node.left)
        yield from _addends(node.right)
    else:
        yield node


def _term(node: ast.expr, text: str) -> LossTerm:
    factor = 1.0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        factor, node = _number(node.left, text), node.right
    if isinstance(node, ast.Name):
        return LossTerm(node.id, factor)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        return LossTerm(node.func.id, factor, {str(k.arg): _number(k.value, text) for k in node.keywords})
    raise _unreadable(text)


def _number(node: ast.expr, text: str) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    raise _unreadable(text)


def _unreadable(text: str) -> ParameterError:
    return ParameterError(f"{text!r} is not a sum of losses; write it as ce+0.5*dice or focal(gamma=2)+jaccard")
