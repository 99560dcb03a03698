"""Which closures are whole, by what is known of single paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.cache.attic.query import closure_answers, missing_references, unknown_references
from pipelinegen.path_info import PathInfo

DIAMOND = {"top": ["left", "right"], "left": ["base"], "right": ["base"], "base": []}


def without(graph: dict[str, list[str]], *paths: str) -> dict[str, list[str]]:
    return {path: others for path, others in graph.items() if path not in paths}


def test_a_closure_that_is_all_there_is_held() -> None:
    assert closure_answers(["top", "base"], DIAMOND, {}) == {"top": True, "base": True}
    assert missing_references(["top"], DIAMOND) == []


def test_an_absent_root_is_not_held_wherever_else_it_may_be() -> None:
    held = without(DIAMOND, "base")
    assert closure_answers(["base", "top"], held, {"base": True}) == {"base": False, "top": True}


@pytest.mark.parametrize(("said", "answer"), [(True, True), (False, False), (None, None)])
def test_what_is_left_to_other_caches_decides_for_all_that_refers_to_it(said: bool | None, answer: bool | None) -> None:
    held = without(DIAMOND, "base") | {"other": []}
    assert missing_references(["top", "other"], held) == ["base"]
    assert closure_answers(["top", "left", "other"], held, {"base": said}) == {
        "top": answer,
        "left": answer,
        "other": True,
    }


def test_other_caches_that_say_nothing_of_a_path_leave_it_unknown() -> None:
    assert closure_answers(["top"], without(DIAMOND, "base"), {}) == {"top": None}


def test_an_absence_counts_more_than_a_doubt() -> None:
    held = without(DIAMOND, "left", "right")
    assert closure_answers(["top"], held, {"left": None, "right": False}) == {"top": False}


def test_an_absent_path_deep_below_spoils_exactly_what_refers_to_it() -> None:
    chain = {f"a{number}": [f"a{number - 1}"] if number else [] for number in range(5000)}
    held = without(chain, "a1000")
    answers = closure_answers(held, held, {"a1000": False})
    assert {path for path, answer in answers.items() if answer} == {f"a{number}" for number in range(1000)}


def test_a_path_that_refers_to_itself_is_nothing_special() -> None:
    assert closure_answers(["a"], {"a": ["a", "b"], "b": ["b"]}, {}) == {"a": True}


def test_a_circle_that_a_broken_cache_makes_up_comes_to_an_end() -> None:
    assert closure_answers(["a"], {"a": ["b"], "b": ["a", "c"]}, {"c": False}) == {"a": False}
    assert missing_references(["a"], {"a": ["b"], "b": ["a", "c"]}) == ["c"]


def test_what_only_an_unwanted_path_lacks_is_not_asked_for() -> None:
    assert missing_references(["left"], {**DIAMOND, "stray": ["gone"]}) == []


def test_references_that_were_not_asked_for_are_asked_next() -> None:
    known = {"a": PathInfo(path="a", nar_hash="", nar_size=0, references=("a", "b", "c")), "c": None}
    assert unknown_references(known) == ["b"]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, list[str]], set[str], dict[str, bool | None]]:
    """A graph, what of it is held, and what other caches say."""
    size = draw(st.integers(1, 12))
    graph = {
        str(number): [str(other) for other in sorted(draw(st.sets(st.integers(0, number), max_size=4)))]
        for number in range(size)
    }
    held = draw(st.sets(st.sampled_from(sorted(graph))))
    elsewhere = {path: draw(st.sampled_from([True, False, None])) for path in graph if path not in held}
    return graph, held, elsewhere


@given(worlds())
def test_the_answers_are_those_of_walking_each_closure(
    world: tuple[dict[str, list[str]], set[str], dict[str, bool | None]],
) -> None:
    graph, held, elsewhere = world
    references = {path: graph[path] for path in graph if path in held}

    def walk(path: str) -> bool | None:
        if path not in held:
            return elsewhere[path]
        below = [walk(other) for other in graph[path] if other != path]
        return False if False in below else None if None in below else True

    expected = {path: walk(path) if path in held else False for path in graph}
    asked = missing_references(graph, references)
    assert closure_answers(graph, references, {path: elsewhere[path] for path in asked}) == expected
