"""Settings of the cache server that several tests share, and what its module makes of them."""

from __future__ import annotations

from typing import Any

from tests.integration.nix.modules import Nixos

OPTION = "services.pipelinegen.attic-server"
SECRETS = (
    'secrets = { tokenSecretFile = "/run/secrets/token"; s3AccessKeyIdFile = "/run/secrets/key-id"; '
    's3SecretAccessKeyFile = "/run/secrets/key"; };'
)
ON_B2 = (
    'storage.s3 = { bucket = "example-nix-cache"; region = "us-west-004"; '
    'endpoint = "https://s3.us-west-004.backblazeb2.com"; };'
)
ON_DISK = 'storage.type = "local"; secrets.tokenSecretFile = "/run/secrets/token";'
TAILNET = 'access = { tailscaleOnly = true; dnsChallenge.caddyDirective = "cloudflare {env.TOKEN}"; };'


def value(nixos: Nixos, wanted: str, settings: str = ON_B2 + SECRETS, beside: str = "") -> Any:
    """What is `wanted` of a server with these settings; none of its assertions fails."""
    module = f"""{{
      {OPTION} = {{
        enable = true; package = pkgs.pipelinegen; domain = "cache.example.org"; caches.prod.public = true;
        {settings}
      }};
      {beside}
    }}"""
    found = nixos.evaluate("attic-server", module, wanted)
    assert found.failed == []
    return found.value
