"""Finding and reading the configuration file, and telling everything that is wrong with it at once."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from pipelinegen import attrpath
from pipelinegen.config import (
    FILE_NAME,
    Config,
    Evaluation,
    GitLab,
    Packing,
    Runner,
    TestConfig,
    close_match,
)
from pipelinegen.config_caches import CacheConfig, Handoff, Pushing
from pipelinegen.config_hosts import Fleet, HostConfig, Probe
from pipelinegen.errors import ConfigError
from pipelinegen.secret_references import PREFIX
from pipelinegen.values import Value


class LoadedConfig(Value):
    """A configuration and where it came from (null: no file, all defaults)."""

    config: Config
    file: Path | None = None
    raw: dict[str, Any] = Field(default_factory=dict)


def find_file(start: Path) -> Path | None:
    """The closest configuration file from `start` upwards, not beyond the top of the git repository."""
    for folder in (start.resolve(), *start.resolve().parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
        pyproject = folder / "pyproject.toml"
        if pyproject.is_file():
            try:
                table = tomllib.loads(pyproject.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
                table = {}  # somebody else's file; not ours to complain about
            tools = table.get("tool")
            if isinstance(tools, dict) and "pipelinegen" in tools:
                return pyproject
        if (folder / ".git").exists():
            return None
    return None


def load(start: Path, *, explicit: Path | None = None) -> LoadedConfig:
    """Read the configuration for the flake in `start`.

    Args:
        start: folder of the flake.
        explicit: the file the user named; it must exist.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or has wrong or unknown keys (all listed).
    """
    file = explicit or find_file(start)
    if file is None:
        return LoadedConfig(config=Config())
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("cannot read the configuration", where=str(file), problems=[error.strerror or ""]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("the configuration is no TOML", where=str(file), problems=[str(error)]) from error
    if file.name == "pyproject.toml":
        tools = table.get("tool")
        table = tools.get("pipelinegen", {}) if isinstance(tools, dict) else {}
    config = _anchored(parse(table, where=str(file)), file.parent.resolve())
    return LoadedConfig(config=config, file=file, raw=table)


_FILES = ("secret_key_file", "netrc_file", "token_file", "push_token_file", "ssh_key_file", "known_hosts_file")
T = TypeVar("T", CacheConfig, HostConfig)


def _anchored(config: Config, folder: Path) -> Config:
    """The same, with relative names of files meaning what lies beside the configuration, wherever one works."""
    caches = {name: _with_files(cache, folder) for name, cache in config.caches.items()}
    hosts = {name: _with_files(host, folder) for name, host in config.hosts.items()}
    return config.model_copy(update={"caches": caches, "hosts": hosts})


def _with_files(settings: T, folder: Path) -> T:
    named = {key: getattr(settings, key, None) for key in _FILES}
    # A variable's content is a name that the runner chose; a reference leads to 1Password.
    relative = {key: file for key, file in named.items() if file and not file.startswith(("$", PREFIX))}
    return settings.model_copy(update={key: str(folder / file) for key, file in relative.items()})


def parse(table: dict[str, Any], *, where: str | None = None) -> Config:
    """Check a configuration that was read from TOML.

    Raises:
        ConfigError: listing every wrong or unknown key.
    """
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        problems = [_problem(dict(finding)) for finding in error.errors()]
        raise ConfigError(
            "the configuration has mistakes" if len(problems) > 1 else "the configuration has a mistake",
            where=where,
            problems=problems,
            hint="pipelinegen config schema prints every key",
        ) from None


def with_host(loaded: LoadedConfig, name: str, settings: str | None) -> Config:
    """The configuration with more settings of one host, which need not be in it.

    Args:
        settings: keys of `[hosts.NAME]` as a JSON object; they win over those of the file. Null changes nothing.

    Raises:
        ConfigError: they are no JSON object, or have wrong or unknown keys (all listed).
    """
    if settings is None:
        return loaded.config
    where = "--settings"
    try:
        given = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise ConfigError("the settings of a host are no JSON", where=where, problems=[str(error)]) from error
    if not isinstance(given, dict):
        raise ConfigError("the settings of a host are no JSON object", where=where)
    known = loaded.config.hosts.get(name)
    table = (known.model_dump(mode="json", exclude_unset=True) if known else {}) | given
    host = parse({"hosts": {name: table}}, where=where).hosts[name]
    folder = (loaded.file.parent if loaded.file else Path()).resolve()
    hosts = loaded.config.hosts | {name: _with_files(host, folder)}
    return loaded.config.model_copy(update={"hosts": hosts})


def _problem(finding: dict[str, Any]) -> str:
    location = attrpath.show([str(part) for part in finding["loc"]])
    if finding["type"] == "extra_forbidden":
        known = _known_keys(finding["loc"][:-1])
        return f"{location}: there is no such key{close_match(str(finding['loc'][-1]), known)}"
    message = str(finding["msg"]).removeprefix("Value error, ")
    return f"{location}: {message}" if location else message


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    sections: dict[str, type[Value]] = {
        "evaluation": Evaluation,
        "gitlab": GitLab,
        "runners": Runner,
        "caches": CacheConfig,
        "handoff": Handoff,
        "packing": Packing,
        "push": Pushing,
        "hosts": HostConfig,
        "fleet": Fleet,
        "tests": TestConfig,
    }
    model = sections.get(str(location[0]), Config) if location else Config
    if len(location) > 2 and location[2] in {"health", "smoke"}:
        model = Probe
    return list(model.model_fields)
