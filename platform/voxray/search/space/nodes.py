"""The nodes of a parsed space: a tree that gives plain JSON for given decisions.

The tree is evaluated once for each sample. A decision is requested where it is first needed, so decisions without an
effect on a sample are not part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxray.errors import ConfigError
from voxray.search.space.distributions import Distribution, Label, text_of

Suggest = Callable[[str, Distribution], Label]
PENDING = object()  # a value that is not known yet
LARGEST = 2.0**53  # products are smaller, so that they are exact
MOST_REPEATS = 10_000


@dataclass(eq=False)
class Walk:
    """One evaluation of a tree.

    Attributes
    ----------
    suggest : callable
        (name, distribution) → label; called once for each name.
    spatial_dims : int
        2 or 3, of the networks' input.
    decisions : dict
        Name → label of the decisions so far.
    key_paths : dict, optional
        Filled with the key path in the space file of each object that is created, by the object's identity.
    repeats : int
        Of all blocks so far.
    """

    suggest: Suggest
    spatial_dims: int
    decisions: dict[str, Label]
    key_paths: dict[int, str] | None = None
    repeats: int = 0

    def decide(self, name: str, distribution: Distribution) -> Any:
        """The value of a decision."""
        if name not in self.decisions:
            self.decisions[name] = self.suggest(name, distribution)
        return distribution.value(self.decisions[name])


class Scope:
    """The names that are defined at a location. Each is evaluated once, where it is first used."""

    __slots__ = ("lets", "outer", "path", "values", "walk")

    def __init__(
        self, walk: Walk, path: str, lets: Mapping[str, "Form"], values: dict[str, Any], outer: "Scope | None" = None
    ) -> None:
        self.walk, self.path, self.lets, self.values, self.outer = walk, path, lets, values, outer

    def value(self, name: str) -> Any:
        """The value of the innermost definition of a name."""
        scope: Scope | None = self
        while scope is not None:
            values = scope.values
            if name in values:
                if values[name] is PENDING:
                    raise ConfigError(f"let.{name}", "circular definition", "Give it a value of its own")
                return values[name]
            if name in scope.lets:
                values[name] = PENDING
                values[name] = scope.lets[name].give(scope, join(scope.path, name))
                return values[name]
            scope = scope.outer
        raise ConfigError(f"${name}", "has no value here", "Use it inside a block with 'repeat'")


class Form:
    """A node that gives plain JSON."""

    def give(self, scope: Scope, path: str, /) -> Any:
        """The value for the decisions of a walk; decisions without a name of their own are named `path`."""
        raise NotImplementedError

    def add(self, content: list[Any], scope: Scope, path: str, number: int) -> None:
        """Add the value to the list at `path`, as its item of this number."""
        content.append(self.give(scope, f"{path}[{number}]"))


@dataclass(frozen=True, eq=False)
class Plain(Form):
    """A value without decisions."""

    value: Any

    def give(self, scope: Scope, path: str, /) -> Any:
        return self.value


@dataclass(frozen=True, eq=False)
class Decision(Form):
    """A decision in place of a value, or in a `let`."""

    distribution: Distribution

    def give(self, scope: Scope, path: str, /) -> Any:
        return scope.walk.decide(path, self.distribution)


@dataclass(frozen=True, eq=False)
class Name(Form):
    """``"$name"``: the value of a name."""

    name: str

    def give(self, scope: Scope, path: str, /) -> Any:
        return scope.value(self.name)


@dataclass(frozen=True, eq=False)
class Lookup(Form):
    """``{"$name": {"label": …, "else": …}}``: the case of the label of a name."""

    name: str
    cases: Mapping[str, Form]
    key_path: str

    def give(self, scope: Scope, path: str, /) -> Any:
        text = text_of(scope.value(self.name))
        case = self.cases.get(text) or self.cases.get("else")
        if case is None:
            raise ConfigError(self.key_path, f"has no case for ${self.name} = {text}", "Add it, or a case 'else'")
        return case.give(scope, path)


@dataclass(frozen=True, eq=False)
class Product(Form):
    """``{"times": [a, b], "at_most": c}``: a × b, but no more than c."""

    factors: tuple[Form, ...]
    limit: Form | None
    key_path: str

    def give(self, scope: Scope, path: str, /) -> Any:
        product: Any = 1
        for number, factor in enumerate(self.factors):
            product *= self._number(factor.give(scope, f"{path}.times[{number}]"))
        if self.limit is not None:
            product = min(product, self._number(self.limit.give(scope, f"{path}.at_most")))
        if not -LARGEST < product < LARGEST:
            raise ConfigError(self.key_path, f"the product may be {product:g}", "Lower its factors, or set 'at_most'")
        return int(product) if product == int(product) else product

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(self.key_path, f"expected numbers, may get {value!r}", "Correct it there")
        return value


@dataclass(frozen=True, eq=False)
class Sizes(Form):
    """Sizes along the axes; a single number applies to all of them."""

    form: Form

    def give(self, scope: Scope, path: str, /) -> Any:
        value = self.form.give(scope, path)
        return [value] * scope.walk.spatial_dims if type(value) is int else value


@dataclass(frozen=True, eq=False)
class Condition(Form):
    """``{"$name": label, "$other": [label, label]}``: all names have one of their labels."""

    labels: tuple[tuple[str, frozenset[str]], ...]

    def give(self, scope: Scope, path: str, /) -> Any:
        # A generator in `all` would take longer than the few names.
        for name, labels in self.labels:  # noqa: SIM110
            if text_of(scope.value(name)) not in labels:
                return False
        return True


@dataclass(frozen=True, eq=False)
class Object(Form):
    """An object whose values are forms; in a list it may have a condition."""

    entries: Mapping[str, Form]
    when: Form | None
    key_path: str
    template: Mapping[str, Any] = field(init=False)  # all keys in order, with the values that are always the same
    pending: tuple[tuple[str, Form], ...] = field(init=False)

    def __post_init__(self) -> None:
        template = {key: form.value if isinstance(form, Plain) else PENDING for key, form in self.entries.items()}
        pending = tuple((key, form) for key, form in self.entries.items() if template[key] is PENDING)
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "pending", pending)

    def give(self, scope: Scope, path: str, /) -> Any:
        content: dict[str, Any] = {}
        self.fill(content, scope, path)
        return content

    def add(self, content: list[Any], scope: Scope, path: str, number: int) -> None:
        inner = f"{path}[{number}]"
        if _is_present(self, scope, inner):
            content.append({})
            self.fill(content[-1], scope, inner)

    def fill(self, content: dict[str, Any], scope: Scope, path: str) -> None:
        """Fill an object that is already part of the result, so that unfinished results can be inspected."""
        if scope.walk.key_paths is not None:
            scope.walk.key_paths[id(content)] = self.key_path
        content.update(self.template)
        for key, form in self.pending:
            inner = f"{path}.{key}" if path else key
            if isinstance(form, List):
                content[key] = []
                form.fill(content[key], scope, inner)
            else:
                content[key] = form.give(scope, inner)


@dataclass(frozen=True, eq=False)
class Block(Form):
    """``{"name": …, "repeat": n, "when": …, "let": {…}, "of": […]}``: adds its items n times to the enclosing list."""

    name: str | None
    repeat: Form | None
    when: Form | None
    lets: Mapping[str, Form]
    items: "List"
    key_path: str

    def add(self, content: list[Any], scope: Scope, path: str, number: int) -> None:
        inner = join(path, self.name) if self.name else f"{path}[{number}]"
        if _is_present(self, scope, inner):
            self.extend(content, scope, inner)

    def extend(self, content: list[Any], scope: Scope, path: str) -> None:
        """Add the items to the enclosing list."""
        if self.repeat is None:
            self.items.fill(content, Scope(scope.walk, path, self.lets, {}, scope), path)
            return
        count = self.repeat.give(scope, path)
        if type(count) is not int or count < 0:
            problem = f"expected a whole number, may get {count!r}"
            raise ConfigError(f"{self.key_path}.repeat", problem, "Correct it there")
        for number in range(count):
            scope.walk.repeats += 1
            if scope.walk.repeats > MOST_REPEATS:
                problem = f"all blocks together are repeated more than {MOST_REPEATS:,} times, this one {count:,} times"
                raise ConfigError(f"{self.key_path}.repeat", problem, "Lower it")
            inner = f"{path}[{number}]"
            self.items.fill(content, Scope(scope.walk, inner, self.lets, {"index": number}, scope), inner)


@dataclass(frozen=True, eq=False)
class List(Form):
    """A list of forms and blocks."""

    items: tuple[Form, ...]

    def give(self, scope: Scope, path: str, /) -> Any:
        content: list[Any] = []
        self.fill(content, scope, path)
        return content

    def fill(self, content: list[Any], scope: Scope, path: str) -> None:
        """Fill a list that is already part of the result."""
        for number, item in enumerate(self.items):
            item.add(content, scope, path, number)

    def add(self, content: list[Any], scope: Scope, path: str, number: int) -> None:
        content.append([])
        self.fill(content[-1], scope, f"{path}[{number}]")


def _is_present(item: Block | Object, scope: Scope, path: str) -> bool:
    """Whether the condition of an item holds."""
    if item.when is None:
        return True
    holds = item.when.give(scope, join(path, "when"))
    if not isinstance(holds, bool):
        raise ConfigError(f"{item.key_path}.when", f"expected true or false, may get {holds!r}", "Correct it there")
    return holds


def join(path: str, key: str) -> str:
    """The path of a key."""
    return f"{path}.{key}" if path else key
