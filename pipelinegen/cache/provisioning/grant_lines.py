"""The commands that make the tokens of a project, and where each token goes, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipelinegen.cache.provisioning.grants import Grant, Role, Variable

WHO = {
    Role.PEOPLE: "reading: hosts and developers",
    Role.READING: "reading: all pipelines, also those of merge requests",
    Role.UNPROTECTED: "jobs of pipelines of unprotected refs",
    Role.PROTECTED: "jobs of pipelines of protected refs",
    Role.PUBLISHING: "publishing",
    Role.ADMINISTRATION: "administration, for `pipelinegen cache provision --token-file FILE`",
}


def shared_variables(found: Sequence[Grant]) -> list[str]:
    """Sentences about variables that are to hold several tokens, which they cannot."""
    holders: dict[str, list[Grant]] = {}
    for grant in found:
        for variable in grant.variables:
            holders.setdefault(variable.name, []).append(grant)
    sentences = []
    for name, several in sorted(holders.items()):
        if len(several) < 2:
            continue
        roles = {grant.role for grant in several}
        if len(roles) == 1:
            why = f"it is to hold tokens of {len(several)} servers: give the caches of each a variable of their own"
        elif Role.PUBLISHING in roles:
            why = "who builds could publish: give the publish caches a push_token_env of their own"
        else:
            why = "it is to hold several tokens: give each handoff cache a token_env of its own"
        sentences.append(f"variable {name}: {why}")
    return sentences


def script(found: Sequence[Grant], program: Sequence[str]) -> list[str]:
    """The lines that make the tokens, with what to know about each as comments for a shell."""
    lines = [
        "# Attic takes one entry of a token for a cache and merges none: every cache is named exactly and gets all its",
        "# rights there; a wildcard beside it would add nothing. Tokens cannot be revoked: keep them short-lived.",
    ]
    if program[0].rsplit("/", 1)[-1] == "atticadm":
        lines.append("# On NixOS the command is atticd-atticadm (--server-command atticd-atticadm).")
    server = None
    for grant in found:
        if grant.server != server:
            server = grant.server
            lines += ["", f"## on the server of {server}"]
        lines += ["", f"# {WHO[grant.role]}"]
        lines += [f"#   into {_described(variable, grant.role)}" for variable in grant.variables]
        lines += [f"#   into {place}" for place in grant.places]
        if not grant.variables and not grant.places:
            lines.append("#   no variable in the configuration: name one by token_env or token_file")
        lines.append(grant.command(program))
    return lines


def _described(variable: Variable, role: Role) -> str:
    kind = "type File, masked and hidden" if variable.file else "masked and hidden"
    words = [f"the CI/CD variable {variable.name}: {kind}", "protected" if variable.protected else "not protected"]
    if variable.scope is not None:
        words.append(f"environment scope {variable.scope}")
    elif role is Role.PUBLISHING:
        words.append("all environments, so that jobs that build see it too: better set gitlab.publish_environment")
    return ", ".join(words)
