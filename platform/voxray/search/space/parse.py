"""JSON → the nodes of a space. All syntax errors are collected, each with its key path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from voxray.config.validation import nearest
from voxray.search.space.distributions import DISTRIBUTIONS, Choice, Int, parse_distribution, text_of
from voxray.search.space.nodes import (
    Block,
    Condition,
    Decision,
    Form,
    List,
    Lookup,
    Name,
    Object,
    Plain,
    Product,
    Sizes,
)

FORMS = (*DISTRIBUTIONS, "times")
SIZES = ("kernel_size", "stride", "pool")
BLOCK_KEYS = ("name", "when", "repeat", "let", "of")
MOST_LABELS = 10_000  # more are not compared with those that are mentioned
BUILT_IN: Mapping[str, list[str]] = {"spatial_dims": ["2", "3"], "index": []}  # and their labels, if countable
IDENTIFIER = re.compile(r"[A-Za-z]\w*")
Names = Mapping[str, Any]  # what a name stands for, as far as it has been parsed


class _Use(NamedTuple):
    """A use of a name, and the labels of it that are mentioned."""

    name: str
    key_path: str
    names: Names
    labels: tuple[str, ...]


@dataclass
class Parser:
    """Collects problems while it parses.

    Attributes
    ----------
    problems : list of str
    """

    problems: list[str] = field(default_factory=list)
    _uses: list[_Use] = field(default_factory=list)
    _definitions: list[tuple[str, str]] = field(default_factory=list)

    def lets(self, raw: Any, key_path: str, outer: Names) -> tuple[dict[str, Form], Names]:
        """The forms of a `let`, and all names that are defined beside it."""
        if not isinstance(raw, dict):
            self._report(key_path, f'expected {{"name": …}}, got {raw!r}')
            return {}, outer
        forms: dict[str, Form] = {}
        # One dict for all, so that names may stand in any order.
        names = {**outer, **raw}
        for name, value in raw.items():
            inner = f"{key_path}.{name}"
            if not IDENTIFIER.fullmatch(name) or name in BUILT_IN or name == "else":
                self._report(inner, f"invalid name; use letters, digits and _, and none of {', '.join(BUILT_IN)}, else")
            forms[name] = names[name] = self.form(value, inner, names)
            self._definitions.append((name, inner))
        return forms, names

    def form(self, raw: Any, key_path: str, names: Names) -> Form:
        """Whatever may stand in place of a value of an architecture file."""
        if isinstance(raw, str) and raw.startswith("$"):
            self._use(raw[1:], key_path, names)
            return Name(raw[1:])
        if isinstance(raw, list):
            items = self.items(raw, key_path, names)
            plain = [item.value for item in items.items if isinstance(item, Plain)]
            return items if len(plain) < len(items.items) else Plain(plain)
        return self._object_form(raw, key_path, names) if isinstance(raw, dict) else Plain(raw)

    def _object_form(self, raw: Mapping[str, Any], key_path: str, names: Names) -> Form:
        first = next(iter(raw), "")
        if first.startswith("$"):
            return self._lookup(raw, key_path, names)
        if parse := PARSERS.get(first):
            return parse(self, raw, key_path, names)
        if len(raw) == 1 and get_close_matches(first, FORMS):
            return self._reject(f"{key_path}.{first}", f"unknown form; {nearest(first, FORMS)}")
        return self.object(raw, key_path, names)

    def items(self, raw: list[Any], key_path: str, names: Names) -> List:
        """A list of forms and blocks."""
        return List(tuple(self._item(item, f"{key_path}[{number}]", names) for number, item in enumerate(raw)))

    def object(self, raw: Mapping[str, Any], key_path: str, names: Names, when: Form | None = None) -> Object:
        """A layer or a U-Net."""
        entries = {key: self.form(value, f"{key_path}.{key}", names) for key, value in raw.items()}
        sizes = {key: Sizes(entries[key]) for key in SIZES if key in entries}
        return Object({**entries, **sizes}, when, key_path)

    def settings(self, raw: Any, names: Names) -> dict[str, Form]:
        """The settings of `experiment`."""
        if not isinstance(raw, dict):
            self._report("experiment", f'expected {{"key.path": value}}, got {raw!r}')
            return {}
        return {key: self.form(value, f"experiment.{key}", names) for key, value in raw.items()}

    def finish(self) -> list[str]:
        """All problems, with those of names that are undefined, unused or never have a label."""
        for use in self._uses:
            for problem in _name_problems(use):
                self._report(use.key_path, problem)
        used = {use.name for use in self._uses}
        self.problems += [f"{key_path}: is used nowhere" for name, key_path in self._definitions if name not in used]
        return self.problems

    def _item(self, raw: Any, key_path: str, names: Names) -> Form:
        if not isinstance(raw, dict):
            return self.form(raw, key_path, names)
        first = next(iter(raw), "")
        if "of" in raw:
            return self._block(raw, key_path, names)
        if "type" in raw:
            content = {key: value for key, value in raw.items() if key != "when"}
            return self.object(content, key_path, names, self._when(raw, key_path, names))
        if first in PARSERS or first.startswith("$"):
            return self.form(raw, key_path, names)
        problem = f"expected a layer with a 'type', a block with an 'of', or a decision, got {raw!r}"
        return self._reject(key_path, problem)

    def _block(self, raw: Mapping[str, Any], key_path: str, names: Names) -> Block:
        for key in raw:
            if key not in BLOCK_KEYS:
                self._report(f"{key_path}.{key}", f"unknown key of a block; {nearest(key, BLOCK_KEYS)}")
        name, items = raw.get("name"), raw["of"]
        if name is not None and not (isinstance(name, str) and IDENTIFIER.fullmatch(name)):
            self._report(f"{key_path}.name", f"expected letters, digits and _, got {name!r}")
            name = None
        if not isinstance(items, list):
            self._report(f"{key_path}.of", f"expected a list, got {items!r}")
            items = []
        when = self._when(raw, key_path, names)
        repeat = self._optional(raw, "repeat", key_path, names)
        lets, inner = self.lets(raw.get("let", {}), f"{key_path}.let", names)
        return Block(name, repeat, when, lets, self.items(items, f"{key_path}.of", inner), key_path)

    def _when(self, raw: Mapping[str, Any], key_path: str, names: Names) -> Form | None:
        condition = raw.get("when")
        if not isinstance(condition, dict) or not next(iter(condition), "").startswith("$"):
            return self._optional(raw, "when", key_path, names)
        return self._condition(condition, f"{key_path}.when", names)

    def _condition(self, condition: Mapping[str, Any], key_path: str, names: Names) -> Condition:
        labels = {}
        for key, value in condition.items():
            texts = [text_of(label) for label in (value if isinstance(value, list) else [value])]
            if not key.startswith("$") or isinstance(value, dict):
                problem = f'expected {{"$name": label}} or {{"$name": [label, label]}}, got {condition!r}'
                self._report(key_path, problem)
                continue
            self._use(key[1:], key_path, names, *texts)
            labels[key[1:]] = frozenset(texts)
        return Condition(tuple(labels.items()))

    def _decision(self, raw: Mapping[str, Any], key_path: str, _names: Names) -> Form:
        distribution = parse_distribution(raw)
        if isinstance(distribution, str):
            return self._reject(f"{key_path}.{next(iter(raw))}", distribution)
        return Decision(distribution)

    def _lookup(self, raw: Mapping[str, Any], key_path: str, names: Names) -> Form:
        name, cases = next(iter(raw.items()))
        if len(raw) > 1 or not isinstance(cases, dict):
            return self._reject(key_path, f'expected {{"{name}": {{"label": value, …}}}}, got {raw!r}')
        self._use(name[1:], key_path, names, *(label for label in cases if label != "else"))
        forms = {label: self.form(case, f"{key_path}.{name}.{label}", names) for label, case in cases.items()}
        return Lookup(name[1:], forms, key_path)

    def _product(self, raw: Mapping[str, Any], key_path: str, names: Names) -> Form:
        factors = raw.get("times")
        if set(raw) - {"times", "at_most"} or not isinstance(factors, list) or not factors:
            problem = f'expected {{"times": [number, number]}} or "at_most" beside it, got {raw!r}'
            return self._reject(key_path, problem)
        forms = [self.form(factor, f"{key_path}.times[{number}]", names) for number, factor in enumerate(factors)]
        return Product(tuple(forms), self._optional(raw, "at_most", key_path, names), key_path)

    def _optional(self, raw: Mapping[str, Any], key: str, key_path: str, names: Names) -> Form | None:
        return self.form(raw[key], f"{key_path}.{key}", names) if key in raw else None

    def _use(self, name: str, key_path: str, names: Names, *labels: str) -> None:
        self._uses.append(_Use(name, key_path, names, labels))

    def _report(self, key_path: str, problem: str) -> None:
        self.problems.append(f"{key_path}: {problem}")

    def _reject(self, key_path: str, problem: str) -> Plain:
        """Report a problem; the result takes the place of what cannot be parsed."""
        self._report(key_path, problem)
        return Plain(None)


PARSERS: Mapping[str, Callable[[Parser, Mapping[str, Any], str, Names], Form]] = {
    **dict.fromkeys(DISTRIBUTIONS, Parser._decision),
    "times": Parser._product,
    "at_most": Parser._product,
}


def _name_problems(use: _Use) -> list[str]:
    """Whether a name is unknown, or never has a label."""
    if use.name not in use.names and use.name not in BUILT_IN:
        return [f"unknown name ${use.name}; {nearest(use.name, [*use.names, *BUILT_IN])}"]
    options = _options(use.names.get(use.name)) or BUILT_IN.get(use.name, [])
    unknown = [label for label in use.labels if options and label not in options]
    return [f"${use.name} is never {label}; {nearest(label, options)}" for label in unknown]


def _options(node: Any) -> list[str]:
    """The labels of a decision; empty where they cannot be listed."""
    if not isinstance(node, Decision) or not isinstance(node.distribution, Choice | Int):
        return []
    labels = node.distribution.some_labels()
    return [text_of(label) for label in labels] if len(labels) <= MOST_LABELS else []
