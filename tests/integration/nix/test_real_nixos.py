"""Whole machines with NixOS's own modules: types and assertions hold, and each unit can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, REAL_NIXOS, REAL_OPNIX, EvaluationError, Nixos, real

pytestmark = [pytest.mark.nix, ONE_NIX]

SERVER = "services.pipelinegen.attic-server"
HOST = "services.pipelinegen.runner-host"

BUCKET = 'bucket = "chunks"; region = "us-west-004"; endpoint = "https://s3.us-west-004.backblazeb2.com";'
OFFSITE = 'enable = true; bucket = "dumps"; region = "eu-west-1"; endpoint = "https://s3.example.org";'
FILES = (
    'tokenSecretFile = "/run/secrets/token"; s3AccessKeyIdFile = "/run/secrets/id";'
    ' s3SecretAccessKeyFile = "/run/secrets/key";'
)
KEYS = 'accessKeyIdFile = "/run/secrets/offsite-id"; secretAccessKeyFile = "/run/secrets/offsite-key";'
HASH = "$2a$14$" + "a" * 53
CONTAINERS = 'image = "registry.example.org/group/ci:26.05"; authenticationTokenConfigFile = "/run/secrets/runner";'
SHELL = 'executor = "shell"; refs = "protected"; authenticationTokenConfigFile = "/run/secrets/runner";'


def server(settings: str = "", secrets: str = FILES, storage: str = f"s3 = {{ {BUCKET} }};") -> tuple[str, str]:
    """A cache server with two caches and these settings: the module, and the configuration."""
    return "attic-server", (
        f'{{ {SERVER} = {{ enable = true; domain = "cache.example.org"; proxy.email = "ops@example.org";'
        f' caches = {{ prod.public = true; ci = {{ retention = "30 days"; }}; }};'
        f" storage = {{ {storage} }}; secrets = {{ {secrets} }}; {settings} }}; }}"
    )


def host(runners: str, settings: str = "") -> tuple[str, str]:
    """A machine with these runners: the module, and the configuration."""
    return "runner-host", f"{{ {HOST} = {{ enable = true; runners = {{ {runners} }}; {settings} }}; }}"


MACHINES = {
    "a server": server(),
    "a server that is imported and off": ("attic-server", "{ }"),
    "chunks on the disk": server(storage='type = "local"; local.path = "/srv/attic";'),
    "chunks of sizes of one's own": server(
        'chunking = { preset = "custom"; narSizeThreshold = 65536; minSize = 16384; avgSize = 65536;'
        ' maxSize = 262144; }; compression = { type = "xz"; level = 2; };'
    ),
    "within a tailnet": server(
        "access = { tailscaleOnly = true; dnsChallenge = {"
        ' caddyDirective = "cloudflare {env.TOKEN}"; credentialsFile = "/run/secrets/dns"; }; };'
    ),
    "behind a proxy of one's own": server('proxy.enable = false; listen = "10.0.0.1:8080";'),
    "a database elsewhere": server(
        'database = { createLocally = false; url = "postgresql://atticd@db.example.org/atticd"; };'
        " backup.enable = false;"
    ),
    "copies elsewhere": server(f"backup.offsite = {{ {OFFSITE} {KEYS} }};"),
    "copies elsewhere, encrypted": server(
        f"backup.offsite = {{ {OFFSITE} {KEYS} ageRecipients ="
        ' [ "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" ]; };'
    ),
    "no backup": server("backup.enable = false;"),
    "watched": server("monitoring.enable = true;"),
    "watched from the tailnet, with metrics of jobs": server(
        'monitoring = { enable = true; listenAddress = "100.101.102.103";'
        f' pushgateway = {{ enable = true; passwordHash = "{HASH}"; }}; }};'
    ),
    "runners in containers": host(f'builds = {{ refs = "all"; {CONTAINERS} }};'),
    "runners with virtual machines": host(
        f'builds = {{ refs = "all"; {CONTAINERS} }};', 'kvm = { enable = true; vendor = "amd"; };'
    ),
    "containers that share a store": host(f'builds = {{ refs = "all"; store = "shared"; {CONTAINERS} }};'),
    "containers of podman": host(f'builds = {{ refs = "all"; {CONTAINERS} }};', 'engine = "podman";'),
    "a runner with the shell executor": host(
        f"deploys = {{ {SHELL} }};", 'memory = { jobs = "12G"; builds = "48G"; };'
    ),
    "a runner that is imported and off": ("runner-host", "{ }"),
}

OPNIX = server(
    f"backup.offsite = {{ {OFFSITE} }};",
    secrets="opnix = { enable = true; references = {"
    ' tokenSecret = "op://Vault/attic/token"; s3AccessKeyId = "op://Vault/attic/id";'
    ' s3SecretAccessKey = "op://Vault/attic/key"; offsiteAccessKeyId = "op://Vault/offsite/id";'
    ' offsiteSecretAccessKey = "op://Vault/offsite/key"; }; };',
)

UNITS = "lib.mapAttrs (_: unit: unit.text) config.systemd.units"


@pytest.fixture
def nixos(nix_bin: Path) -> Nixos:
    """NixOS's own modules; skips where there are none."""
    found = real(nix_bin)
    if found is None:
        pytest.skip(f"{REAL_NIXOS} names no folder with nixpkgs' lib and modules")
    return found


