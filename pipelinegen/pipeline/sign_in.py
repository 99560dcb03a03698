"""Whether a job that builds holds the key to secrets in 1Password that publish or deploy. Pure.

A service account reads everything in its vaults. Variables without an environment scope reach every job of a ref,
those that evaluate and build included, and what such a job holds belongs to everybody who can push that ref.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelinegen.config import Config
from pipelinegen.pipeline.secret_names import uses
from pipelinegen.secret_references import SIGN_IN_VARIABLES, is_reference

HINT = (
    "limit it in the project's CI/CD settings to the environments of the jobs that push and deploy; where builds read "
    "references, too, give them a service account of their own that sees other vaults"
)


@dataclass(frozen=True)
class OutOfScope:
    """A variable that jobs of a ref have which build, without a need.

    Attributes:
        variable: its name.
        opened: settings that publish or deploy and are references: what it opens for sure; empty where that is not
            known, since a variable of another job may hold a reference.
    """

    variable: str
    opened: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What is wrong, without a full stop."""
        what = ", ".join(self.opened) if self.opened else "secrets that publish or deploy, where those are references"
        return f"jobs that evaluate and build have {self.variable}, which opens {what}"


def out_of_scope(config: Config, environment: Mapping[str, str]) -> OutOfScope | None:
    """Look at the variables of a job that has no environment; null where there is nothing to say.

    Args:
        environment: the variables of the job.
    """
    variable = next((name for name in SIGN_IN_VARIABLES if environment.get(name)), None)
    used = uses(config)
    gated = used.publishing | used.deploying
    if variable is None or not gated:
        return None
    own = {*used.building, "$PIPELINEGEN_TOKEN"}
    if any(is_reference(environment.get(name[1:], "").strip() if name.startswith("$") else name) for name in own):
        return None  # a service account of its own: what else that one opens, nobody here can tell
    # A file may hold a reference, too.
    unsure = any(environment.get(name[1:], "").startswith("/") for name in own if name.startswith("$"))
    return OutOfScope(variable, () if unsure else tuple(sorted(name for name in gated if is_reference(name))))
