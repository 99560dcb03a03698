"""What `generate` measures, with real git and Nix."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.config_caches import CacheConfig
from pipelinegen.history import HISTORY_FILE, Entry, History
from pipelinegen.history_files import write_history
from tests.gitrepo import commit, make_repo
from tests.integration.test_generate import pipelinegen
from tests.integration.test_rotation import make_key
from tests.unit.test_openmetrics import values

pytestmark = pytest.mark.nix

SYSTEM = "x86_64-linux"
FLAKE = """\
{
  outputs = { self }: let
    make = name: inputs: derivation {
      inherit name inputs;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo > $out" ];
    };
    lib = make "lib-1.0" [ ];
  in {
    packages.x86_64-linux = {
      a = make "a-2.0" [ lib ];
      broken = throw "not this one";
    };
  };
}
"""


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    commit(make_repo(folder), {"flake.nix": FLAKE}, "first")
    return folder


def generated(repository: Path) -> tuple[str, str]:
    """Metrics and report."""
    done = pipelinegen("generate", "--offline", "--no-memo", "--output", "out", cwd=repository)
    assert done.returncode == 0, done.stderr
    return (repository / "out" / "metrics.txt").read_text(), (repository / "out" / "report.txt").read_text()


def test_the_metrics_of_a_plan_lie_beside_it_and_are_always_the_same(repository: Path) -> None:
    metrics, report = generated(repository)
    assert values(metrics, "pipelinegen_plan_outputs") == {"run": 1, "available": 0, "skip": 0, "fail": 0}
    assert values(metrics, "pipelinegen_plan_derivations") == {"": 2}
    assert values(metrics, "pipelinegen_plan_evaluation_failures") == {"": 1}
    assert "recorded build times" not in report
    assert generated(repository) == (metrics, report)


def test_recorded_times_say_what_the_builds_take(repository: Path) -> None:
    history = History(entries={SYSTEM: {"a": Entry(recent=(3.0,)), "lib": Entry(recent=(60.0,))}})
    write_history(repository / HISTORY_FILE, history)
    metrics, report = generated(repository)
    assert values(metrics, "pipelinegen_plan_build_seconds") == {"with": 63, "without": 63}
    assert "note: by recorded build times, builds take 1m 3s, and what is in caches spares 0s\n" in report


def test_what_is_in_a_cache_is_spared_with_all_that_it_is_built_from(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    url = f"file://{tmp_path / 'cache'}"
    secret, public = make_key(tmp_path, "cache-1")
    generated(repository)
    outputs = json.loads((repository / "out" / "plan.json").read_text())["outputs"]
    (drv_path,) = [output["drv_path"] for output in outputs]
    built = subprocess.run(["nix-store", "--realise", drv_path], check=True, capture_output=True, text=True)
    # Not what it was built from: nobody needs that any more.
    settings = CacheConfig(url=url, writers="protected", secret_key_file=str(secret))
    NixStoreCache("prod", settings).push([built.stdout.strip()])
    (repository / "cached.toml").write_text(
        f'[caches.prod]\nurl = "{url}"\nwriters = "protected"\npublic_key = "{public}"\n'
    )
    history = History(entries={SYSTEM: {"a": Entry(recent=(3.0,)), "lib": Entry(recent=(60.0,))}})
    write_history(repository / "history.json", history)
    done = pipelinegen(
        "--config", "cached.toml", "generate", "--history", "history.json", "--output", "out", cwd=repository
    )
    assert done.returncode == 0, done.stderr
    metrics = (repository / "out" / "metrics.txt").read_text()
    assert values(metrics, "pipelinegen_plan_hit_ratio") == {"prod": 1}
    assert values(metrics, "pipelinegen_plan_outputs")["available"] == 1
    assert values(metrics, "pipelinegen_plan_derivations") == {"": 0}
    assert values(metrics, "pipelinegen_plan_build_seconds") == {"with": 0, "without": 63}
