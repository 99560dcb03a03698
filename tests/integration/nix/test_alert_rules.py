"""Each alert rule fires when it should, and only then, as Prometheus's own tool sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "nix" / "monitoring" / "alert-rules.yml"

pytestmark = pytest.mark.processes

EVERY = "5m"
"""How far apart samples are; a sample counts for as long."""


@dataclass(frozen=True)
class Case:
    """Series in which an alert fires at `at`, and others in which it does not (they take the place of equal ones)."""

    alert: str
    at: str
    fires: dict[str, str]
    quiet: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)


SERVER = 'job="cache-server"'
DISK = f'{{fstype="ext4",instance="cache",mountpoint="/",{SERVER}}}'
TMPFS = f'{{fstype="tmpfs",instance="cache",mountpoint="/run",{SERVER}}}'
OTHER_DISK = '{fstype="ext4",instance="other",mountpoint="/",job="node"}'
CACHE = {"instance": "cache", "job": "cache-server"}
DISK_LABELS = {"fstype": "ext4", "mountpoint": "/", **CACHE}
RATIO = '{cache="ci",project="fleet",ref="main"}'

CASES = (
    Case(
        "CacheServerDown", "10m", {'attic_health_up{target="local"}': "0x9"},
        {'attic_health_up{target="local"}': "1 0 1 0"}, {"target": "local"},
    ),
    Case(
        "CacheServerUnreachable", "10m",
        {'probe_success{instance="a",job="cache-probe"}': "0x9", 'probe_success{instance="b",job="other"}': "0x9"},
        {'probe_success{instance="a",job="cache-probe"}': "1x9"}, {"instance": "a", "job": "cache-probe"},
    ),
    Case(
        "CacheServerNotWatched", "40m", {"attic_health_last_check_timestamp_seconds": "0x20"},
        {"attic_health_last_check_timestamp_seconds": "0+300x20"},
    ),
    Case(
        "CacheServerNotMeasured", "30m",
        {f'up{{instance="cache",{SERVER}}}': "0x9", 'up{instance="other",job="node"}': "0x9"},
        {f'up{{instance="cache",{SERVER}}}': "1x9"}, CACHE,
    ),
    Case(
        "CacheServerSlow", "40m", {'attic_health_response_seconds{target="public"}': "3x20"},
        {'attic_health_response_seconds{target="public"}': "0.1 9 0.1x18"}, {"target": "public"},
    ),
    Case(
        "CacheAnswersSlowly", "50m",
        {
            f'caddy_http_response_duration_seconds_bucket{{{SERVER},method="GET",le="5"}}': "0+90x20",
            f'caddy_http_response_duration_seconds_bucket{{{SERVER},method="GET",le="10"}}': "0+100x20",
            f'caddy_http_response_duration_seconds_bucket{{{SERVER},method="GET",le="+Inf"}}': "0+100x20",
        },
        {f'caddy_http_response_duration_seconds_bucket{{{SERVER},method="GET",le="5"}}': "0+99x20"},
    ),
    Case(
        "CacheAnswersWithErrors", "40m",
        {
            f'caddy_http_request_duration_seconds_count{{{SERVER},code="200"}}': "0+90x20",
            f'caddy_http_request_duration_seconds_count{{{SERVER},code="502"}}': "0+10x20",
        },
        {f'caddy_http_request_duration_seconds_count{{{SERVER},code="502"}}': "0+1x20"},
    ),
    Case(
        "CertificateEndsSoon", "2h",
        {
            'probe_ssl_earliest_cert_expiry{job="cache-probe"}': f"{9 * 86400}x30",
            "probe_ssl_earliest_cert_expiry": "0x30",
        },
        {'probe_ssl_earliest_cert_expiry{job="cache-probe"}': f"{29 * 86400}x30"}, {"job": "cache-probe"},
    ),
    Case(
        "DatabaseDown", "10m",
        {f'pg_up{{instance="cache",{SERVER}}}': "0x9", 'pg_up{instance="other",job="postgres"}': "0x9"},
        {f'pg_up{{instance="cache",{SERVER}}}': "1x9"}, CACHE,
    ),
    Case(
        "DiskFull", "30m",
        {
            f"node_filesystem_avail_bytes{DISK}": "5x9", f"node_filesystem_size_bytes{DISK}": "100x9",
            f"node_filesystem_avail_bytes{TMPFS}": "0x9", f"node_filesystem_size_bytes{TMPFS}": "100x9",
            f"node_filesystem_avail_bytes{OTHER_DISK}": "0x9", f"node_filesystem_size_bytes{OTHER_DISK}": "100x9",
        },
        {f"node_filesystem_avail_bytes{DISK}": "50x9"},
        DISK_LABELS,
    ),
    Case(
        "DiskFillsUp", "20h",
        {f"node_filesystem_avail_bytes{DISK}": "40-0.1x300", f"node_filesystem_size_bytes{DISK}": "100x300"},
        # It has ever less, but not that fast; and one that is nearly empty has time.
        {f"node_filesystem_avail_bytes{DISK}": "39-0.01x300"},
        DISK_LABELS,
    ),
    Case(
        "MetricsFileUnreadable", "30m", {f"node_textfile_scrape_error{{{SERVER}}}": "1x9"},
        {f"node_textfile_scrape_error{{{SERVER}}}": "0x9"}, {"job": "cache-server"},
    ),
    Case(
        "BackupTooOld", "1h", {"attic_backup_last_success_timestamp_seconds": "-130000x20"},
        {"attic_backup_last_success_timestamp_seconds": "-100000x20"},
    ),
    Case(
        "BackupFailed", "10h", {"attic_backup_last_run_failed": "1x200"},
        {"attic_backup_last_run_failed": "1x30 0x200"},
    ),
    Case(
        "OffsiteBackupTooOld", "1h",
        {"attic_backup_offsite_last_success_timestamp_seconds": "-130000x20", "attic_backup_offsite_enabled": "1x20"},
        {"attic_backup_offsite_enabled": "0x20"},
    ),
    Case("DrillFailed", "5m", {"attic_drill_last_run_failed": "1x9"}, {"attic_drill_last_run_failed": "0x9"}),
    Case(
        "DrillTooOld", "2h", {"attic_drill_last_success_timestamp_seconds": "-3500000x30"},
        {"attic_drill_last_success_timestamp_seconds": "-2700000x30"},
    ),
    Case("ChunksLost", "5m", {"attic_drill_lost_chunks": "1x9"}, {"attic_drill_lost_chunks": "0x9"}),
    Case(
        "GarbageNotCollected", "4h", {'attic_storage_overdue_seconds{cache="ci"}': "200000x60"},
        {'attic_storage_overdue_seconds{cache="ci"}': "43200x60"}, {"cache": "ci"},
    ),
    Case(
        "ChunksNotRemoved", "48h", {'attic_storage_chunks{state="deleted"}': "5000x600"},
        {'attic_storage_chunks{state="deleted"}': "5000x140 0 5000x140 0 5000x140 0 5000x200"}, {"state": "deleted"},
    ),
    Case(
        # Ever fewer: a large collection goes on.
        "ChunksNotRemoved", "48h", {'attic_storage_chunks{state="deleted"}': "300000x600"},
        {'attic_storage_chunks{state="deleted"}': "300000-100x600"}, {"state": "deleted"},
    ),
    Case(
        "UploadsStuck", "30h", {"attic_storage_stuck_chunks": "0+10x400"},
        {"attic_storage_stuck_chunks": "9000x400"},
    ),
    Case(
        "StorageNotCounted", "3h", {"attic_storage_last_success_timestamp_seconds": "-180000x40"},
        {"attic_storage_last_success_timestamp_seconds": "-80000x40"},
    ),
    *(
        Case(
            alert, "70m",
            {f'pipelinegen_deploy_result{{host="web1",result="{result}"}}': "1x20"},
            {f'pipelinegen_deploy_result{{host="web1",result="{result}"}}': "_x20",
             f'pipelinegen_deploy_result{{host="web1",result="{quiet}"}}': "1x20"},
            {"host": "web1", "result": result},
        )
        for alert, result, quiet in (
            ("DeploymentFailed", "failed", "deployed"),
            ("DeploymentFailed", "rollback-failed", "rolled-back"),
            ("DeploymentFailed", "rolled-back-unhealthy", "refused"),
            ("DeploymentFailed", "boot-failed", "warnings"),
            ("DeploymentFailed", "state-unknown", "locked"),
            ("DeploymentRolledBack", "rolled-back", "rollback-failed"),
            ("DeploymentIncomplete", "refused", "unchanged"),
        )
    ),
    Case(
        "PushesFail", "2h", {'pipelinegen_push_failures_total{cache="ci",class="server",project="fleet"}': "2x30"},
        {'pipelinegen_push_failures_total{cache="ci",class="server",project="fleet"}': "2x10 0x20"},
        {"cache": "ci", "class": "server", "project": "fleet"},
    ),
    Case(
        "HitRateFell", "15h",
        {f"pipelinegen_plan_hit_ratio{RATIO}": "0.9x100 0.2x90", f"pipelinegen_plan_known_outputs{RATIO}": "40x200"},
        {f"pipelinegen_plan_known_outputs{RATIO}": "3x200"},
        {"cache": "ci", "project": "fleet", "ref": "main"},
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool of Debian's prometheus")
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def severity(alert: str) -> str:
    (found,) = [rule["labels"]["severity"] for rule in rules() if rule["alert"] == alert]
    return str(found)


def unit_test(case: Case, series: dict[str, str], expected: list[Any]) -> dict[str, Any]:
    return {
        "name": case.alert,
        "interval": EVERY,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }


def run(promtool: str, folder: Path, rule_file: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    file = folder / "tests.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rule_file)], "evaluation_interval": EVERY, "tests": tests}, sort_keys=False)
    )
    return subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_rule_has_a_case_and_every_alert_has_words_for_people() -> None:
    assert sorted(rule["alert"] for rule in rules()) == sorted({case.alert for case in CASES})
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_alerts_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    # Their words are looked at elsewhere.
    bare = yaml.safe_load(RULES.read_text("utf-8"))
    for group in bare["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(bare))
    tests = []
    for case in CASES:
        expected = {"exp_labels": {"severity": severity(case.alert), **case.labels}}
        tests += [unit_test(case, case.fires, [expected]), unit_test(case, {**case.fires, **case.quiet}, [])]
    done = run(promtool, tmp_path, tmp_path / "rules.yml", tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_words_of_alerts_can_be_filled_in(promtool: str, tmp_path: Path) -> None:
    done = run(promtool, tmp_path, RULES, [unit_test(case, case.fires, []) for case in CASES])
    said = done.stdout + done.stderr
    assert set(re.findall(r'alertname="(\w+)"', said)) == {case.alert for case in CASES}
    assert not re.search(r"error expanding|<no value>|%!", said)
