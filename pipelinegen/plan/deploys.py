"""The jobs that deploy hosts, wave by wave, with what stands between the waves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelinegen.config import Config
from pipelinegen.config_hosts import Policy
from pipelinegen.inventory.model import FlakeOutput
from pipelinegen.job_names import job_name
from pipelinegen.plan.model import Action, Stage, Task
from pipelinegen.plan.waves import Rollout, Wave


@dataclass(frozen=True)
class Deployment:
    """A host's system that is to be deployed.

    Attributes:
        needs: what it waits for besides other hosts: builds, gate, push.
        takes: those of them whose outputs it reads.
        settings: see `Task.settings`.
    """

    output: FlakeOutput
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    settings: str = ""

    @property
    def host(self) -> str:
        """Its name in the configuration."""
        return self.output.path[-1]


def deploy_job(host: str) -> str:
    """Name of the job that deploys a host."""
    return job_name("deploy", host)


def deploy_tasks(deployments: Sequence[Deployment], rollout: Rollout, config: Config) -> list[Task]:
    """All jobs of the deploy stage, each behind those that it needs."""
    tasks: list[Task] = []
    for wave in rollout.waves:
        behind = rollout.before(wave)
        needs = (_collector(behind),) if behind else ()
        start: tuple[str, ...] = ()
        if rollout.approved(wave):
            start = (job_name("start", _collector(wave)),)
            tasks.append(
                Task(
                    name=start[0],
                    action=Action.START,
                    stage=Stage.DEPLOY,
                    needs=needs,
                    subject=str(wave.number),
                    hosts=wave.hosts,
                    behind=rollout.behind(wave),
                )
            )
        for one in deployments:
            if one.host in wave.hosts:
                tasks += _deploy(one, rollout, wave, (*needs, *start), config)
            elif one.host in wave.manual:
                # Its own approval is enough of a person's word.
                tasks += _deploy(one, rollout, wave, needs, config)
        if wave in rollout.collected:
            tasks.append(_collect(rollout, wave))
    return tasks + _roll_backs(deployments, rollout)


def _collector(wave: Wave) -> str:
    return job_name("wave", str(wave.number))


def _deploy(one: Deployment, rollout: Rollout, wave: Wave, before: tuple[str, ...], config: Config) -> list[Task]:
    needs = (*one.needs, *before)
    behind = rollout.behind(wave)
    tasks = []
    if config.hosts[one.host].policy is Policy.MANUAL:
        approve = job_name("approve", one.host)
        tasks.append(
            Task(
                name=approve,
                action=Action.APPROVE,
                stage=Stage.DEPLOY,
                targets=(one.output.attr,),
                needs=needs,
                subject=one.host,
                behind=behind,
            )
        )
        needs = (*needs, approve)
    read = rollout.brings_back or (wave in rollout.collected and rollout.counts(wave))
    tasks.append(
        Task(
            name=deploy_job(one.host),
            action=Action.DEPLOY,
            stage=Stage.DEPLOY,
            targets=(one.output.attr,),
            needs=needs,
            takes=one.takes,
            store_paths=one.output.wanted_paths,
            subject=one.host,
            settings=one.settings,
            reported=read and one.host in wave.hosts,
            behind=behind,
        )
    )
    return tasks


def _collect(rollout: Rollout, wave: Wave) -> Task:
    """The job that passes when a wave has gone well, and that all behind it wait for."""
    deploys = tuple(deploy_job(host) for host in wave.hosts)
    counts = rollout.counts(wave)
    return Task(
        name=_collector(wave),
        action=Action.WAVE,
        stage=Stage.DEPLOY,
        needs=() if counts else deploys,
        reads=deploys if counts else (),
        subject=str(wave.number),
        hosts=wave.hosts,
        allowed=rollout.allowed(wave),
        behind=wave.number if counts else rollout.behind(wave),
    )


def _roll_backs(deployments: Sequence[Deployment], rollout: Rollout) -> list[Task]:
    """One job for each host that brings it back when a wave has failed, the same wave's included.

    Hosts of the wave that failed run the new system as well, and that has just failed on others.
    """
    if not rollout.brings_back:
        return []
    automatic = {host for wave in rollout.waves for host in wave.hosts}
    last = rollout.collected[-1]
    return [
        Task(
            name=job_name("rollback", one.host),
            action=Action.ROLL_BACK,
            stage=Stage.DEPLOY,
            targets=(one.output.attr,),
            needs=(_collector(last),),
            reads=(deploy_job(one.host),),
            subject=one.host,
            settings=one.settings,
            behind=last.number,
        )
        for one in deployments
        if one.host in automatic
    ]
