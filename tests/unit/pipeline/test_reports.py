"""Budgets of the report files that helpers write (L27)."""

from __future__ import annotations

import json

import pytest

from pipelinegen.pipeline.verify_server import check_annotations, check_dotenv


def links(count: int, url: str = "https://cache.example") -> list[dict[str, dict[str, str]]]:
    return [{"external_link": {"label": f"link {number}", "url": url}} for number in range(count)]


@pytest.mark.parametrize("text", ["", "A=1\n", "A=1\nB_2=x y=z # no comment\n", "A=\n", "A=1"])
def test_sound_dotenv_files_pass(text: str) -> None:
    assert check_dotenv(text) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=" + "x" * 5120, "5122 bytes"),
        ("é=1\n" + "A=" + "é" * 2600, "bytes"),
        ("".join(f"A{number}=1\n" for number in range(21)), "21 variables"),
        ("# comment\nA=1\n", "line 1"),
        ("A=1\n\nB=2\n", "line 2"),
        ("A=1\nno value\n", "line 2"),
        ("1A=1\n", "line 1"),
        ("export A=1\n", "line 1"),
        ("A-B=1\n", "line 1"),
        ("A=1\r\nB=2\n", "line 1"),
        ("\n", "line 1"),
    ],
    ids=lambda value: value[:20],
)
def test_dotenv_files_that_gitlab_refuses_are_found(text: str, problem: str) -> None:
    assert any(problem in one for one in check_dotenv(text))


def test_twenty_variables_fit() -> None:
    assert check_dotenv("".join(f"A{number}=1\n" for number in range(20))) == ()


@pytest.mark.parametrize("report", [{}, {"cache": []}, {"cache": links(12), "log": links(8)}], ids=str)
def test_sound_annotations_pass(report: dict[str, object]) -> None:
    assert check_annotations(json.dumps(report)) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps({"cache": links(20), "log": links(1)}), "21 links"),
        (json.dumps({"cache": links(1, "https://cache.example/" + "x" * 81920)}), "bytes"),
        ("{", "no JSON"),
        ("[" * 50_000, "no JSON"),
        ("[]", "not an object"),
        ('{"cache": 1}', "not an object"),
        ('{"cache": [{"link": {}}]}', "external_link"),
        ('{"cache": [{"external_link": {"label": "x"}}]}', "external_link"),
        ('{"cache": [{"external_link": {"label": 1, "url": "x"}}]}', "external_link"),
        ('{"cache": ["x"]}', "external_link"),
    ],
    ids=lambda value: value[:30],
)
def test_annotations_that_gitlab_refuses_are_found(text: str, problem: str) -> None:
    assert any(problem in one for one in check_annotations(text))
