"""What to do when a host cannot be reached, by OpenSSH's own words."""

from __future__ import annotations

import pytest

from pipelinegen.deploy.ssh import _hint


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            "or somebody else answers",
        ),
        (
            "No ED25519 host key is known for web1 and …\nHost key verification failed.",
            "not in known_hosts_file",
        ),
        ("deploy@web1: Permission denied (publickey).", "ssh_key_file, user"),
        ('Load key "/key": error in libcrypto\ndeploy@web1: Permission denied (publickey).', "without a passphrase"),
        ("ssh: Could not resolve hostname web1: Name or service not known", "DNS"),
        ("ssh: connect to host web1 port 22: Connection refused", "no sshd listens"),
        ("ssh: connect to host web1 port 22: No route to host", "is the host on"),
        ("ssh: connect to host web1 port 22: Connection timed out", "is the host on"),
        ("kex_exchange_identification: Connection closed by remote host", "sshd hung up"),
    ],
)
def test_what_ssh_says_leads_to_what_can_be_done(said: str, words: str) -> None:
    assert words in (_hint(said) or "")


def test_what_is_not_known_leads_nowhere() -> None:
    assert _hint("something new") is None
