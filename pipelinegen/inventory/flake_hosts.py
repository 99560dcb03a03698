"""Hosts that the flake describes for other tools: `deploy.nodes` of deploy-rs, the hive of colmena."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Collection
from typing import Any

from pipelinegen import nix
from pipelinegen.attrpath import nix_string, show
from pipelinegen.config import Config
from pipelinegen.errors import CommandError, ConfigError, FlakeError, TransientError
from pipelinegen.inventory.expression import flake_expression, json_expression, shipped
from pipelinegen.inventory.host_records import FoundHost, Merged, from_colmena, from_deploy_rs, merge
from pipelinegen.inventory.messages import shorten_lines, shorten_paths
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.records import LineReader, Message
from pipelinegen.inventory.trees import Trees, add_trees

_ABSENT = {
    "deploy-rs": ("deploy.nodes", "add deploy.nodes, or take deploy-rs out of hosts_from"),
    "colmena": ("colmenaHive", "add colmenaHive = colmena.lib.makeHive …, or take colmena out of hosts_from"),
}


def with_flake_hosts(source: FlakeSource, inventory: Inventory, config: Config) -> Merged:
    """The configuration with the hosts of the flake that `hosts_from` names.

    Evaluated as all outputs are: purely, and from the same locked reference.

    Raises:
        FlakeError: the flake's description of a host cannot be evaluated (and the host itself can).
        ConfigError: the flake has no such description, or what it says makes no sense.
        ToolError: there is no Nix.
    """
    if not config.hosts_from:
        return Merged(config)
    systems = {one.path[1] for one in inventory.outputs if _is_host(one.path)}
    failed = {one.path[1] for one in inventory.failures if _is_host(one.path)}
    try:
        evaluator = _Evaluator(source, add_trees(source), config)
    except CommandError as error:
        why = "\n".join(error.stderr_tail)
        raise FlakeError("Nix does not take the locked inputs of the flake", where=source.reference, why=why) from error
    found: list[FoundHost] = []
    notes: list[str] = []
    unread: set[str] = set()
    for tool in dict.fromkeys(config.hosts_from):
        hosts, lost = evaluator.hosts(tool, failed)
        found += hosts
        unread.update(lost)
        where = _ABSENT[tool][0]
        notes += [f"{where}.{show([name])}: cannot be evaluated, like the host itself" for name in lost]
    merged = merge(config, found, systems | failed, unread)
    return Merged(merged.config, merged.settings, (*notes, *merged.notes))


def _is_host(path: tuple[str, ...]) -> bool:
    return len(path) == 2 and path[0] == "nixosConfigurations"


class _FailedError(Exception):
    """Nix's own message."""


class _Evaluator:
    def __init__(self, source: FlakeSource, trees: Trees, config: Config) -> None:
        self._source = source
        self._trees = trees
        self._settings = config.evaluation

    def hosts(self, tool: str, failed: Collection[str]) -> tuple[list[FoundHost], list[str]]:
        """What one tool's output says, and the hosts of which it cannot be read, nor they themselves."""
        output, hint = _ABSENT[tool]
        try:
            listed = self._evaluate(tool, None)
        except _FailedError as error:
            raise FlakeError(f"{output} of the flake cannot be evaluated", why=str(error)) from None
        if listed is None:
            raise ConfigError(f"hosts_from names {tool}, but the flake has no {output}", hint=hint)
        if listed.get("unevaluated"):
            raise ConfigError(
                "a hive of colmena can be read only where the flake evaluates it",
                problems=["the flake has no colmenaHive.deploymentConfig; what `colmena` holds are modules"],
                hint="in the flake's outputs: colmenaHive = colmena.lib.makeHive self.outputs.colmena;",
            )
        names = sorted(listed["nodes"])
        records, lost = self._records(tool, names, failed, output)
        above = listed.get("settings", {})
        return [from_deploy_rs(one, above) if tool == "deploy-rs" else from_colmena(one) for one in records], lost

    def _records(
        self, tool: str, names: list[str], failed: Collection[str], output: str
    ) -> tuple[list[dict[str, Any]], list[str]]:
        with contextlib.suppress(_FailedError):
            return self._described(tool, names), []
        # One of them is to blame; Nix does not go on without it.
        records: list[dict[str, Any]] = []
        lost: list[str] = []
        for name in names:
            try:
                records += self._described(tool, [name])
            except _FailedError as error:
                if name not in failed:
                    where = f"{output}.{show([name])}"
                    raise FlakeError(
                        "a host cannot be taken over from the flake", where=where, why=str(error)
                    ) from None
                lost.append(name)
        return records, lost

    def _described(self, tool: str, names: list[str]) -> list[dict[str, Any]]:
        if not names:
            return []
        described = self._evaluate(tool, names)
        if described is None:
            raise _FailedError
        records: list[dict[str, Any]] = described["nodes"]
        return records

    def _evaluate(self, tool: str, only: list[str] | None) -> dict[str, Any] | None:
        """Evaluate `hosts.nix`.

        Raises:
            _FailedError: Nix says why.
        """
        said: deque[str] = deque(maxlen=3)
        reader = LineReader("no reports")

        def take(line: str) -> None:
            with contextlib.suppress(ValueError):  # what the flake itself traces
                match reader.read(line):
                    case Message(text=text):
                        said.append(text)

        expression = (
            f"({shipped('hosts.nix')}) {{ outputs = {flake_expression(self._source, self._trees)}; "
            f"tool = {nix_string(tool)}; only = {json_expression(only)}; }}"
        )
        limit = self._settings.timeout
        try:
            text = nix.evaluate_json(
                expression,
                pure=not self._settings.impure,
                allow_import_from_derivation=self._settings.allow_import_from_derivation,
                max_memory_mb=self._settings.max_memory_mb,
                timeout=limit,
                on_line=take,
            )
        except TransientError:
            raise _FailedError(f"evaluation took longer than {limit} s (evaluation.timeout)") from None
        except CommandError as error:
            message = shorten_paths(shorten_lines("\n".join(said)), self._source.store_path)
            raise _FailedError(message or error.message) from None
        answer: dict[str, Any] | None = json.loads(text)
        return answer
