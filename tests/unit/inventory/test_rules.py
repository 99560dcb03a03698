"""Which attributes are looked at, decided by name."""

from __future__ import annotations

import json

import pytest

from pipelinegen.attrpath import parse
from pipelinegen.inventory.model import Kind
from pipelinegen.inventory.rules import Item, Look, Rules

SYSTEM = "x86_64-linux"


def visits(rules: Rules, path: str) -> tuple[str, ...]:
    return tuple(look.visit for look in rules.looks(parse(path) if path else ()))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("set",)),
        ("packages", ("set",)),
        ("packages.x86_64-linux", ("set",)),
        ("packages.x86_64-linux.hello", ("item",)),
        ("formatter.x86_64-linux", ("item",)),
        ("hydraJobs", ("item",)),
        ("nixosConfigurations.web1", ("item",)),
        ("nixosConfigurations.web1.config", ()),
        ("legacyPackages.x86_64-linux", ("set",)),
        ("legacyPackages.x86_64-linux.hello", ()),
        ("legacyPackages.x86_64-linux.homeConfigurations", ("set",)),
        ("legacyPackages.x86_64-linux.homeConfigurations.me", ("item",)),
        ("lib", ()),
        ("apps.x86_64-linux.default", ()),
    ],
)
def test_without_patterns_only_the_standard_kinds_are_looked_at(path: str, expected: tuple[str, ...]) -> None:
    assert visits(Rules(), path) == expected


@pytest.mark.parametrize(
    ("include", "path", "expected"),
    [
        ("images.*", "images", ("set",)),
        ("images.*", "images.disk", ("item",)),
        ("images.*", "images.disk.x", ()),
        ("tests.**", "tests", ("item",)),
        ("**", "anything", ("item",)),
        ("**", "packages", ("item", "set")),
        ("*.x86_64-linux.special", "lib", ("set",)),
        ("a.**.z", "a.b.c", ("set",)),
        ("a.**.z", "a.b.z", ("item", "set")),
        ("a.**.z", "b", ()),
        ("nixosConfigurations.*.config.vm", "nixosConfigurations.web1", ("item", "set")),
        ("nixosConfigurations.*.config.vm", "nixosConfigurations.web1.config", ("set",)),
        ("nixosConfigurations.*.config.vm", "nixosConfigurations.web1.config.vm", ("item",)),
        ("nixosConfigurations.*.config.vm", "nixosConfigurations.web1.config.other", ()),
    ],
)
def test_an_include_pattern_adds_what_fits_and_the_way_there(
    include: str, path: str, expected: tuple[str, ...]
) -> None:
    assert visits(Rules([include]), path) == expected


@pytest.mark.parametrize(
    ("exclude", "path", "excluded"),
    [
        ("packages", "packages", True),
        ("packages.**", "packages", True),
        ("packages.*.big-*", "packages.x86_64-linux.big-one", True),
        ("packages.*.big-*", "packages.x86_64-linux.small", False),
        ("packages.*.big-*", "packages.x86_64-linux", False),
        ("**.secret", "hydraJobs.a.secret", True),
        ("**.secret", "hydraJobs.a", False),
        ("**", "", True),
        ('packages.*."a.b"', 'packages.x86_64-linux."a.b"', True),
        ("packages.*.a.b", 'packages.x86_64-linux."a.b"', False),
    ],
)
def test_an_exclude_pattern_takes_away_what_fits(exclude: str, path: str, excluded: bool) -> None:
    rules = Rules(["**"], [exclude])
    found = rules.looks(parse(path) if path else (), Item(Kind.OTHER))
    assert (found == ()) is excluded


def descends_to(look: Look, *names: str) -> Look | None:
    """What the evaluator does by itself at a path below, null when it stops on the way."""
    for name in names:
        if look.visit == "item":
            return look if look.follow else None
        following = look.named.get(name, look.each)
        if following is None:
            return None
        look = following
    return look


def root(rules: Rules) -> Look:
    (look,) = rules.looks(())
    return look


