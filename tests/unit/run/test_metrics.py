"""Metrics are OpenMetrics text, and what GitLab makes of it is what was meant."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen import openmetrics
from pipelinegen.run import metrics
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.+)\})? (?P<value>\S+)")
LABEL = re.compile(r'(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>(?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass
class Read:
    """One metric family as a reader understands it."""

    kind: str
    unit: str = ""
    help: str = ""
    samples: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)


def read(text: str) -> dict[str, Read]:
    """A strict reader of OpenMetrics text without timestamps, by the ABNF of the specification."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    families: dict[str, Read] = {}
    current = ""
    for line in lines[:-2]:
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert NAME.fullmatch(name)
            if word == "TYPE":
                assert name not in families, "families stand together"
                families[name] = Read(rest)
                current = name
            assert name == current
            assert not families[name].samples, "what describes a family comes before its samples"
            if word == "UNIT":
                assert name.endswith(f"_{rest}")
                families[name].unit = rest
            elif word == "HELP":
                families[name].help = rest
            else:
                assert word == "TYPE"
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        family = families[current]
        assert sample["name"] == current + ("_total" if family.kind == "counter" else "")
        labels = labels_of(sample["labels"] or "")
        assert labels not in family.samples, "one sample per set of labels"
        float(sample["value"])
        family.samples[labels] = sample["value"]
    return families


def labels_of(text: str) -> tuple[tuple[str, str], ...]:
    found = list(LABEL.finditer(text))
    assert "".join(one.group() for one in found) == text
    return tuple(
        (one["name"], re.sub(r'\\[\\n"]', lambda match: UNESCAPED[match.group()], one["value"])) for one in found
    )


def gitlab(text: str) -> dict[str, str]:
    """Metrics as GitLab reads them (`ee/lib/gitlab/ci/parsers/metrics/generic.rb`): the words of a shell."""
    found = {}
    for line in text.splitlines():
        words = shlex.split(re.sub("#.*$", "", line))
        if len(words) > 1:
            found[words[0]] = words[1]
    return found


COUNTS = {
    "pushed": 12,
    "deduplicated": 3,
    "present": 40,
    "upstream": 310,
    "failed": 3,
    "not_tried": 1,
    "attempts": 20,
    "retries": 5,
    "bytes": 12345678901,
    "sent_bytes": 23,
    "stored_bytes": 7,
    "touched": 2,
}


def document() -> str:
    return metrics.of_push("ci", COUNTS, failures=["server", "too-large", "server"], seconds=14.25, saved=0.62)


def test_a_push_is_told_completely() -> None:
    families = read(document())
    here = (("cache", "ci"),)
    paths = families["pipelinegen_push_paths"]
    assert {labels[1][1]: int(value) for labels, value in paths.samples.items()} == {
        key: COUNTS[key] for key in ("pushed", "deduplicated", "present", "upstream", "failed", "not_tried")
    }
    assert families["pipelinegen_push_failures"].samples == {
        (*here, ("class", "server")): "2",
        (*here, ("class", "too-large")): "1",
    }
    assert families["pipelinegen_push_archive_bytes"].samples == {here: "12345678901"}
    assert families["pipelinegen_push_archive_bytes"].unit == "bytes"
    assert families["pipelinegen_push_duration_seconds"].kind == "gauge"
    assert families["pipelinegen_push_duration_seconds"].samples == {here: "14.250"}
    assert families["pipelinegen_push_saved_ratio"].samples == {here: "0.620"}
    assert families["pipelinegen_push_retries"].samples == {here: "5"}
    assert families["pipelinegen_push_touched"].samples == {here: "2"}
    assert all(family.help for family in families.values())


def test_gitlab_reads_names_with_labels_and_one_value_each() -> None:
    found = gitlab(document())
    assert found["pipelinegen_push_paths_total{cache=ci,outcome=pushed}"] == "12"
    assert found["pipelinegen_push_duration_seconds{cache=ci}"] == "14.250"
    assert len(found) == sum(len(family.samples) for family in read(document()).values())


def test_the_same_push_gives_the_same_bytes() -> None:
    shuffled = dict(reversed(COUNTS.items()))
    assert document() == metrics.of_push(
        "ci", shuffled, failures=["too-large", "server", "server"], seconds=14.25, saved=0.62
    )


def test_what_is_not_known_is_left_out() -> None:
    assert list(read(metrics.of_push("ci", {}, failures=[], seconds=1.0))) == ["pipelinegen_push_duration_seconds"]


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]).filter(lambda c: c not in "\r\x0b\x0c\x85\u2028\u2029"))
)
def test_any_label_can_be_read_back(value: str) -> None:
    family = openmetrics.Family("x_things", "counter", f"Of {value}.", [((("a", value), ("b", value)), 1)])
    assert list(read(openmetrics.to_text([family]))["x_things"].samples) == [(("a", value), ("b", value))]


@pytest.mark.parametrize("step", ["push", "build"])
def test_only_pushes_write_metrics(tmp_path: Path, step: str) -> None:
    items = (
        ItemResult(name="a", status=Status.FAILED, failure_class="busy"),
        ItemResult(name="b", status=Status.FAILED),
    )
    result = StepResult(step=step, what="ci", seconds=1.0, items=items, counts={"failed": 2})
    Reports(metrics=tmp_path / "new" / "metrics.txt").write(result)
    if step == "build":
        assert not (tmp_path / "new").exists()
        return
    families = read((tmp_path / "new" / "metrics.txt").read_text())
    assert [labels[1][1] for labels in families["pipelinegen_push_failures"].samples] == ["busy", "unknown"]
