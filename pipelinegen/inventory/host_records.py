"""What other tools' descriptions of hosts mean in ours, and how both are merged. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from pipelinegen.attrpath import show
from pipelinegen.config import Config
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import plain
from pipelinegen.errors import ConfigError

Settings = Mapping[str, "str | int | bool | tuple[str, ...]"]

_SUDO = re.compile(r"(/run/wrappers/bin/)?sudo")


@dataclass
class FoundHost:
    """A host that the flake describes.

    Attributes:
        name: of the node.
        where: attribute path of its description, for people.
        settings: keys of `HostConfig` and values that nobody has looked at yet.
        skipped: why it is not deployed by what the flake says; null where it may be.
        notes: what of its description has no meaning here.
    """

    name: str
    where: str
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None
    notes: list[str] = field(default_factory=list)


def from_deploy_rs(record: Mapping[str, Any], above: Mapping[str, Any]) -> FoundHost:
    """A node of deploy-rs.

    Only its profile `system` is a host's. A profile's settings win over those of its node, which win over those
    above all nodes; `sshOpts` of all three are put together in that order (deploy-rs, `src/lib.rs`).

    Args:
        record: of `hosts.nix`.
        above: the settings above all nodes.
    """
    name = record["name"]
    host = FoundHost(name, f"deploy.nodes.{show([name])}")
    profiles: Mapping[str, Mapping[str, Any]] = record["profiles"]
    others = sorted(set(profiles) - {"system"})
    if others:
        host.notes.append(f"only the profile `system` is deployed, not {', '.join(map(plain, others))}")
    if "system" not in profiles:
        host.skipped = "it has no profile `system`"
        return host
    levels = (profiles["system"], record["settings"], above)

    def setting(key: str) -> Any:
        return next((level[key] for level in levels if level.get(key) is not None), None)

    host.settings["address"] = record["hostname"]
    if setting("user") not in (None, "root") and setting("user") != setting("sshUser"):
        host.skipped = f"its profile `system` belongs to the user {plain(str(setting('user')))}, not to root"
    _take(host, "user", setting("sshUser"))
    for key, name_there in (("activation_timeout", "activationTimeout"), ("confirm_timeout", "confirmTimeout")):
        _take(host, key, _seconds(setting(name_there)))
    if setting("fastConnection") is True:
        host.settings["substitute"] = False
    if setting("autoRollback") is False:
        host.settings["rollback_on"] = ()
        host.notes.append("autoRollback = false: an activation that fails is undone all the same")
    if setting("magicRollback") is False:
        host.notes.append(
            "magicRollback = false: a host that cannot be reached afterwards is brought back all the same; "
            "confirm_address is for a change that moves it"
        )
    if setting("interactiveSudo") is True:
        host.notes.append("interactiveSudo: nobody is there to type a password in; sudo must work without one")
    sudo = setting("sudo")
    if sudo is not None and not _SUDO.match(str(sudo)):
        host.notes.append(f"sudo = {plain(str(sudo))}: only sudo is known here")
    _ssh_options(host, "sshOpts", [one for level in levels for one in _list(level.get("sshOpts"))])
    return host


def from_colmena(record: Mapping[str, Any]) -> FoundHost:
    """A node of a colmena hive, by what its options `deployment.*` are in the end."""
    name = record["name"]
    host = FoundHost(name, f"colmenaHive.deploymentConfig.{show([name])}")
    settings = record["settings"]
    if settings.get("targetHost") is None:
        host.skipped = "deployment.targetHost is null: it is only deployed by itself"
        return host
    host.settings["address"] = settings["targetHost"]
    _take(host, "user", settings.get("targetUser"))
    _take(host, "port", settings.get("targetPort"))
    if settings.get("replaceUnknownProfiles") is False:
        host.settings["on_drift"] = "refuse"
    if record["keys"]:
        keys = ", ".join(map(plain, sorted(record["keys"])))
        host.notes.append(f"deployment.keys are not uploaded: {keys}")
    command = _list(settings.get("privilegeEscalationCommand"))
    if command and not _SUDO.fullmatch(str(command[0])):
        host.notes.append(f"privilegeEscalationCommand {plain(str(command[0]))}: only sudo is known here")
    _ssh_options(host, "sshOptions", _list(settings.get("sshOptions")))
    return host


def _take(host: FoundHost, key: str, value: Any) -> None:
    if value is not None:
        host.settings[key] = value


def _seconds(value: Any) -> Any:
    return f"{value} seconds" if isinstance(value, int) and not isinstance(value, bool) else value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _ssh_options(host: FoundHost, what: str, options: Sequence[Any]) -> None:
    """Take the port and the key from ssh's options; as for ssh, what comes first counts."""
    rest = [str(one) if isinstance(one, str | int) else "…" for one in options]
    unknown = []
    while rest:
        word = rest.pop(0)
        flag, value = word[:2], word[2:]
        if flag in ("-p", "-i", "-l", "-o"):
            value = value or (rest.pop(0) if rest else "")
        if flag == "-o":
            key, _, given = value.replace("=", " ", 1).strip().partition(" ")
            flag = {"port": "-p", "identityfile": "-i", "user": "-l"}.get(key.lower(), f"-o {value}")
            value = given.strip()
        if flag == "-p":
            host.settings.setdefault("port", int(value) if value.isdecimal() and value.isascii() else value)
        elif flag == "-i" and PurePosixPath(value).is_absolute():
            host.settings.setdefault("ssh_key_file", value)
        elif flag == "-l":
            host.settings.setdefault("user", value)
        else:
            unknown.append(f"-i {value}" if flag == "-i" else flag if flag.startswith("-o ") else word)
    if unknown:
        host.notes.append(f"{what}: not taken over: {plain(' '.join(unknown))}")


