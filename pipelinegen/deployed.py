"""Which system each host was last given, as far as that is known without asking the host.

GitLab tells the commit of the last deployment and mostly the system, too. Where it tells only the commit, that
commit is evaluated, up to `evaluation.max_bases` of them. A host of which nothing is known is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipelinegen.changes.model import Status
from pipelinegen.config import Config
from pipelinegen.config_hosts import Policy
from pipelinegen.gitlab_deployments import LastDeployment
from pipelinegen.inventory.model import FlakeOutput, Inventory, Kind
from pipelinegen.job_names import environment_name


@dataclass(frozen=True)
class Deployed:
    """What hosts were last given.

    Attributes:
        systems: host → store path of its system.
        unknown: host → why that is not known, as the end of a sentence.
    """

    systems: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def systems_deployed(
    config: Config,
    inventory: Inventory,
    *,
    last_deployed: Callable[[str], LastDeployment],
    inventory_at: Callable[[str], Inventory | None],
    at_hand: Mapping[str, Inventory],
    status: Mapping[str, Status],
) -> Deployed:
    """Ask for each host of the flake that is deployed.

    Args:
        config: its hosts and environments, and how many commits may be evaluated.
        inventory: what the flake offers now.
        last_deployed: what GitLab knows of an environment.
        inventory_at: evaluates a commit; null where it cannot be had.
        at_hand: commit → what the flake offers there, of commits that were evaluated anyway.
        status: attribute → how it compares with the base.
    """
    systems: dict[str, str] = {}
    unknown: dict[str, str] = {}
    commits: dict[str, str] = {}
    outputs = {output.path[-1]: output for output in inventory.outputs if output.kind is Kind.NIXOS}
    shared = _shared_environments(config)
    for host, settings in sorted(config.hosts.items()):
        if host not in outputs or settings.policy is Policy.NEVER:
            continue
        environment = settings.environment or environment_name(host)
        if others := sorted(shared[environment] - {host}):
            # The deployments of one would be taken for the other's.
            unknown[host] = f"host {', '.join(others)} has the same environment"
            continue
        last = last_deployed(environment)
        if last.system is not None:
            systems[host] = last.system
        elif last.commit is not None:
            commits[host] = last.commit
        else:
            unknown[host] = last.unknown or "GitLab does not tell"
    _evaluate(commits, config, inventory_at, at_hand, systems, unknown)
    for host in sorted(systems):
        if _came_back(outputs[host], systems[host], status):
            # The pipeline of the commit in between may yet deploy what was meanwhile.
            unknown[host] = "its system changed and is now again what its last deployment gave it"
            del systems[host]
    return Deployed(systems, unknown)


def _evaluate(
    commits: Mapping[str, str],
    config: Config,
    inventory_at: Callable[[str], Inventory | None],
    at_hand: Mapping[str, Inventory],
    systems: dict[str, str],
    unknown: dict[str, str],
) -> None:
    """Add what commits tell: first those that tell of most hosts, and of these that of the host that is first."""
    hosts_of: dict[str, list[str]] = {}
    for host, commit in sorted(commits.items()):
        hosts_of.setdefault(commit, []).append(host)
    left = config.evaluation.max_bases
    for commit, hosts in sorted(hosts_of.items(), key=lambda item: (-len(item[1]), item[1][0])):
        if config.evaluation.impure:
            unknown.update(dict.fromkeys(hosts, f"an impure evaluation of {commit[:12]} may not be what it was then"))
            continue
        found = at_hand.get(commit)
        if found is None:
            if left == 0:
                why = f"evaluating {commit[:12]} would be one commit more than evaluation.max_bases allows"
                unknown.update(dict.fromkeys(hosts, why))
                continue
            left -= 1
            found = inventory_at(commit)
        for host in hosts:
            system = _system(found, host)
            if system is None:
                unknown[host] = f"what {commit[:12]} gave it cannot be evaluated"
            else:
                systems[host] = system


def _system(inventory: Inventory | None, host: str) -> str | None:
    for output in inventory.outputs if inventory else ():
        if output.kind is Kind.NIXOS and output.path[-1] == host and len(output.wanted_paths) == 1:
            return output.wanted_paths[0]
    return None


def _shared_environments(config: Config) -> dict[str, set[str]]:
    """Environment → hosts that are deployed to it."""
    shared: dict[str, set[str]] = {}
    for host, settings in config.hosts.items():
        shared.setdefault(settings.environment or environment_name(host), set()).add(host)
    return shared


def _came_back(output: FlakeOutput, given: str, status: Mapping[str, Status]) -> bool:
    return output.wanted_paths == (given,) and status.get(output.attr) is Status.CHANGED
