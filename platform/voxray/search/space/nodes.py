"""The forms that a space is written in, as a tree that gives plain JSON for given decisions.

A tree is walked anew for each sample. Decisions are asked for where they are needed and not before, so that one which
has no say in a sample is no part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from voxray.errors import ConfigError
from voxray.search.space.distributions import Distribution, Label, text_of

Suggest = Callable[[str, Distribution], Label]
UNMADE = object()  # stands for a value that has not been found yet


@dataclass(eq=False)
class Walk:
    """One walk through a tree.

    Attributes
    ----------
    suggest : callable
        (name, distribution) → label; is asked once for each name.
    rank : int
        2 or 3, of the networks' input.
    decisions : dict
        Name → label, of what has been asked so far.
    places : dict, optional
        Where to note the place in the file of each object that is made, by its identity.
    """

    suggest: Suggest
    spatial_dims: int
    decisions: dict[str, Label]
    places: dict[int, str] | None = None

    def ask(self, name: str, distribution: Distribution) -> Any:
        """The value of a decision."""
        if name not in self.decisions:
            self.decisions[name] = self.suggest(name, distribution)
        return distribution.value(self.decisions[name])


class Scope:
    """Names that can be used at a place, each evaluated once, where it is first used."""

    __slots__ = ("known", "lets", "outer", "path", "walk")

    def __init__(
        self, walk: Walk, path: str, lets: Mapping[str, "Form"], known: dict[str, Any], outer: "Scope | None" = None
    ) -> None:
        self.walk, self.path, self.lets, self.known, self.outer = walk, path, lets, known, outer

    def value(self, name: str) -> Any:
        """Value of the innermost name."""
        scope: Scope | None = self
        while scope is not None:
            known = scope.known
            if name in known:
                if known[name] is UNMADE:
                    raise ConfigError(f"let.{name}", "is made of itself", "Give it a value of its own")
                return known[name]
            if name in scope.lets:
                known[name] = UNMADE
                known[name] = scope.lets[name].give(scope, join(scope.path, name))
                return known[name]
            scope = scope.outer
        raise KeyError(name)


class Form(Protocol):
    """Something that gives plain JSON."""

    def give(self, scope: Scope, path: str, /) -> Any:
        """The value for the decisions of a walk; `path` names decisions that have no name of their own."""


@dataclass(frozen=True, eq=False)
class Plain:
    """A value without anything to decide."""

    value: Any

    def give(self, _scope: Scope, _path: str, /) -> Any:
        """See `Form`."""
        return self.value


@dataclass(frozen=True, eq=False)
class Decision:
    """A decision at the place where its value stands, or in a `let`."""

    distribution: Distribution

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        return scope.walk.ask(path, self.distribution)


@dataclass(frozen=True, eq=False)
class Name:
    """``"$name"``: the value of a name."""

    name: str

    def give(self, scope: Scope, _path: str, /) -> Any:
        """See `Form`."""
        return scope.value(self.name)


@dataclass(frozen=True, eq=False)
class Lookup:
    """``{"$name": {"label": …, "else": …}}``: what stands beside the label of a name."""

    name: str
    cases: Mapping[str, Form]
    place: str

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        text = text_of(scope.value(self.name))
        case = self.cases.get(text) or self.cases.get("else")
        if case is None:
            raise ConfigError(self.place, f"has no case for ${self.name} = {text}", "Add it, or a case 'else'")
        return case.give(scope, path)


@dataclass(frozen=True, eq=False)
class Product:
    """``{"times": [a, b], "at_most": c}``: a × b, but no more than c."""

    factors: tuple[Form, ...]
    limit: Form | None
    place: str

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        product: Any = 1
        for number, factor in enumerate(self.factors):
            product *= self._number(factor.give(scope, f"{path}.times[{number}]"))
        if self.limit is not None:
            product = min(product, self._number(self.limit.give(scope, f"{path}.at_most")))
        return int(product) if product == int(product) else product

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(self.place, f"wants numbers, may get {value!r}", "Correct it there")
        return value


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes along the axes; one number means the same along each."""

    form: Form

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        value = self.form.give(scope, path)
        return [value] * scope.walk.spatial_dims if type(value) is int else value


