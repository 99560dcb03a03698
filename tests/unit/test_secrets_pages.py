"""The pages about secrets: links lead to sections, a shell can read the commands, no argument is a secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "how-to" / "rotate-secrets.md", DOCS / "how-to" / "use-1password.md"]
SECRETS = r"\$\(cat (?:token|account|key|secret|password|deploy-2|admin-token)\)"


def commands(page: Path) -> list[str]:
    """What a person would type, a command with its continuation lines each."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        found += re.findall(r"^\$ (.*(?:\n {4}.*)*)", block, re.MULTILINE)
    return found


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_way_of_rotation_in_the_table_has_its_section() -> None:
    linked = set(re.findall(r"rotate-secrets\.md#([a-z0-9-]+)", (DOCS / "reference" / "secrets.md").read_text("utf-8")))
    assert len(linked) > 9
    assert linked <= anchors(PAGES[0])


@pytest.mark.processes
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_shell_can_read_every_command(page: Path) -> None:
    found = commands(page)
    assert len(found) > 3
    for command in found:
        said = subprocess.run(
            ["bash", "-n"], input=command.replace("…", "x"), capture_output=True, text=True, check=False, timeout=30
        )
        assert (said.returncode, said.stderr) == (0, ""), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_has_a_secret_among_its_arguments(page: Path) -> None:
    for command in commands(page):
        # An assignment before a command goes into its environment, and printf is part of the shell.
        rest = re.sub(rf"^[A-Z_]+={SECRETS} ", "", command)
        rest = re.sub(rf'^printf \'[^\']*\' "{SECRETS}"', "", rest)
        assert not re.search(SECRETS, rest), command
