"""The code base tests itself: which folder may import which, who may touch the world, how large a file is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipelinegen

PACKAGE = Path(pipelinegen.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = {
    "pipelinegen",
    "attrpath",
    "characters",
    "ci_env",
    "config",
    "config_caches",
    "config_file",
    "config_hosts",
    "config_words",
    "console",
    "durations",
    "errors",
    "files",
    "history",
    "history_files",
    "inotify",
    "interrupts",
    "job_names",
    "local_store",
    "machine",
    "nar",
    "nix",
    "nix_daemon",
    "openmetrics",
    "path_info",
    "private_files",
    "process",
    "remote_store",
    "progress",
    "secret_files",
    "secret_references",
    "values",
}

ARROWS = {
    "inventory": {"inventory"},
    "memo": {"memo", "inventory", "gitlab_artifacts", "gitlab_transport"},
    "changes": {"changes", "inventory.model"},
    "cache": {"cache"},
    "plan": {"plan", "inventory.model", "changes.model", "cache.model", "cache.trust"},
    "pipeline": {"pipeline", "plan.model", "plan.situation", "cache.trust"},
    "report": {"report", "plan.model"},
    "run": {"run", "plan.model", "cache"},
    "deploy": {"deploy", "run", "cache.trust", "gitlab_report"},
    "doctor": {
        *("doctor", "cache", "memo.last", "memo.store", "onepassword", "pipeline.secret_names", "pipeline.sign_in"),
    },
}
"""Folder → what of the package it may import besides `BASE`; arrows point only forward."""

WORLD = {
    "subprocess": {"process.py"},
    "random": {"cache/attic/upload.py"},
    "secrets": {
        *("inventory/instantiate.py", "inventory/survey.py", "deploy/supervisor.py", "deploy/transfer.py"),
        "doctor/read_nix.py",
    },
    "socket": set(),
}
"""Module of the standard library → the only files that may import it."""

READS_ENVIRONMENT = {"cli/session.py", "console.py", "gitlab_api.py", "process.py", "secret_files.py"}

PURE_FOLDERS = ("plan", "pipeline", "report")
PURE = [
    *sorted(
        path.relative_to(PACKAGE).as_posix() for folder in PURE_FOLDERS for path in (PACKAGE / folder).rglob("*.py")
    ),
    *(
        "attrpath.py",
        "deployed.py",
        "durations.py",
        "history.py",
        "openmetrics.py",
        "recorded.py",
        "changes/compare.py",
        "changes/model.py",
        "memo/effect.py",
        "memo/judge.py",
        "memo/model.py",
        "cache/model.py",
        "cache/netrc.py",
        "cache/substituters.py",
        "cache/trust.py",
    ),
    *("secret_references.py", "doctor/model.py"),
    *("doctor/judge_nix.py", "doctor/judge_machine.py", "doctor/judge_memo.py", "doctor/judge_secrets.py"),
    *("deploy/report_junit.py", "deploy/report_markdown.py", "deploy/report_metrics.py", "deploy/say.py"),
    *("inventory/aterm.py", "inventory/dealing.py", "inventory/frontier.py", "inventory/model.py"),
    *("run/metrics.py", "run/names.py"),
]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Full dotted names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", [m for m in MODULES if m.parent != PACKAGE], ids=relative)
def test_arrows_between_folders_point_forward(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0]
    if folder == "cli":
        return
    inside = {name.removeprefix("pipelinegen.") for name in imports(path) if name.startswith("pipelinegen")}
    modules = {relative(module).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in MODULES}
    wrong = {
        name
        for name in inside & modules
        if name.split(".")[0] not in BASE
        and not any(name == ok or name.startswith(f"{ok}.") for ok in ARROWS[folder])
        and not any(ok.startswith(f"{name}.") for ok in ARROWS[folder])
    }
    assert not wrong, f"{relative(path)} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_the_named_modules_touch_the_world(path: Path) -> None:
    name = relative(path)
    for module, owners in WORLD.items():
        if module in set(imports(path)):
            assert name in owners, f"{name} imports {module}"
    source = path.read_text("utf-8")
    if "os.environ" in source or "os.getenv" in source:
        assert name in READS_ENVIRONMENT, f"{name} reads the environment"
    used = set(calls(path))
    assert "print" not in used, f"{name} prints"
    if name not in {"cli/__init__.py", "testing.py", "reference.py"}:
        assert "sys.exit" not in used, f"{name} exits"
    if not name.startswith("cli/"):
        assert "click.echo" not in used, f"{name} echoes"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_clock_and_no_folder(name: str) -> None:
    path = PACKAGE / name
    forbidden = {"time", "datetime", "random", "os", "subprocess", "tempfile", "pipelinegen.process", "pipelinegen.nix"}
    assert not forbidden & set(imports(path)), f"{name} is pure"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_is_longer_than_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{relative(path)} has no docstring"
