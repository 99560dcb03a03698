"""Which attributes of a flake are looked at, and as what. Pure.

Everything is a pattern: the standard kinds as much as what the configuration includes. Where no pattern can
tell siblings apart, the evaluator walks on by itself (`Look` holds what to do with the children); where one
could, it only names the children and `Rules` decides about each by its name. So what is excluded is never
forced, and patterns are matched in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

from pipelinegen import attrpath
from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.model import Kind

Visit = Literal["set", "item"]
"""`set`: only its attributes are of interest; `item`: it may be a derivation."""

MAX_DEPTH = 24
"""Names in an attribute path. Deeper nesting is taken for a structure without an end."""

_EVERY_DEPTH = MAX_DEPTH + 1
_LOOKAHEAD = 8
"""How many levels the evaluator may walk on by itself below a set; patterns are shorter than that."""


class _Any:
    """Stands for a name that is not known yet."""


_ANY: Final = _Any()
_Name = str | _Any


class _UnclearError(Exception):
    """It depends on a name that is not known yet."""


@dataclass(frozen=True)
class Item:
    """How an attribute that may be a derivation is read.

    Attributes:
        suffix: where the derivation is, below the attribute.
        dev_shell: take `inputDerivation` where there is one.
        recurse: whether an attribute set that is no derivation is searched.
        unmarked_depth: sets at paths shorter than this are searched even when they do not say
            `recurseForDerivations = true` (but not when they say `false`).
    """

    kind: Kind
    suffix: AttrPath = ()
    dev_shell: bool = False
    recurse: bool = True
    unmarked_depth: int = 0


@dataclass(frozen=True)
class Look:
    """What the evaluator does with one attribute; `walk.nix` takes it as JSON.

    Attributes:
        visit: see `Visit`.
        item: set for items.
        follow: items: search nested sets at once instead of only naming their attributes.
        strict: sets: being something else is an error (it is not, where only a glob led here).
        announce: sets: the names of interest; null means all.
        named: sets: what to do at once with a child of this name.
        each: sets: what to do at once with any other child; null means nothing yet.
    """

    visit: Visit
    item: Item | None = None
    follow: bool = False
    strict: bool = False
    announce: tuple[str, ...] | None = None
    named: dict[str, Look] = field(default_factory=dict)
    each: Look | None = None

    def child(self, name: str) -> Look | None:
        """What the evaluator does by itself with the attribute of this name; null: nothing."""
        if self.item is not None:
            return self if self.follow else None
        return self.named.get(name, self.each)

    def to_json(self) -> dict[str, object]:
        """As `walk.nix` reads it."""
        if self.item is not None:
            return {
                "visit": "item",
                "suffix": list(self.item.suffix),
                "devShell": self.item.dev_shell,
                "recurse": self.item.recurse,
                "unmarkedDepth": self.item.unmarked_depth,
                "follow": self.follow,
            }
        return {
            "visit": "set",
            "strict": self.strict,
            "announce": None if self.announce is None else list(self.announce),
            "named": {name: look.to_json() for name, look in self.named.items()},
            "each": None if self.each is None else self.each.to_json(),
        }


@dataclass(frozen=True)
class _Rule:
    pattern: AttrPath
    item: Item


def _standard() -> tuple[_Rule, ...]:
    return tuple(
        _Rule(attrpath.parse_pattern(text), item)
        for text, item in (
            ("packages.*.*", Item(Kind.PACKAGE)),
            ("checks.*.*", Item(Kind.CHECK)),
            ("devShells.*.*", Item(Kind.DEV_SHELL, dev_shell=True)),
            ("formatter.*", Item(Kind.FORMATTER, recurse=False)),
            # Hydra and `nix flake check` search every attribute set here, marked or not.
            ("hydraJobs", Item(Kind.HYDRA_JOB, unmarked_depth=_EVERY_DEPTH)),
            (
                "nixosConfigurations.*",
                Item(Kind.NIXOS, ("config", "system", "build", "toplevel"), recurse=False),
            ),
            ("darwinConfigurations.*", Item(Kind.DARWIN, ("system",), recurse=False)),
            ("homeConfigurations.*", Item(Kind.HOME, ("activationPackage",), recurse=False)),
            ("legacyPackages.*.homeConfigurations.*", Item(Kind.HOME, ("activationPackage",), recurse=False)),
        )
    )


def _included(text: str) -> tuple[_Rule, ...]:
    """The rules of one `include` pattern; `**` at its end means: search everything below."""
    pattern = attrpath.parse_pattern(text)
    head = pattern
    while head and head[-1] == "**":
        head = head[:-1]
    if head == pattern:
        return (_Rule(pattern, Item(Kind.OTHER)),)
    head = head or ("*",)
    deep = _Rule(head, Item(Kind.OTHER, unmarked_depth=_EVERY_DEPTH))
    if not fnmatchcase("legacyPackages", head[0]):
        return (deep,)
    # Package sets contain themselves: below legacyPackages.<system> only what is marked is searched.
    shallow = _Rule(("legacyPackages", *head[1:]), Item(Kind.OTHER, unmarked_depth=3))
    return (shallow,) if head[0] == "legacyPackages" else (shallow, deep)


class Rules:
    """The standard kinds and the configuration's patterns together.

    Args:
        include: patterns of what is looked at besides the standard kinds.
        exclude: patterns of what is never looked at, nor anything below it.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._rules = (*_STANDARD, *(rule for text in include for rule in _included(text)))
        self._exclude = tuple(attrpath.parse_pattern(text) for text in exclude)

    def kind(self, path: AttrPath) -> Kind:
        """What the attribute at `path`, or what is below it, is to its user."""
        for rule in _STANDARD:
            known = min(len(path), len(rule.pattern))
            fits = attrpath.matches(rule.pattern[:known], path[:known])
            if path and fits and (rule.item.recurse or len(path) <= len(rule.pattern)):
                return rule.item.kind
        return Kind.OTHER

    def looks(self, path: AttrPath, found_in: Item | None = None) -> tuple[Look, ...]:
        """How the attribute at `path` is looked at: not at all, as an item, as a set, or both.

        Args:
            found_in: the item it was found in, if it was found by searching one.
        """
        return self._looks(path, found_in, 0)

    def _looks(self, path: Sequence[_Name], found_in: Item | None, depth: int) -> tuple[Look, ...]:
        if _is_excluded(self._exclude, path):
            return ()
        rests = [(rule, rest) for rule in self._rules for rest in _rests(rule.pattern, path)]
        item = next((rule.item for rule, rest in rests if not rest), found_in)
        below = [rest for _, rest in rests if rest]
        strict = any(rest and rule in _STANDARD for rule, rest in rests)
        looks = []
        if item is not None:
            # Where patterns go on below an item, its children are decided one by one.
            looks.append(Look("item", item=item, follow=not below and not self._exclusion_below(path)))
        if below:
            looks.append(self._set(path, below, depth, strict=strict))
        return tuple(looks)

    def _set(self, path: Sequence[_Name], rests: list[AttrPath], depth: int, *, strict: bool) -> Look:
        heads = {rest[0] for rest in rests}
        if not any(_is_glob(head) for head in heads):
            names = tuple(sorted(heads))
            named = {name: look for name in names if (look := self._alone((*path, name), depth))}
            return Look("set", strict=strict, announce=names, named=named)
        return Look("set", strict=strict, each=self._alone((*path, _ANY), depth))

    def _alone(self, path: Sequence[_Name], depth: int) -> Look | None:
        """What is to be done at `path` where that is clear and one thing, for the evaluator to go on."""
        if depth >= _LOOKAHEAD:
            return None
        try:
            looks = self._looks(path, None, depth + 1)
        except _UnclearError:
            return None
        return looks[0] if len(looks) == 1 else None

    def _exclusion_below(self, path: Sequence[_Name]) -> bool:
        return any(_rests(pattern, path) for pattern in self._exclude)


def _is_glob(part: str) -> bool:
    return any(character in part for character in "*?[")


def _is_excluded(patterns: Iterable[AttrPath], path: Sequence[_Name]) -> bool:
    return any(all(part == "**" for part in rest) for p in patterns for rest in _rests(p, path))


def _rests(pattern: AttrPath, path: Sequence[_Name]) -> list[AttrPath]:
    """What is left of the pattern after each way to fit all of `path` to its beginning.

    Raises:
        _UnclearError: that depends on a name that is not known yet.
    """
    rests = {pattern}
    for name in path:
        rests = {after for rest in rests for after in _after(rest, name)}
    return sorted(rests)


def _after(pattern: AttrPath, name: _Name) -> list[AttrPath]:
    if not pattern:
        return []
    head, tail = pattern[0], pattern[1:]
    if head == "**":
        return [pattern, *_after(tail, name)]
    if isinstance(name, str):
        return [tail] if fnmatchcase(name, head) else []
    if head != "*":
        raise _UnclearError
    return [tail]


_STANDARD: Final = _standard()