@dataclass(frozen=True, eq=False)
class Condition:
    """``{"$name": label, "$other": [label, label]}``: all names have one of their labels."""

    wanted: tuple[tuple[str, frozenset[str]], ...]

    def give(self, scope: Scope, _path: str, /) -> Any:
        """See `Form`."""
        # Not by `all`, whose generator costs more than the few names that there are.
        for name, texts in self.wanted:  # noqa: SIM110
            if text_of(scope.value(name)) not in texts:
                return False
        return True


@dataclass(frozen=True, eq=False)
class Object:
    """An object whose values are forms; in a list it may stand under a condition."""

    entries: Mapping[str, Form]
    when: Form | None
    place: str
    blank: Mapping[str, Any] = field(init=False)  # all keys in their order, with the values that are always the same
    unmade: tuple[tuple[str, Form], ...] = field(init=False)

    def __post_init__(self) -> None:
        known = {key: form.value if isinstance(form, Plain) else UNMADE for key, form in self.entries.items()}
        object.__setattr__(self, "blank", known)
        object.__setattr__(self, "unmade", tuple(each for each in self.entries.items() if known[each[0]] is UNMADE))

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        made: dict[str, Any] = {}
        self.fill(made, scope, path)
        return made

    def fill(self, made: dict[str, Any], scope: Scope, path: str) -> None:
        """Put the entries into an object that already has its place, so that unfinished work can be looked at."""
        if scope.walk.places is not None:
            scope.walk.places[id(made)] = self.place
        made.update(self.blank)
        for key, form in self.unmade:
            inner = f"{path}.{key}" if path else key
            if isinstance(form, List):
                made[key] = []
                form.fill(made[key], scope, inner)
            else:
                made[key] = form.give(scope, inner)


@dataclass(frozen=True, eq=False)
class Block:
    """``{"name": …, "repeat": n, "when": …, "let": {…}, "of": […]}``: items, n times, in the list around them."""

    name: str | None
    repeat: Form | None
    when: Form | None
    lets: Mapping[str, Form]
    items: "List"
    place: str

    def extend(self, made: list[Any], scope: Scope, path: str) -> None:
        """Put the items into the list around them; `path` is that of the list."""
        if self.repeat is None:
            self.items.fill(made, Scope(scope.walk, path, self.lets, {}, scope), path)
            return
        count = self.repeat.give(scope, path)
        if type(count) is not int or count < 0:
            raise ConfigError(f"{self.place}.repeat", f"wants a whole number, may get {count!r}", "Correct it there")
        for number in range(count):
            here = f"{path}[{number}]"
            self.items.fill(made, Scope(scope.walk, here, self.lets, {"index": number}, scope), here)


@dataclass(frozen=True, eq=False)
class List:
    """A list whose items are forms or blocks."""

    items: tuple["Form | Block", ...]

    def give(self, scope: Scope, path: str, /) -> Any:
        """See `Form`."""
        made: list[Any] = []
        self.fill(made, scope, path)
        return made

    def fill(self, made: list[Any], scope: Scope, path: str) -> None:
        """Put the items into a list that already has its place."""
        for number, item in enumerate(self.items):
            here = f"{path}[{number}]"
            if isinstance(item, Block):
                here = join(path, item.name) if item.name else here
                if item.when is None or self._holds(item.when, item.place, scope, here):
                    item.extend(made, scope, here)
            elif isinstance(item, Object):
                if item.when is None or self._holds(item.when, item.place, scope, here):
                    made.append({})
                    item.fill(made[-1], scope, here)
            elif isinstance(item, List):
                made.append([])
                item.fill(made[-1], scope, here)
            else:
                made.append(item.give(scope, here))

    def _holds(self, when: Form, place: str, scope: Scope, path: str) -> bool:
        holds = when.give(scope, join(path, "when"))
        if not isinstance(holds, bool):
            raise ConfigError(f"{place}.when", f"wants true or false, may get {holds!r}", "Correct it there")
        return holds


def join(path: str, key: str) -> str:
    """The path of a key."""
    return f"{path}.{key}" if path else key
