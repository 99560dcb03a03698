"""The configuration in the guide to the cache server evaluates as it stands there, without a complaint."""

from __future__ import annotations

import os
import re

import pytest

from tests.integration.nix.modules import NIX, REAL_OPNIX, ROOT, Nixos

pytestmark = pytest.mark.nix

GUIDE = ROOT / "docs" / "how-to" / "run-a-cache-server.md"


def blocks() -> list[str]:
    """The modules in the guide, in their order."""
    found = re.findall(r"```nix\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return [block for block in found if "services.pipelinegen.attic-server" in block]


def test_the_guide_s_configuration_is_taken_as_it_is(nixos: Nixos) -> None:
    if nixos.name == "real" and not os.environ.get(REAL_OPNIX):
        pytest.skip(f"{REAL_OPNIX} names no folder with OpNix")
    server, tailnet = blocks()
    opnix = "" if nixos.name == "real" else f"{NIX}/tests/stand-in/opnix.nix"
    package = "{ services.pipelinegen.attic-server.package = pkgs.pipelinegen; }"
    wanted = """{
      inherit (config.services.atticd) enable;
      tailnet = builtins.attrNames config.networking.firewall.interfaces;
    }"""

    plain = nixos.evaluate("attic-server", f"{{ imports = [ ({server}) {package} {opnix} ]; }}", wanted)
    inside = nixos.evaluate("attic-server", f"{{ imports = [ ({server}) ({tailnet}) {package} {opnix} ]; }}", wanted)

    assert (plain.value, plain.failed) == ({"enable": True, "tailnet": []}, [])
    assert (inside.value, inside.failed) == ({"enable": True, "tailnet": ["tailscale0"]}, [])
    ours = [text for text in inside.warnings if "attic-server.backup" not in text]
    assert [text.split(":")[0] for text in ours] == ["`services.pipelinegen.attic-server.access.tailscaleOnly`"]
