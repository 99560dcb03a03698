"""Mistakes in the cache server's options are refused, each with its own sentence, and doubtful things are warned of."""

from __future__ import annotations

import os

import pytest

from tests.integration.nix.modules import NIX, REAL_OPNIX, Nixos, evaluate

pytestmark = pytest.mark.nix

BASE = """({ lib, pkgs, ... }: let inherit (lib) mkDefault; in {
  services.pipelinegen.attic-server = {
    enable = true;
    package = pkgs.pipelinegen;
    domain = mkDefault "cache.example.org";
    caches.prod.public = true;
    storage.s3 = {
      bucket = mkDefault "example";
      region = mkDefault "us-west-004";
      endpoint = mkDefault "https://s3.us-west-004.backblazeb2.com";
    };
    secrets = {
      tokenSecretFile = mkDefault "/run/secrets/token";
      s3AccessKeyIdFile = mkDefault "/run/secrets/key-id";
      s3SecretAccessKeyFile = mkDefault "/run/secrets/key";
    };
  };
})"""


def server(text: str) -> str:
    return f"services.pipelinegen.attic-server = {{ {text} }};"


def attic(text: str) -> str:
    return f"services.atticd.settings = {{ {text} }};"


TAILNET = 'access = { tailscaleOnly = true; dnsChallenge.caddyDirective = "cloudflare {env.TOKEN}"; };'
COLLECTOR = "systemd.services.attic-gc"

REFUSED = {
    # What somebody writes: the beginning of the sentence.
    server('domain = "https://cache.example.org";'): '`services.pipelinegen.attic-server.domain` is "https://',
    server('domain = "cache.example.org/";'): '`services.pipelinegen.attic-server.domain` is "cache.example.org/"',
    server('domain = "cache";'): '`services.pipelinegen.attic-server.domain` is "cache"',
    server('listen = "[::]:8080";'): "atticd listens on [::]:8080, past the proxy",
    server('listen = "0.0.0.0:8080";'): "atticd listens on 0.0.0.0:8080, past the proxy",
    server('listen = "localhost:8080"; proxy.enable = false;'): "`services.pipelinegen.attic-server.listen` must be",
    attic('api-endpoint = lib.mkForce "https://cache.example.org";'): (
        '`services.atticd.settings.api-endpoint` is "https://cache.example.org" and must end in a slash'
    ),
    attic('api-endpoint = lib.mkForce "http://cache.example.org/";'): (
        '`services.atticd.settings.api-endpoint` is "http://cache.example.org/" and must begin with https://'
    ),
    attic('allowed-hosts = lib.mkForce [ "other.example.org" ];'): (
        "`services.atticd.settings.allowed-hosts` must name cache.example.org"
    ),
    server("access.tailscaleOnly = true;"): "With `services.pipelinegen.attic-server.access.tailscaleOnly` no cert",
    server('access.dnsChallenge.caddyDirective = "one\\ntwo";'): (
        "`services.pipelinegen.attic-server.access.dnsChallenge.caddyDirective` must be one line"
    ),
    server('database.url = "postgresql:///attic?host=/run/postgresql";'): "The database must be called atticd",
    server('database = { createLocally = false; url = "postgresql://atticd:hunter2@db/atticd"; };'): (
        "`services.atticd.settings.database.url` holds a password"
    ),
    server('database = { createLocally = false; url = "postgresql://db/atticd?password=hunter2"; };'): (
        "`services.atticd.settings.database.url` holds a password"
    ),
    server("storage.s3.bucket = null;"): "`services.pipelinegen.attic-server.storage.s3` needs `bucket` and `region`",
    server('storage.s3.endpoint = "s3.us-west-004.backblazeb2.com";'): (
        '`services.pipelinegen.attic-server.storage.s3.endpoint` is "s3.us-west-004.backblazeb2.com"'
    ),
    server('storage.s3.endpoint = "https://s3.example.org/bucket";'): (
        '`services.pipelinegen.attic-server.storage.s3.endpoint` is "https://s3.example.org/bucket"'
    ),
    attic('storage.credentials.access_key_id = "id";'): "`services.atticd.settings.storage.credentials` would be",
    attic('jwt.signing.token-hs256-secret-base64 = "aHVudGVyMg==";'): "The key that signs tokens is in `services.at",
    server('chunking = { preset = "custom"; minSize = 1024; };'): (
        '`services.pipelinegen.attic-server.chunking.preset = "custom"` needs all of narSizeThreshold, minSize'
    ),
    server('chunking = { preset = "custom"; narSizeThreshold = 0; minSize = 9; avgSize = 8; maxSize = 10; };'): (
        '`services.pipelinegen.attic-server.chunking.preset = "custom"` needs all of narSizeThreshold, minSize'
    ),
    server("chunking.avgSize = 1024;"): "Sizes in `services.pipelinegen.attic-server.chunking` count only with",
    server('compression = { type = "xz"; level = 19; };'): (
        "`services.pipelinegen.attic-server.compression.level` is 19, which xz does not have"
    ),
    server('secrets.environmentFile = "/run/secrets/attic.env";'): (
        "`services.pipelinegen.attic-server.secrets.environmentFile` is a complete file: leave out"
    ),
    server("secrets.tokenSecretFile = null;"): "The key that signs tokens is missing",
    server("secrets.s3SecretAccessKeyFile = null;"): "The bucket's credentials are missing",
    server('secrets.tokenSecretFile = "/nix/store/00000000000000000000000000000000-key";'): (
        "/nix/store/00000000000000000000000000000000-key is in the Nix store"
    ),
    server('secrets.opnix.references.tokenSecret = "op://Vault/Attic/key";'): (
        "`services.pipelinegen.attic-server.secrets.opnix.references` is set, and `secrets.opnix.enable` is not"
    ),
    server('garbageCollection.defaultRetention = "0 days";'): (
        "`services.pipelinegen.attic-server.garbageCollection.defaultRetention` of nothing keeps everything"
    ),
    server('garbageCollection.defaultRetention = "0";'): (
        "`services.pipelinegen.attic-server.garbageCollection.defaultRetention` of nothing keeps everything"
    ),
    server('garbageCollection.defaultRetention = "a while";'): (
        "`services.pipelinegen.attic-server.garbageCollection.defaultRetention` must be a duration"
    ),
    server('garbageCollection.interval = "0s";'): (
        "`services.pipelinegen.attic-server.garbageCollection.interval` must be a duration"
    ),
    f'{COLLECTOR}.script = "set -e\\n/bin/atticd --mode garbage-collector-once";': (
        "attic-gc runs Attic's garbage collector, and so does atticd every 12 hours"
    ),
    f'{COLLECTOR}.serviceConfig.ExecStart = "/bin/atticd --mode garbage-collector";': (
        "attic-gc runs Attic's garbage collector, and so does atticd every 12 hours"
    ),
    server('caches."team/prod" = { };'): 'Attic refuses the cache "team/prod"',
    server('caches.ci.retention = "soon"; caches.prod.retention = "0 days";'): (
        '`retention` must be a duration such as "30 days", or "forever", for ci, prod.'
    ),
}

