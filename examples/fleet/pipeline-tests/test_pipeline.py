"""Snapshot tests of this fleet's own pipelines: what a change of configuration or flake does to them.

Renew the recording (it needs Nix) with `python -m pipelinegen.testing . pipeline-tests/fleet.json`, and the
snapshots with `pytest pipeline-tests --snapshot-update`; review both like code.
"""

from pathlib import Path

from syrupy.assertion import SnapshotAssertion

from pipelinegen import config_caches, config_file
from pipelinegen.testing import PipelineSnapshot, load_recording, render_pipeline

HERE = Path(__file__).parent
FLEET = load_recording(HERE / "fleet.json")

CACHE = config_caches.CacheConfig(url="https://cache.example.org", writers=config_caches.WriterClass.PROTECTED)
SETTINGS = config_file.load(HERE.parent).config
# One machine is enough to see what a push does.
CONFIG = SETTINGS.model_copy(update={"caches": {"fleet": CACHE}, "hosts": {"web1": SETTINGS.hosts["web1"]}})

# The cache holds everything but the website, as if only pkgs/website.nix had changed.
HELD = {path for drv in FLEET.derivations for path in drv.outputs.values() if path and "website" not in path}


def test_a_merge_request_builds_and_leaves_the_machines_alone(snapshot: SnapshotAssertion) -> None:
    pipeline = render_pipeline(FLEET, config=CONFIG, held={"fleet": HELD}, branch="feature", merge_request=True)
    assert '"deploy web1"' not in pipeline
    assert pipeline == snapshot(extension_class=PipelineSnapshot)


def test_a_push_to_main_deploys_behind_the_gates(snapshot: SnapshotAssertion) -> None:
    pipeline = render_pipeline(FLEET, config=CONFIG, held={"fleet": HELD}, branch="main")
    assert '"deploy web1"' in pipeline
    assert pipeline == snapshot(extension_class=PipelineSnapshot)
