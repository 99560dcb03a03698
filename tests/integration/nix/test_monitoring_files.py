"""The dashboard is sound, and everything that it and the alert rules name is measured by somebody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelinegen.deploy.report import Phase
from pipelinegen.deploy.report_metrics import to_metrics
from pipelinegen.history import BuildTime, Times
from pipelinegen.report.cache_report import report_metrics
from pipelinegen.run.metrics import of_builds, of_push
from tests.integration.test_metrics_sent import free_port, server
from tests.unit.deploy.reports import report
from tests.unit.report.test_cache_report import made
from tests.unit.run.test_metrics import COUNTS
from tests.unit.test_openmetrics import metrics_of, planned

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
DASHBOARD = json.loads((ROOT / "nix" / "monitoring" / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = yaml.safe_load((ROOT / "nix" / "monitoring" / "alert-rules.yml").read_text("utf-8"))
SERVER = ROOT / "nix" / "attic-server"

WIDTH = 24
"""Columns of Grafana's grid."""
UNITS = {"short", "s", "bytes", "percentunit", "reqps"}
VARIABLES = {"datasource", "project"}
KEYWORDS = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "e",
}


def listed(section: str) -> dict[str, str]:
    """Metric → the rest of its row, of one section of the reference."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^\| `(\w+)` \|(.*)$", text, re.MULTILINE))


LISTED = {**listed("Of jobs"), **listed("Of the cache server"), **listed("Of others")}


def expressions() -> dict[str, str]:
    """Where it stands → PromQL, variables replaced as Grafana does for "all"."""
    found = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
    for panel in PANELS:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"].replace("$project", ".*")
    return found


def metrics_in(expression: str) -> set[str]:
    """Names of metrics; those of functions are followed by a parenthesis, those of labels are in brackets."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", text)
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", text)) - KEYWORDS


def known(name: str) -> bool:
    """Whether it is listed, a histogram's samples under its name."""
    return name in LISTED or re.sub(r"_(bucket|count|sum)$", "", name) in LISTED


@pytest.mark.parametrize("where", expressions())
def test_what_is_asked_for_is_measured(where: str) -> None:
    names = metrics_in(expressions()[where])
    assert names
    assert [name for name in sorted(names) if not known(name)] == []


def test_labels_in_expressions_are_labels_of_those_metrics() -> None:
    for where, expression in expressions().items():
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
            if not name.startswith(("attic_", "pipelinegen_")):
                continue
            labels = set(re.findall(r"(\w+)\s*[=!]~?", matchers)) - {"project", "ref", "kind"}
            assert labels <= set(re.findall(r"`(\w+)`", LISTED[name].split("|")[0])), where