WARNED = {
    server(TAILNET): [
        "`services.pipelinegen.attic-server.access.tailscaleOnly`: clients still need a way to https://s3"
    ],
    server(f'{TAILNET} storage.type = "local";') + "networking.firewall.allowedTCPPorts = [ 443 ];": [
        "`services.pipelinegen.attic-server.access.tailscaleOnly`: port 443 is open on all interfaces"
    ],
    server(
        'database = { createLocally = false; url = "sqlite:///var/lib/atticd/server.db"; }; backup.enable = false;'
    ): ["Attic on SQLite stops collecting garbage"],
    server('storage.s3.checksums = "always";'): ["Backblaze refuses the checksums"],
    attic("require-proof-of-possession = lib.mkForce false;"): [
        "`services.atticd.settings.require-proof-of-possession`"
    ],
    server("provision.enable = true; caches = lib.mkForce { };"): [
        "`services.pipelinegen.attic-server.provision.enable`"
    ],
    server(
        'storage.s3 = { endpoint = "http://127.0.0.1:9000"; checksums = "always"; }; '
        'garbageCollection.defaultRetention = "forever"; access.tailscaleOnly = true; proxy.enable = false;'
    ): ["`services.pipelinegen.attic-server.access.tailscaleOnly`: clients still need a way to http://127.0.0.1:9000"],
    server('chunking = { preset = "custom"; narSizeThreshold = 0; minSize = 8; avgSize = 8; maxSize = 8; };'): [],
    server('listen = "[::1]:9000"; compression = { type = "none"; };'): [],
    server('access.tailscaleOnly = true; storage.type = "local"; domain = lib.mkForce "cache.tail1234.ts.net";'): [],
    server('storage = { type = "local"; s3.bucket = null; }; secrets.s3AccessKeyIdFile = null;'): [],
}


