"""Which secrets the configuration names, whether this job has them, and whether it should. Pure; no secret is here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelinegen.ci_env import CiEnv
from pipelinegen.config import Config
from pipelinegen.doctor.model import Check, ok, problem, skipped, warning
from pipelinegen.job_names import environment_name
from pipelinegen.pipeline.secret_names import uses
from pipelinegen.pipeline.sign_in import HINT, out_of_scope
from pipelinegen.secret_references import is_reference


@dataclass(frozen=True)
class Named:
    """A secret that the configuration names.

    Attributes:
        name: a file, a reference, or a variable with a `$`.
        building, publishing, deploying: which jobs need it.
    """

    name: str
    building: bool
    publishing: bool
    deploying: bool

    @property
    def label(self) -> str:
        """How people call it."""
        kind = "variable" if self.name.startswith("$") else "reference" if is_reference(self.name) else "file"
        return f"{kind} {self.name.removeprefix('$')}"

    @property
    def purpose(self) -> str:
        """What for."""
        roles = {"builds": self.building, "publishing": self.publishing, "deploying": self.deploying}
        return " and ".join(role for role, there in roles.items() if there)


def named_secrets(config: Config) -> list[Named]:
    """All of them, sorted by name."""
    used = uses(config)
    names = sorted(used.building | used.publishing | used.deploying)
    return [Named(one, one in used.building, one in used.publishing, one in used.deploying) for one in names]


def references(config: Config, env: CiEnv, environment: Mapping[str, str]) -> list[str]:
    """The settings, and the variables of this job (with a `$`), that are references and that this job needs.

    On a machine that is no job of GitLab's all count. A job that builds needs nothing of those that deploy: to tell
    it to sign in for them would be bad advice.
    """
    found = {one.name for one in named_secrets(config) if one.building or _is_for(env, _environments(one, config))}
    # Host keys are no secret, and may be kept with those that are.
    for name, host in config.hosts.items():
        if host.known_hosts_file and _is_for(env, [host.environment or environment_name(name)]):
            found.add(host.known_hosts_file)
    return sorted(name for name in {*found, "$PIPELINEGEN_TOKEN"} if is_reference(_held(name, environment)))


def _is_for(env: CiEnv, environments: list[str]) -> bool:
    """Whether this job is one of those with these environments, or may be one of any."""
    return not env.gitlab or (env.environment in environments if environments else env.environment is None)


def _held(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name[1:], "").strip() if name.startswith("$") else name


def judge_secrets(config: Config, env: CiEnv, present: Mapping[str, bool]) -> Iterable[Check]:
    """One line for each.

    Args:
        present: name → whether there is something; never what.
    """
    for one in named_secrets(config):
        if not is_reference(one.name):
            yield _judge(one, config, env, there=present[one.name])


def _judge(one: Named, config: Config, env: CiEnv, *, there: bool) -> Check:
    name = f"secret {one.name}"
    told = f"{one.label}, for {one.purpose}"
    gated = not one.building
    if not env.gitlab:
        return ok(name, f"{told}: there") if there else skipped(name, f"{told}: not on this machine")
    meant = _environments(one, config)
    if there and gated and env.environment is None and one.name.startswith("$"):
        return problem(
            name,
            f"{told}: it is in a job without an environment, so jobs that build have it, too, and with them everybody "
            "who can push this ref",
            f"limit the variable to the environment {_or(meant)} in the project's CI/CD settings"
            if meant
            else "set gitlab.publish_environment, and limit the variable to it",
        )
    if there:
        return ok(name, f"{told}: there")
    if gated and not _is_for(env, meant):
        here = f"environment {env.environment}" if env.environment else "a job without an environment"
        return ok(name, f"{told}: not in {here}, as it should be")
    if not env.protected:
        return skipped(name, f"{told}: absent, as protected variables are on a ref that is not protected")
    hint = f"add it to the project's CI/CD variables{f', for the environment {_or(meant)}' if gated and meant else ''}"
    return warning(name, f"{told}: not in this job, though the ref is protected", hint)


def _environments(one: Named, config: Config) -> list[str]:
    found = [config.gitlab.publish_environment] if one.publishing and config.gitlab.publish_environment else []
    for host, settings in config.hosts.items():
        key = f"${settings.ssh_key_env}" if settings.ssh_key_env else settings.ssh_key_file
        if one.deploying and one.name == key:
            found.append(settings.environment or environment_name(host))
    return sorted(set(found))


def _or(names: list[str]) -> str:
    return " or ".join(names[:5]) + (" or …" if len(names) > 5 else "")


def judge_sign_in(config: Config, env: CiEnv, environment: Mapping[str, str]) -> Check:
    """Whether the key to 1Password is where it opens too much."""
    name = "1password scope"
    if not env.gitlab or env.environment is not None:
        return skipped(name, "only looked at in a GitLab job without an environment, as those that build are")
    found = out_of_scope(config, environment)
    if found is None:
        return ok(name, "this job holds no service account that opens what publishes or deploys, as far as can be seen")
    return problem(name, found.sentence, HINT) if found.opened else warning(name, found.sentence, HINT)


def judge_server_url(config: Config, url: str | None) -> Check:
    """A variable with the server's address is read by nothing; it should at least not say another one."""
    name = "ATTIC_SERVER_URL"
    if not url:
        return skipped(name, "not set; addresses are read from the configuration alone")
    servers = sorted(
        {cache.url.rsplit("/", 1)[0].rstrip("/") for cache in config.caches.values() if cache.backend == "attic"}
    )
    if url.rstrip("/") in servers:
        return ok(name, "it is the server of the configuration, which alone counts")
    hint = "addresses are read from pipelinegen.toml alone: correct url there, and delete the variable"
    return warning(
        name, f"it is not the server of a configured Attic cache ({', '.join(servers) or 'there is none'})", hint
    )
