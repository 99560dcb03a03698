"""What the files of a system tell that is to be deployed: from the local store, or by the host's own word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen import local_store
from pipelinegen.console import clean
from pipelinegen.deploy.inhibitors import Facts, read_facts
from pipelinegen.deploy.preflight_answers import Closures


@dataclass(frozen=True)
class System:
    """The new system, as far as its files can be read.

    Attributes:
        facts: see `inhibitors.Facts`.
        hostname, platform: whom and what it is made for; empty where it does not say.
        switches: whether it has a switch script.
        closure: store path → bytes.
        boot_files: `kernel` and `initrd`: path and bytes.
    """

    facts: Facts = field(default_factory=dict)
    hostname: str = ""
    platform: str = ""
    switches: bool = True
    closure: Mapping[str, int] | None = None
    boot_files: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def read_local(system: str) -> System:
    """A system in the local store.

    Raises:
        CommandError: it is not valid there.
    """
    folder = Path(system)
    boot_files = {}
    for part in ("kernel", "initrd"):
        file = (folder / part).resolve()
        if file.is_file():
            boot_files[part] = (str(file), file.stat().st_size)
    return System(
        facts=read_facts(system),
        hostname=_first_line(folder / "etc" / "hostname"),
        platform=_first_line(folder / "system"),
        switches=(folder / "bin" / "switch-to-configuration").exists(),
        closure=local_store.path_sizes(local_store.requisites([system])),
        boot_files=boot_files,
    )


def of_the_host(there: Closures) -> System:
    """A system that only the host may have. Its kernel is in /boot, or was; that of one that is gone is not known."""
    return System(
        facts=there.facts,
        hostname=there.hostname,
        platform=there.platform,
        switches=there.switches or bool(there.missing),
        closure=there.new,
    )


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return clean(opened.read(300).decode("utf-8", "replace").split("\n")[0], colour=False).strip()
    except OSError:
        return ""