def test_every_expression_is_one(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool of Debian's prometheus")
    rules = [{"record": f"tried:n{number}", "expr": text} for number, text in enumerate(expressions().values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_on_monitoring_shows_a_configuration_that_prometheus_takes(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool of Debian's prometheus")
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(block)
    shutil.copy(ROOT / "nix" / "monitoring" / "alert-rules.yml", tmp_path)
    command = [promtool, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = f"SUCCESS: {sum(len(group['rules']) for group in RULES['groups'])} rules found"
    assert said in done.stdout
    assert said in page


def test_panels_have_their_place_and_none_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert set(place) == {"x", "y", "w", "h"}
        assert 0 <= place["x"] < place["x"] + place["w"] <= WIDTH
        assert place["y"] >= 0
        assert place["h"] > 0
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_panels_are_complete_and_take_their_data_from_the_variable() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert panel["datasource"] == source
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        references = [target["refId"] for target in panel["targets"]]
        assert references == [chr(ord("A") + number) for number in range(len(references))]
        for target in panel["targets"]:
            assert target["datasource"] == source
            # What a word in braces is filled with is a label that the answer still has.
            grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
            if grouped and "histogram_quantile" not in target["expr"]:
                left = set(re.split(r",\s*", grouped[1]))
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left, panel["title"]
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [{"value": None}])
        values = [step["value"] for step in steps]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])


def test_the_dashboard_uses_the_variables_that_it_has() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == VARIABLES
    panels = json.dumps(DASHBOARD["panels"])
    assert {one or other for one, other in re.findall(r"\$(?:\{(\w+)\}|(\w+))", panels)} == VARIABLES
    assert {"uid", "title", "schemaVersion", "time", "annotations", "refresh"} <= set(DASHBOARD)
    assert DASHBOARD.get("id") is None


def names_of(text: str) -> dict[str, set[str]]:
    """Metric → names of its labels."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        sample = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line)
        if sample and not line.startswith("#"):
            found.setdefault(sample[1], set()).update(re.findall(r'(\w+)="', sample[2] or ""))
    return found


def test_the_reference_lists_what_jobs_measure_and_nothing_else() -> None:
    build = BuildTime(name="a", system="x86_64-linux", seconds=1)
    texts = (
        metrics_of(planned()[0], (1.0, 2.0), (3, 4)),
        of_builds([Times(builds=(build,))]),
        of_push("ci", COUNTS, failures=["server"], seconds=1, saved=0.5),
        report_metrics(made({"one"})),
        to_metrics(report("rolled-back", phases=(Phase(name="activate", seconds=1.0),))),
    )
    measured = {name: labels for text in texts for name, labels in names_of(text).items()}
    rows = listed("Of jobs")
    assert sorted(measured) == sorted(rows)
    for name, labels in measured.items():
        assert labels == set(re.findall(r"`(\w+)`", rows[name].split("|")[0])), name


def test_the_reference_lists_what_the_server_measures_and_nothing_else() -> None:
    scripts = [*SERVER.rglob("*.sh"), *SERVER.rglob("*.sql")]
    text = "\n".join(script.read_text("utf-8") for script in scripts)
    written = set(re.findall(r"\b(attic_(?:health|backup|drill|storage)_[a-z_]+)", text))
    assert sorted(written) == sorted(listed("Of the cache server"))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("exporter", "program", "options", "path"),
    [
        (
            "node",
            "prometheus-node-exporter",
            "--web.listen-address={address} --collector.textfile.directory=.",
            "/metrics",
        ),
        (
            "blackbox",
            "prometheus-blackbox-exporter",
            f"--web.listen-address={{address}} --config.file={SERVER}/monitoring/blackbox.yml",
            "/probe?module=attic&target=https://127.0.0.1:1/",
        ),
        ("PostgreSQL", "prometheus-postgres-exporter", "--web.listen-address={address}", "/metrics"),
    ],
    ids=["node", "blackbox", "postgresql"],
)
def test_exporters_measure_what_the_reference_says(
    monkeypatch: pytest.MonkeyPatch, exporter: str, program: str, options: str, path: str
) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs Debian's {program}")
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("DATA_SOURCE_NAME", "host=/nonexistent user=nobody")
    with server(f"http://{address}", found, *options.format(address=address).split()) as url:
        text = httpx.get(url + path, timeout=20).text
    expected = {name for name, row in listed("Of others").items() if row.split("|")[0].strip() == exporter}
    # Only a probe that came as far as TLS knows of a certificate.
    expected -= {"probe_ssl_earliest_cert_expiry"}
    assert expected
    assert expected <= set(names_of(text))


@pytest.mark.processes
def test_caddy_measures_what_the_reference_says(tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs Debian's caddy")
    site, metrics = free_port(), free_port()
    (tmp_path / "Caddyfile").write_text(
        f"{{\n  admin off\n  servers {{\n    metrics\n  }}\n}}\nhttp://127.0.0.1:{site} {{\n  respond ok\n}}\n"
        f"http://:{metrics} {{\n  bind 127.0.0.1\n  metrics /metrics\n}}\n"
    )
    command = (caddy, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile"))
    with server(f"http://127.0.0.1:{site}", *command) as url:
        assert httpx.get(url).text == "ok"
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
    found: dict[str, Any] = names_of(text)
    for name, row in listed("Of others").items():
        if row.split("|")[0].strip() == "Caddy":
            assert {"code", "method", "le"} <= found[f"{name}_bucket"]
