"""An Attic cache whose signing key is rotated as `docs/how-to/rotate-secrets.md` says is believed at every moment."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.attic.pushing import Scene

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "rotate-secrets.md"


def documented(name: str) -> list[str]:
    """The lines of the page that change the key, for this server."""
    text = PAGE.read_text("utf-8")
    found = re.search(r"\$ printf '\{\"keypair\".*?cache-config/prod\n", text, re.DOTALL)
    assert found is not None
    lines = found[0].replace("\\\n", " ").replace("https://cache.example.org/_api/v1/cache-config/prod", name)
    return [line.removeprefix("$ ") for line in lines.splitlines()]


@pytest.mark.nix
def test_a_key_that_was_announced_before_is_taken_over_without_a_moment_of_disbelief(
    scene: Scene, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(
        ["nix-store", "--generate-binary-cache-key", "ci-2", "secret", "public"], cwd=work, check=True, timeout=60
    )
    old, new = scene.key, (work / "public").read_text().strip()
    (work / "admin-token").write_text(scene.server.token({"ci": "r cq cr cc"}) + "\n")

    def believed(keys: str) -> bool | None:
        return scene.cache(public_key=keys).query([scene.paths.app])[0][scene.paths.app]

    scene.push(scene.paths.app)
    assert believed(old)
    assert believed(f"{old} {new}")
    for line in documented(f"{scene.server.url}_api/v1/cache-config/ci"):
        subprocess.run(["sh", "-euc", line], cwd=work, check=True, timeout=60)
    assert believed(f"{old} {new}"), "nothing was signed or pushed again"
    assert believed(new)
    assert not believed(old)
