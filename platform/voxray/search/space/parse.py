"""JSON → the forms of a space. Everything that is written wrongly is found at once, each with its place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from voxray.config.validation import nearest
from voxray.search.space.distributions import Choice, Int, parse_distribution, text_of
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

DECISIONS = ("choice", "int", "log_uniform")
FORMS = (*DECISIONS, "times")
SIZES = ("kernel_size", "stride", "pool")
BLOCK_KEYS = ("name", "when", "repeat", "let", "of")
BUILT_IN = ("rank", "index")
RANKS = ["2", "3"]
Names = Mapping[str, Any]  # what a name stands for, as far as it has been parsed


@dataclass
class Parser:
    """Collects problems while it parses.

    Attributes
    ----------
    problems : list of str
    """

    problems: list[str] = field(default_factory=list)
    _uses: list[tuple[str, str, Names, tuple[str, ...]]] = field(default_factory=list)
    _lets: list[tuple[str, str]] = field(default_factory=list)

    def lets(self, raw: Any, place: str, outer: Names) -> tuple[dict[str, Form], Names]:
        """The forms of a `let`, and all names that can be used beside it."""
        if not isinstance(raw, dict):
            self._say(place, f'wants {{"name": …}}, got {raw!r}')
            return {}, outer
        forms: dict[str, Form] = {}
        # One dict for all, so that names may stand in any order.
        names = {**outer, **raw}
        for name, value in raw.items():
            here = f"{place}.{name}"
            if not re.fullmatch(r"[A-Za-z]\w*", name) or name in BUILT_IN or name == "else":
                self._say(here, "is no name; take letters, digits and _, and none of rank, index, else")
            forms[name] = names[name] = self.form(value, here, names)
            self._lets.append((name, here))
        return forms, names

    def form(self, raw: Any, place: str, names: Names) -> Form:
        """Anything that may stand where an architecture file has a value."""
        if isinstance(raw, str) and raw.startswith("$"):
            self._use(raw[1:], place, names)
            return Name(raw[1:])
        if isinstance(raw, list):
            items = self.items(raw, place, names)
            plain = [item.value for item in items.items if isinstance(item, Plain)]
            return items if len(plain) < len(items.items) else Plain(plain)
        if not isinstance(raw, dict):
            return Plain(raw)
        first = next(iter(raw), "")
        if first in DECISIONS:
            found = parse_distribution(raw)
            if isinstance(found, str):
                self._say(f"{place}.{first}", found)
                return Plain(None)
            return Decision(found)
        if first in ("times", "at_most"):
            return self._product(raw, place, names)
        if first.startswith("$"):
            return self._lookup(raw, place, names)
        if len(raw) == 1 and get_close_matches(first, FORMS):
            self._say(f"{place}.{first}", f"unknown form; {nearest(first, FORMS)}")
            return Plain(None)
        return self._object(raw, place, names, in_list=False)

    def items(self, raw: list[Any], place: str, names: Names) -> List:
        """A list of forms and blocks."""
        return List(tuple(self._item(each, f"{place}[{number}]", names) for number, each in enumerate(raw)))

    def network(self, raw: Mapping[str, Any], place: str, names: Names) -> Object:
        """A U-Net."""
        return self._object(raw, place, names, in_list=False)

    def settings(self, raw: Any, names: Names) -> dict[str, Form]:
        """The settings of `experiment`."""
        if not isinstance(raw, dict):
            self._say("experiment", f'wants {{"key.path": value}}, got {raw!r}')
            return {}
        return {key: self.form(value, f"experiment.{key}", names) for key, value in raw.items()}

    def finish(self) -> list[str]:
        """All problems, those of names that only the whole file shows too."""
        for name, place, names, labels in self._uses:
            if name not in names and name not in BUILT_IN:
                self._say(place, f"unknown name ${name}; {nearest(name, [*names, *BUILT_IN])}")
                continue
            options = RANKS if name == "rank" else _labels(names.get(name))
            for label in labels:
                if options and label not in options:
                    self._say(place, f"${name} is never {label}; {nearest(label, options)}")
        used = {name for name, *_ in self._uses}
        self.problems += [f"{place}: is used nowhere" for name, place in self._lets if name not in used]
        return self.problems

    def _item(self, raw: Any, place: str, names: Names) -> Form | Block:
        if not isinstance(raw, dict) or next(iter(raw), "").startswith("$"):
            return self.form(raw, place, names)
        if "of" in raw:
            return self._block(raw, place, names)
        if "type" in raw:
            return self._object(raw, place, names, in_list=True)
        if next(iter(raw), "") in (*FORMS, "at_most"):
            return self.form(raw, place, names)
        self._say(place, f"wants a layer with a 'type', a block with an 'of', or a decision, got {raw!r}")
        return Plain(None)

    def _block(self, raw: Mapping[str, Any], place: str, names: Names) -> Block:
        for key in raw:
            if key not in BLOCK_KEYS:
                self._say(f"{place}.{key}", f"unknown key of a block; {nearest(key, BLOCK_KEYS)}")
        name, items = raw.get("name"), raw["of"]
        if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name)):
            self._say(f"{place}.name", f"wants letters, digits and _, got {name!r}")
            name = None
        if not isinstance(items, list):
            self._say(f"{place}.of", f"wants a list, got {items!r}")
            items = []
        when = self._condition(raw["when"], f"{place}.when", names) if "when" in raw else None
        repeat = self.form(raw["repeat"], f"{place}.repeat", names) if "repeat" in raw else None
        lets, inner = self.lets(raw.get("let", {}), f"{place}.let", names)
        return Block(name, repeat, when, lets, self.items(items, f"{place}.of", inner), place)

    def _object(self, raw: Mapping[str, Any], place: str, names: Names, *, in_list: bool) -> Object:
        when = self._condition(raw["when"], f"{place}.when", names) if in_list and "when" in raw else None
        entries = {
            key: self.form(value, f"{place}.{key}", names) for key, value in raw.items() if key != "when" or not in_list
        }
        sizes = {key: Sizes(entries[key]) for key in SIZES if key in entries}
        return Object({**entries, **sizes}, when, place)

    def _condition(self, raw: Any, place: str, names: Names) -> Form:
        if not isinstance(raw, dict) or not next(iter(raw), "").startswith("$"):
            return self.form(raw, place, names)
        wanted = []
        for key, labels in raw.items():
            texts = [text_of(label) for label in (labels if isinstance(labels, list) else [labels])]
            if not key.startswith("$") or isinstance(labels, dict):
                self._say(place, f'wants {{"$name": label}} or {{"$name": [label, label]}}, got {raw!r}')
                continue
            self._use(key[1:], place, names, *texts)
            wanted.append((key[1:], frozenset(texts)))
        return Condition(tuple(wanted))

    def _lookup(self, raw: Mapping[str, Any], place: str, names: Names) -> Form:
        name, cases = next(iter(raw.items()))
        if len(raw) > 1 or not isinstance(cases, dict):
            self._say(place, f'wants {{"{name}": {{"label": value, …}}}}, got {raw!r}')
            return Plain(None)
        self._use(name[1:], place, names, *(label for label in cases if label != "else"))
        forms = {label: self.form(case, f"{place}.{name}.{label}", names) for label, case in cases.items()}
        return Lookup(name[1:], forms, place)

    def _product(self, raw: Mapping[str, Any], place: str, names: Names) -> Form:
        factors = raw.get("times")
        if set(raw) - {"times", "at_most"} or not isinstance(factors, list) or not factors:
            self._say(place, f'wants {{"times": [number, number]}} or "at_most" beside it, got {raw!r}')
            return Plain(None)
        forms = [self.form(each, f"{place}.times[{number}]", names) for number, each in enumerate(factors)]
        limit = self.form(raw["at_most"], f"{place}.at_most", names) if "at_most" in raw else None
        return Product(tuple(forms), limit, place)

    def _use(self, name: str, place: str, names: Names, *labels: str) -> None:
        self._uses.append((name, place, names, labels))

    def _say(self, place: str, problem: str) -> None:
        self.problems.append(f"{place}: {problem}")


def _labels(known: Any) -> list[str]:
    """The labels of a name that is a decision among countable ones."""
    if not isinstance(known, Decision) or not isinstance(known.distribution, Choice | Int):
        return []
    return [text_of(each) for each in known.distribution.some_labels()]