def judged(nixos: Nixos, mistakes: list[str], *more: str) -> list[dict[str, list[str]]]:
    """What is said of the base with each of the mistakes: `failed` and `warnings`; one evaluation for them all."""
    texts = " ".join(f"({{ lib, ... }}: {{ {text} }})" for text in mistakes)
    expression = f"""
      let run = module: import {NIX}/tests/evaluate.nix {{
        nixos = {nixos.expression};
        modules = [ {NIX}/attic-server {BASE} module {" ".join(more)} ];
      }};
      in map (module: {{ inherit (run module) failed warnings; }}) [ {texts} ]
    """
    found: list[dict[str, list[str]]] = evaluate(nixos.programs, expression)
    return found


def has_opnix(nixos: Nixos) -> bool:
    """Whether OpNix's own module is imported already."""
    return nixos.name == "real" and bool(os.environ.get(REAL_OPNIX))


def begins(said: list[str], expected: list[str]) -> bool:
    return len(said) == len(expected) and all(
        text.startswith(beginning) for text, beginning in zip(said, expected, strict=True)
    )


def test_a_sound_configuration_is_neither_refused_nor_warned_of(nixos: Nixos) -> None:
    offsite = """backup.offsite = {
      enable = true; bucket = "dumps"; region = "eu-central-003"; environmentFile = "/run/secrets/offsite";
      endpoint = "https://s3.eu-central-003.backblazeb2.com"; ageRecipients = [ "age1ql3z7hjy54pw3hyww5ayyfg7z" ];
    };"""

    assert judged(nixos, [server(offsite)]) == [{"failed": [], "warnings": []}]


def test_each_mistake_is_refused_with_its_own_sentence_and_no_other(nixos: Nixos) -> None:
    found = judged(nixos, list(REFUSED))

    wrong = {
        mistake: said["failed"]
        for (mistake, expected), said in zip(REFUSED.items(), found, strict=True)
        if not begins(said["failed"], [expected])
    }
    assert wrong == {}


def test_every_sentence_ends_in_a_full_stop_and_fits_on_one_line(nixos: Nixos) -> None:
    for said in judged(nixos, list(REFUSED)):
        (sentence,) = said["failed"]
        assert sentence.endswith("."), sentence
        assert "\n" not in sentence


def test_what_is_doubtful_is_warned_of_and_not_refused(nixos: Nixos) -> None:
    found = judged(nixos, list(WARNED))

    for said in found:  # Backups, which are not set up here, have warnings of their own.
        said["warnings"] = [text for text in said["warnings"] if "attic-server.backup" not in text]
    wrong = {
        mistake: said
        for (mistake, expected), said in zip(WARNED.items(), found, strict=True)
        if said["failed"] or not begins(said["warnings"], expected)
    }
    assert wrong == {}


def test_a_certificate_of_nixos_s_own_is_one_for_the_tailnet_too(nixos: Nixos) -> None:
    if nixos.name == "real":
        pytest.skip("the module for certificates wants more of NixOS than the folder has")
    alone = server('access.tailscaleOnly = true; storage.type = "local";')
    with_one = f'{alone} services.caddy.virtualHosts."cache.example.org".useACMEHost = "example.org";'

    refused, taken = judged(nixos, [alone, with_one])

    assert begins(refused["failed"], ["With `services.pipelinegen.attic-server.access.tailscaleOnly` no certificate"])
    assert taken["failed"] == []


def test_without_opnix_its_switch_says_how_to_get_it(nixos: Nixos) -> None:
    if has_opnix(nixos):
        pytest.skip("OpNix is imported here")
    references = 'secrets.opnix = { enable = true; references.tokenSecret = "op://Vault/Attic/key"; };'

    (said,) = judged(nixos, [server(references)])

    assert begins(said["failed"], ["`services.pipelinegen.attic-server.secrets.opnix.enable` needs OpNix's module"])
    assert "opnix.nixosModules.default" in said["failed"][0]


def test_a_secret_of_opnix_that_belongs_to_the_server_s_user_is_refused(nixos: Nixos) -> None:
    none = "tokenSecretFile = null; s3AccessKeyIdFile = null; s3SecretAccessKeyFile = null;"
    opnix = 'opnix = { enable = true; references.environmentFile = "op://Vault/Attic/environment"; };'
    owner = 'services.onepassword-secrets.secrets.atticEnvironment.owner = lib.mkForce "atticd";'
    if nixos.name == "real" and not has_opnix(nixos):
        pytest.skip(f"{REAL_OPNIX} names no folder with OpNix")
    more = [] if has_opnix(nixos) else [f"{NIX}/tests/stand-in/opnix.nix"]

    (said,) = judged(nixos, [server(f"secrets = {{ {none} {opnix} }};") + owner], *more)

    assert begins(said["failed"], ["atticEnvironment must belong to root"])