@dataclass(frozen=True)
class Merged:
    """Hosts of the configuration and of the flake together.

    Attributes:
        config: with all of them.
        settings: host → what the flake says of it and the configuration does not, as a JSON object: all that a
            job needs besides the configuration.
        notes: for people.
    """

    config: Config
    settings: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def merge(
    config: Config, found: Iterable[FoundHost], names: Iterable[str], unread: Collection[str] = frozenset()
) -> Merged:
    """Put both together: key by key, the configuration wins over the flake, and what is found first over the rest.

    Args:
        config: with hosts that may lack an address.
        found: as the flake says.
        names: of the flake's `nixosConfigurations`; a node of another name is nobody's host.
        unread: hosts of which the flake's word could not be read, nor they themselves: nothing is deployed there.

    Raises:
        ConfigError: a host's settings are wrong, or it has no address; all findings at once.
    """
    known = set(names)
    added: dict[str, dict[str, Any]] = {}
    places: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for one in found:
        notes += [f"{one.where}: {note}" for note in one.notes]
        if one.name not in known:
            notes.append(
                f"{one.where}: there is no nixosConfigurations.{show([one.name])}, so nothing is deployed there"
            )
        elif one.skipped and one.name not in config.hosts:
            notes.append(f"{one.where}: not deployed: {one.skipped}")
        elif not one.skipped:
            for key, value in one.settings.items():
                added.setdefault(one.name, {}).setdefault(key, value)
                places.setdefault(one.name, {}).setdefault(key, one.where)
    hosts = dict(config.hosts)
    settings: dict[str, str] = {}
    problems: list[str] = []
    for name in sorted({*added, *hosts}):
        own = {key: getattr(hosts[name], key) for key in hosts[name].model_fields_set} if name in hosts else {}
        more = {key: value for key, value in added.get(name, {}).items() if key not in own}
        try:
            hosts[name] = HostConfig.model_validate(more | own)
        except ValidationError as error:
            problems += [_problem(name, finding, places.get(name, {})) for finding in error.errors()]
            continue
        if not hosts[name].address and name not in unread:
            problems.append(f"hosts.{show([name])}.address: missing, also in what hosts_from names")
        if more:
            said = hosts[name].model_dump(mode="json", include=set(more))
            settings[name] = json.dumps(said, sort_keys=True, separators=(",", ":"))
    if problems:
        raise ConfigError("hosts cannot be taken over from the flake", problems=problems)
    values = {key: getattr(config, key) for key in config.model_fields_set} | {"hosts": hosts}
    try:
        return Merged(Config.model_validate(values), settings, tuple(notes))
    except ValidationError as error:
        found_wrong = [plain(str(finding["msg"])) for finding in error.errors()]
        raise ConfigError("hosts cannot be taken over from the flake", problems=found_wrong) from None


def _problem(name: str, finding: Any, places: Mapping[str, str]) -> str:
    key = str(finding["loc"][0]) if finding["loc"] else ""
    place = f" (from {places[key]})" if key in places else ""
    given = plain(repr(finding["input"]))[:80]
    return f"hosts.{show([name])}.{key}{place}: {plain(finding['msg'])}, found {given}"
