"""Which host is meant."""

from __future__ import annotations

from pipelinegen.config import Config, close_match
from pipelinegen.config_hosts import HostConfig
from pipelinegen.errors import UsageError


def configured(name: str, config: Config) -> HostConfig:
    """The settings of the host of this name.

    Raises:
        UsageError: the configuration has none.
    """
    if name not in config.hosts:
        raise UsageError(
            f"there is no host {name!r} in the configuration{close_match(name, config.hosts)}",
            why=f"configured: {', '.join(sorted(config.hosts)) or 'none'}",
        )
    return config.hosts[name]
