"""Names: readable, accepted by GitLab, and never one for two."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelinegen import job_names as names
from pipelinegen.job_names import environment_name, job_name, resource_group, slug, title
from tests.unit.pipeline.samples import HOSTILE

TRICKY = st.text(alphabet=st.sampled_from("ab1 .,:/[]~$\n\t\u2028é😀#0123456789abcdef"), max_size=24)
ANY = st.one_of(st.text(max_size=20), TRICKY, st.sampled_from(HOSTILE), st.sampled_from(sorted(names.RESERVED)))
SLUGS = [environment_name, resource_group, slug]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("build", "packages.x86_64-linux.hello"), "build packages.x86_64-linux.hello"),
        (("build", 'packages.x86_64-linux."a b".${X}'), 'build packages.x86_64-linux."a b".${X}'),
        (("test", "smoke test"), "test smoke test"),
        (("gate", "web1", "web2"), "gate web1, web2"),
        (("build", "python3.12"), "build python3.12"),
        (("build", "日本 😀"), "build 日本 😀"),
        (("summary",), "summary"),
    ],
)
def test_ordinary_names_are_left_alone(parts: tuple[str, ...], name: str) -> None:
    assert job_name(*parts) == name


@pytest.mark.parametrize(
    ("parts", "start"),
    [
        (("build", "a\nb"), "build a␊b ~"),
        (("build", "a\x7f\u202eb"), "build a␡�b ~"),
        (("build", " a  b "), "build ␣a ␣b␣ ~"),
        (("build", "\ud800"), "build � ~"),
        (("build", "x 1/3"), "build x 1/3 ~"),
        (("build", "x 1:3"), "build x 1:3 ~"),
        (("build", "python 3 12"), "build python 3 12 ~"),
        (("build", "x: [a, b]"), "build x: [a, b] ~"),
        (("stages",), "stages ~"),
        (("pages:deploy",), "pages:deploy ~"),
        ((".hidden",), "_.hidden ~"),
        (("build", ""), "build␣ ~"),
        (("test", "a, b"), "test a, b ~"),
        (("two words",), "two words ~"),
    ],
    ids=ascii,
)
def test_what_gitlab_would_misread_is_altered_and_marked(parts: tuple[str, ...], start: str) -> None:
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{10}", job_name(*parts))


def test_long_names_keep_both_ends_and_fit() -> None:
    name = job_name("build", "packages.x86_64-linux." + "very-long-" * 30 + "tail")
    assert len(name) == 100
    assert name.startswith("build packages.x86_64-linux.very-long-")
    assert re.search(r"…[a-z-]*-tail ~[0-9a-f]{10}$", name)


def test_names_are_the_same_on_every_machine() -> None:
    assert job_name("build", "a\nb") == "build a␊b ~b0c3e06dc1"
    assert slug("é") == "4a99557e40"
    assert environment_name("user@host") == "user-host-5d488afdbb"


@settings(max_examples=500)
@given(st.lists(ANY, min_size=1, max_size=3), st.integers(30, 128))
def test_any_name_is_accepted_by_gitlab(parts: list[str], limit: int) -> None:
    name = job_name(*parts, limit=limit)
    assert 1 <= len(name) <= limit
    assert not name.startswith(".")
    assert name not in names.RESERVED
    assert not names.GROUPED.search(name)
    assert name == name.strip()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", name)


@settings(max_examples=1000)
@given(st.lists(ANY, min_size=1, max_size=3), st.lists(ANY, min_size=1, max_size=3))
def test_two_subjects_never_have_one_name(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert job_name(*one) != job_name(*other)


@given(st.lists(ANY, min_size=1, max_size=3))
def test_no_subject_can_imitate_the_name_of_another(parts: list[str]) -> None:
    name = job_name(*parts)
    word, _, rest = name.partition(" ")
    imitation = [word, rest] if rest else [word]
    assert imitation == parts or job_name(*imitation) != name


@pytest.mark.parametrize("function", SLUGS)
@pytest.mark.parametrize("text", ["web1", "review-7", "a_b.c"])
def test_ordinary_slugs_are_left_alone(function: object, text: str) -> None:
    assert callable(function)
    assert function(text) == text


def test_environments_may_have_folders_and_spaces() -> None:
    assert environment_name("review/web 1") == "review/web 1"


@settings(max_examples=300)
@given(ANY, ANY)
def test_slugs_are_accepted_and_never_one_for_two(one: str, other: str) -> None:
    for function in SLUGS:
        name = function(one)
        assert 1 <= len(name) <= 100
        assert names.GROUP_NAME.fullmatch(name)
        assert "$" not in name, "GitLab would expand it"
        assert one == other or name != function(other)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", slug(one)), "neither hidden nor an option nor a path"


def test_titles_are_one_line_that_nobody_expands() -> None:
    assert title("deploy $HOST\nnow") == "deploy ＄HOST␊now"  # noqa: RUF001
    assert title("x" * 300) == "x" * 254 + "…"