@pytest.mark.parametrize(("module", "settings"), MACHINES.values(), ids=MACHINES.keys())
def test_a_machine_is_accepted_and_its_units_can_be_written(nixos: Nixos, module: str, settings: str) -> None:
    found = nixos.evaluate(module, settings, UNITS)

    assert found.failed == []
    # Of what NixOS itself warns: the texts of our own begin with the option that they are about.
    assert [text for text in found.warnings if "services.pipelinegen" not in text] == []
    if "enable = true" in settings:
        assert {"atticd.service", "gitlab-runner.service"} & set(found.value)


def test_secrets_are_fetched_by_opnix_before_the_server_starts(nixos: Nixos, monkeypatch: pytest.MonkeyPatch) -> None:
    if "opnix = null" in nixos.expression:
        pytest.skip(f"{REAL_OPNIX} names no folder with the source of OpNix")

    found = nixos.evaluate(*OPNIX, f"{{ units = {UNITS}; paths = config.services.onepassword-secrets.secretPaths; }}")

    assert found.failed == []
    unit = found.value["units"]["attic-environment.service"]
    assert "opnix-secrets.service" in next(line for line in unit.splitlines() if line.startswith("After="))
    assert f"TOKEN_SECRET_FILE={found.value['paths']['atticTokenSecret']}" in unit


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            'services.postgresql = { enable = true; ensureUsers = [ { name = "x"; ensureDBOwnership = true; } ]; };',
            "Offender: x",
            id="an assertion of PostgreSQL's module",
        ),
        pytest.param("services.atticd = { enable = true; };", "environmentFile", id="an assertion of atticd's module"),
    ],
)
def test_assertions_of_nixos_are_looked_at(nixos: Nixos, settings: str, message: str) -> None:
    (failed,) = nixos.evaluate("attic-server", f"{{ {settings} }}").failed

    assert message in failed


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param('systemd.services.x.serviceConfig.Type = "sometimes";', id="a type of service"),
        pytest.param('systemd.services.x.after = [ "something" ];', id="the name of a unit"),
        pytest.param("services.atticd.compression = { };", id="an option that there is not"),
        pytest.param('services.caddy = { enable = true; email = [ "ops@example.org" ]; };', id="a list for a text"),
    ],
)
def test_types_of_nixos_are_looked_at(nixos: Nixos, settings: str) -> None:
    with pytest.raises(EvaluationError):
        nixos.evaluate(
            "attic-server", f"{{ {settings} }}", f"{{ units = {UNITS}; inherit (config.services.caddy) email; }}"
        )


def test_a_checkout_of_nixpkgs_gives_its_own_packages_and_whole_systems(
    nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pkgs" / "top-level").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "nixos" / "lib").mkdir(parents=True)
    (tmp_path / "lib" / "default.nix").write_text(f"import {NIX}/tests/stand-in/lib.nix")
    (tmp_path / "default.nix").write_text(
        "{ system, config, overlays }:"
        f" import {NIX}/tests/stand-in/pkgs.nix {{ lib = import ./lib; inherit system; }}"
        ' // { origin = "the checkout"; }'
    )
    (tmp_path / "nixos" / "lib" / "eval-config.nix").write_text(
        f"""
        {{ system, modules, specialArgs }}:
        let
          lib = import ../../lib;
          option = {{ options.nixpkgs.pkgs = lib.mkOption {{ type = lib.types.anything; }}; }};
          evaluated = lib.evalModules {{
            modules = (import {NIX}/tests/stand-in).modules ++ [ option ] ++ modules;
            specialArgs = specialArgs // {{ inherit (evaluated.config.nixpkgs) pkgs; }};
          }};
        in
        evaluated
        """
    )
    monkeypatch.setenv(REAL_NIXOS, str(tmp_path))
    monkeypatch.delenv(REAL_OPNIX, raising=False)
    whole = real(nix_bin)
    assert whole is not None

    found = whole.evaluate(
        "runner-host",
        '{ networking.hostName = "whole"; }',
        "{ inherit (pkgs) origin; given = config.nixpkgs.pkgs.origin; name = config.networking.hostName; }",
    )

    assert found.failed == []
    assert found.value == {"origin": "the checkout", "given": "the checkout", "name": "whole"}