def test_without_patterns_the_evaluator_walks_to_the_end_by_itself() -> None:
    look = root(Rules())
    for path in (
        ("packages", SYSTEM, "hello"),
        ("checks", SYSTEM, "a.b"),
        ("nixosConfigurations", "web1"),
        ("hydraJobs", "a", "b", "c"),
        ("legacyPackages", SYSTEM, "homeConfigurations", "me"),
    ):
        end = descends_to(look, *path)
        assert end is not None
        assert end.visit == "item"
    assert descends_to(look, "lib") is None
    assert descends_to(look, "legacyPackages", SYSTEM, "hello") is None


@pytest.mark.parametrize(
    ("exclude", "stops", "goes_on"),
    [
        ("packages.*.big-*", ("packages", SYSTEM, "any"), ("checks", SYSTEM, "any")),
        ("packages.aarch64-linux", ("packages", SYSTEM), ("checks", SYSTEM, "any")),
        ("**.secret", ("hydraJobs", "any"), ("packages",)),
        ("hydraJobs.*.deep", ("hydraJobs", "any"), ("packages", SYSTEM, "any")),
        ("packages", ("packages",), ("checks", SYSTEM, "any")),
    ],
)
def test_where_a_name_decides_the_evaluator_stops_and_asks(
    exclude: str, stops: tuple[str, ...], goes_on: tuple[str, ...]
) -> None:
    look = root(Rules([], [exclude]))
    assert descends_to(look, *stops) is None
    assert descends_to(look, *goes_on) is not None


def test_what_the_evaluator_does_by_itself_is_what_would_be_decided_by_name() -> None:
    rules = Rules(["images.*", "a.*.b", "deep.**", "legacyPackages.*.x"], ["checks.*.no", "deep.no"])

    def compare(path: tuple[str, ...], look: Look) -> None:
        for name in ("no", "homeConfigurations", "x", "b", *look.named):
            following = look.named.get(name, look.each)
            if following is not None:
                assert rules.looks((*path, name)) == (following,)
                compare((*path, name), following)

    compare((), root(rules))


def test_only_names_that_count_are_asked_for() -> None:
    assert root(Rules(["images.*"])).announce == (
        "checks",
        "darwinConfigurations",
        "devShells",
        "formatter",
        "homeConfigurations",
        "hydraJobs",
        "images",
        "legacyPackages",
        "nixosConfigurations",
        "packages",
    )
    assert root(Rules(["*.x"])).announce is None
    (legacy,) = Rules().looks(("legacyPackages", SYSTEM))
    assert legacy.announce == ("homeConfigurations",)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("packages", Kind.PACKAGE),
        ("packages.x86_64-linux.a.b.c", Kind.PACKAGE),
        ("formatter.x86_64-linux", Kind.FORMATTER),
        ("hydraJobs.a.b", Kind.HYDRA_JOB),
        ("nixosConfigurations.web1", Kind.NIXOS),
        ("nixosConfigurations.web1.config.system.build.vm", Kind.OTHER),
        ("legacyPackages.x86_64-linux.homeConfigurations.me", Kind.HOME),
        ("legacyPackages.x86_64-linux.hello", Kind.OTHER),
        ("images.disk", Kind.OTHER),
    ],
)
def test_the_kind_follows_from_the_path(path: str, kind: Kind) -> None:
    assert Rules(["**"]).kind(parse(path)) is kind


def test_a_package_set_is_searched_only_where_it_is_marked() -> None:
    for include in ("legacyPackages.**", "**", "legacy*.**"):
        (item, *_) = Rules([include]).looks(("legacyPackages",))
        assert item.item is not None
        assert item.item.unmarked_depth == 3
    (other, *_) = Rules(["**"]).looks(("images",))
    assert other.item is not None
    assert other.item.unmarked_depth > 3


def test_a_look_can_be_given_to_the_evaluator() -> None:
    look = root(Rules(["**", "a.**.b"], ["c.?"]))
    assert json.loads(json.dumps(look.to_json()))["visit"] == "set"
