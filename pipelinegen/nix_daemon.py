"""Whether Nix works through a daemon here, and what that daemon is set to.

A daemon listens to a user whom it does not trust only where its own settings allow it: substituters, keys and
netrc file of the client do not count (https://nix.dev/manual/nix/latest/command-ref/conf-file#conf-trusted-users).
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd

from pipelinegen import nix, process

STATE = "/nix/var/nix"


def listens_to_us() -> bool:
    """Whether the settings that we give to Nix count: there is no daemon between, or it trusts this user.

    Costs no process where there is no daemon.

    Raises:
        CommandError: Nix cannot reach its store.
    """
    environment = process.environment()
    remote = environment.get("NIX_REMOTE", "")
    if remote in {"", "auto"}:
        # The choice that Nix makes: https://nix.dev/manual/nix/latest/store/types/#auto
        state = environment.get("NIX_STATE_DIR") or STATE
        socket = environment.get("NIX_DAEMON_SOCKET_PATH") or f"{state}/daemon-socket/socket"
        if os.access(state, os.R_OK | os.W_OK) or not os.path.exists(socket):  # noqa: PTH110  # False where we may not look
            return True
    elif remote != "daemon" and not remote.startswith("unix://"):
        return True
    told = _asked()
    if told is not None:
        return told
    return _listed(daemon_settings().get("trusted-users", "root"))


def _asked() -> bool | None:
    """What the daemon itself says, from Nix 2.14 on."""
    for command in ("info", "ping"):  # the newer name, and that until 2.18
        said = process.run(["nix", *nix.FEATURES, "store", command, "--json"], allowed="any", timeout=60)
        try:
            answer = json.loads(said.stdout)
        except ValueError:
            continue
        trusted = answer.get("trusted") if isinstance(answer, dict) else None
        return None if trusted is None else bool(trusted)
    return None


def _listed(users: str) -> bool:
    """Whether a setting such as `root @wheel *` names this user."""
    groups = {os.getegid(), *os.getgroups()}
    own = "*"
    with contextlib.suppress(KeyError):  # in containers a user may have no name
        user = pwd.getpwuid(os.geteuid())
        own = user.pw_name
        groups.update(os.getgrouplist(own, user.pw_gid))
    for name in users.split():
        if name in {"*", own}:
            return True
        if name.startswith("@"):
            try:
                if grp.getgrnam(name[1:]).gr_gid in groups:
                    return True
            except KeyError:
                continue  # no such group here
    return False


def daemon_settings() -> dict[str, str]:
    """The settings of the machine's daemon, by name: those of the machine, without this user's and this job's.

    Raises:
        CommandError: Nix does not say them.
    """
    return nix.settings(
        env=process.environment(without=lambda name: name == "NIX_CONFIG", extra={"NIX_USER_CONF_FILES": ""})
    )
