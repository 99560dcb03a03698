"""What the cache server's options make of a machine: the values that NixOS's own modules get."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.attic_server.real import environment, find_atticd, real_problem
from tests.integration.conftest import ONE_NIX
from tests.integration.nix.attic_servers import ON_B2, ON_DISK, OPTION, SECRETS, TAILNET, value
from tests.integration.nix.modules import NIX, EvaluationError, Nixos, evaluate

pytestmark = pytest.mark.nix


def test_attic_is_configured_under_its_settings_with_the_bucket_and_no_secret(nixos: Nixos) -> None:
    atticd = value(nixos, "{ inherit (config.services.atticd) enable environmentFile settings mode; }")

    assert atticd == {
        "enable": True,
        "environmentFile": "/run/attic-server/environment",
        "mode": "monolithic",
        "settings": {
            "listen": "127.0.0.1:8080",
            "allowed-hosts": ["cache.example.org"],
            "api-endpoint": "https://cache.example.org/",
            "require-proof-of-possession": True,
            "database": {"url": "postgresql:///atticd?host=/run/postgresql"},
            "storage": {
                "type": "s3",
                "bucket": "example-nix-cache",
                "region": "us-west-004",
                "endpoint": "https://s3.us-west-004.backblazeb2.com",
            },
            "chunking": {
                "nar-size-threshold": 1024 * 1024,
                "min-size": 256 * 1024,
                "avg-size": 1024 * 1024,
                "max-size": 4096 * 1024,
            },
            "compression": {"type": "zstd", "level": 8},
            "garbage-collection": {"interval": "12 hours", "default-retention-period": "90 days"},
        },
    }


@pytest.mark.parametrize(
    ("settings", "path", "expected"),
    [
        pytest.param(ON_DISK, "storage", {"type": "local", "path": "/var/lib/atticd/storage"}, id="local-storage"),
        pytest.param(ON_DISK, "chunking.avg-size", 65536, id="small-chunks-on-a-disk"),
        pytest.param(
            f'{ON_DISK} chunking.preset = "object-storage";', "chunking.avg-size", 1048576, id="a-preset-by-name"
        ),
        pytest.param(
            ON_DISK + 'chunking = { preset = "custom"; narSizeThreshold = 0; minSize = 1; avgSize = 2; maxSize = 3; };',
            "chunking",
            {"nar-size-threshold": 0, "min-size": 1, "avg-size": 2, "max-size": 3},
            id="chunks-of-its-own",
        ),
        pytest.param(f'{ON_DISK} compression.type = "xz";', "compression", {"type": "xz"}, id="its-own-level"),
        pytest.param(
            f'{ON_DISK} garbageCollection.defaultRetention = "forever";',
            "garbage-collection.default-retention-period",
            "0s",
            id="forever",
        ),
        pytest.param(
            'storage.s3 = { bucket = "b"; region = "eu-west-1"; };' + SECRETS,
            "storage",
            {"type": "s3", "bucket": "b", "region": "eu-west-1"},
            id="amazon",
        ),
    ],
)
def test_settings_follow_the_options(nixos: Nixos, settings: str, path: str, expected: object) -> None:
    assert value(nixos, f"config.services.atticd.settings.{path}", settings) == expected


def test_more_of_attic_can_be_set_beside(nixos: Nixos) -> None:
    beside = "services.atticd.settings.soft-delete-caches = true;"

    settings = value(nixos, "config.services.atticd.settings", beside=beside)

    assert settings["soft-delete-caches"] is True
    assert settings["allowed-hosts"] == ["cache.example.org"]


def test_chunks_of_another_name_are_no_preset(nixos: Nixos) -> None:
    with pytest.raises(EvaluationError):
        value(nixos, "config.services.atticd.settings", f'{ON_DISK} chunking.preset = "large";')


def toml(settings: dict[str, Any]) -> str:
    """As far as these settings need it: strings and lists are written as JSON, which TOML reads alike."""
    top = [f"{key} = {json.dumps(one)}" for key, one in settings.items() if not isinstance(one, dict)]
    for name, table in settings.items():
        if isinstance(table, dict):
            top += [f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in table.items())]
    return "\n".join(top) + "\n"


@ONE_NIX
@pytest.mark.processes
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(ON_B2 + SECRETS, id="bucket"),
        pytest.param(ON_DISK, id="disk"),
        pytest.param(f'{ON_DISK} compression = {{ type = "brotli"; level = 5; }};', id="brotli"),
        pytest.param(
            f'{ON_DISK} compression.type = "none"; garbageCollection.defaultRetention = "forever";', id="none"
        ),
        pytest.param(f'{ON_DISK} garbageCollection.interval = "1 week"; listen = "[::1]:9000";', id="ipv6"),
    ],
)
def test_attic_itself_takes_the_settings(nixos: Nixos, tmp_path: Path, settings: str) -> None:
    program = find_atticd()
    if program is None:
        pytest.skip(str(real_problem()))
    config = tmp_path / "server.toml"
    config.write_text(toml(value(nixos, "config.services.atticd.settings", settings)))

    command = [str(program), "-f", str(config), "--mode", "check-config"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


CHECKSUMS = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(ON_B2 + SECRETS, CHECKSUMS, id="bucket"),
        pytest.param(f'{ON_B2}{SECRETS} storage.s3.checksums = "always";', {}, id="a-service-that-takes-them"),
        pytest.param(ON_DISK, {}, id="disk"),
    ],
)
def test_a_bucket_is_sent_no_checksums_that_it_may_refuse(
    nixos: Nixos, settings: str, expected: dict[str, str]
) -> None:
    found = value(nixos, "config.systemd.services.atticd.environment", settings)

    assert {name: one for name, one in found.items() if name.startswith("AWS_")} == expected


def test_the_server_comes_back_by_itself_and_leaves_memory_to_the_database(nixos: Nixos) -> None:
    unit = value(nixos, "{ inherit (config.systemd.services.atticd) serviceConfig startLimitIntervalSec; }")

    assert unit["startLimitIntervalSec"] == 0
    assert {name: unit["serviceConfig"][name] for name in ("MemoryHigh", "MemoryMax", "RestartMaxDelaySec")} == {
        "MemoryHigh": "60%",
        "MemoryMax": "75%",
        "RestartMaxDelaySec": "5min",
    }


def test_the_database_and_its_owner_have_one_name(nixos: Nixos) -> None:
    names = "inherit (config.services.postgresql) enable ensureDatabases initdbArgs;"
    owners = "map (user: { inherit (user) name ensureDBOwnership; }) config.services.postgresql.ensureUsers"

    assert value(nixos, f"{{ {names} owners = {owners}; }}") == {
        "enable": True,
        "ensureDatabases": ["atticd"],
        "owners": [{"name": "atticd", "ensureDBOwnership": True}],
        "initdbArgs": ["--data-checksums"],
    }


def test_a_database_elsewhere_is_left_alone(nixos: Nixos) -> None:
    settings = (
        'database = { createLocally = false; url = "postgresql://db.example.org/attic"; }; backup.enable = false;'
    )

    assert value(nixos, "config.services.postgresql.enable", f"{ON_DISK}{settings}") is False


FIREWALL = """{
  all = { inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts; };
  inside = builtins.mapAttrs (_: one: { inherit (one) allowedTCPPorts allowedUDPPorts; })
    config.networking.firewall.interfaces;
}"""
OPEN = {"allowedTCPPorts": [80, 443], "allowedUDPPorts": [443]}
SHUT: dict[str, list[int]] = {"allowedTCPPorts": [], "allowedUDPPorts": []}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param("", {"all": OPEN, "inside": {}}, id="for-all"),
        pytest.param(TAILNET, {"all": SHUT, "inside": {"tailscale0": OPEN}}, id="tailnet-alone"),
        pytest.param(
            TAILNET + 'access.tailscaleInterface = "ts1";', {"all": SHUT, "inside": {"ts1": OPEN}}, id="interface"
        ),
        pytest.param("access.openFirewall = false;", {"all": SHUT, "inside": {}}, id="somebody-else-opens-it"),
        pytest.param("proxy.enable = false;", {"all": SHUT, "inside": {}}, id="without-a-proxy"),
    ],
)
def test_the_firewall_lets_through_what_the_access_says(nixos: Nixos, settings: str, expected: object) -> None:
    assert value(nixos, FIREWALL, ON_DISK + settings) == expected


def test_caddy_serves_the_domain_with_what_the_tests_of_the_proxy_try(nixos: Nixos) -> None:
    settings = (
        f'{ON_DISK}{TAILNET} listen = "127.0.0.1:9000"; proxy = {{ email = "ops@example.org"; extraConfig = "log"; }};'
    )
    wanted = """{
      inherit (config.services.caddy) enable email globalConfig;
      site = config.services.caddy.virtualHosts."cache.example.org".extraConfig;
    }"""
    arguments = (
        '{ upstream = "127.0.0.1:9000"; tailscaleOnly = true; dns = "cloudflare {env.TOKEN}"; extraConfig = "log"; }'
    )

    found = value(nixos, wanted, settings)

    texts = evaluate(nixos.programs, f"import {NIX}/attic-server/caddyfile.nix {arguments}")
    assert (found["enable"], found["email"], found["site"].strip()) == (True, "ops@example.org", texts["site"].strip())
    assert texts["global"].strip() in found["globalConfig"]


def test_the_credentials_for_the_dns_reach_caddy_and_nothing_else(nixos: Nixos) -> None:
    settings = f'{ON_DISK}{TAILNET} access.dnsChallenge.credentialsFile = "/run/secrets/dns.env";'
    wanted = "{ inherit (config.systemd.services.caddy) serviceConfig unitConfig; }"

    found = value(nixos, wanted, settings)

    assert found["serviceConfig"]["EnvironmentFile"] == ["/run/secrets/dns.env"]
    assert found["unitConfig"]["RequiresMountsFor"] == ["/run/secrets/dns.env"]


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        pytest.param("/srv/attic", ["d /srv/attic 0700 atticd atticd -"], id="elsewhere"),
        pytest.param("/var/lib/atticd/storage", [], id="in-its-own-folder"),
        pytest.param("/var/lib/atticd", [], id="its-own-folder"),
    ],
)
def test_chunks_outside_the_server_s_own_folder_belong_to_a_user_that_there_always_is(
    nixos: Nixos, path: str, rules: list[str]
) -> None:
    settings = f'{ON_DISK} storage.local.path = "{path}";'
    wanted = """{
      rules = builtins.filter (lib.hasInfix "atticd") config.systemd.tmpfiles.rules;
      user = config.users.users.atticd or null; group = config.users.groups ? atticd;
      mounts = config.systemd.services.atticd.unitConfig.RequiresMountsFor;
    }"""

    found = value(nixos, wanted, settings)

    assert found["rules"] == rules
    assert found["group"] is bool(rules)
    assert (found["user"] or {}).get("isSystemUser", False) is bool(rules)
    assert found["mounts"] == ([path] if rules else [])


PROVISION = """{
  inherit (config.systemd.services.attic-provision) after wants environment serviceConfig;
  timer = config.systemd.timers.attic-provision.timerConfig;
}"""


def test_a_timer_provisions_the_caches_so_that_no_deployment_waits_for_a_certificate(nixos: Nixos) -> None:
    unit = value(nixos, PROVISION, ON_DISK + "caches.ci = { };")

    assert unit["timer"] == {"OnActiveSec": "5s", "OnUnitInactiveSec": "1h"}
    assert {"atticd.service", "caddy.service", "network-online.target"} <= set(unit["after"])
    assert "atticd.service" not in unit["wants"], "who stopped it does not want it back after an hour"
    assert unit["environment"]["CACHES"] == "ci prod"
    assert unit["environment"]["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    service = unit["serviceConfig"]
    assert (service["Type"], service["DynamicUser"], service["EnvironmentFile"], service["RuntimeDirectoryMode"]) == (
        "oneshot",
        True,
        "/run/attic-server/environment",
        "0700",
    )


@pytest.mark.parametrize("settings", ["caches = lib.mkForce { };", "provision.enable = false;"])
def test_nothing_is_provisioned_where_nothing_is_wanted(nixos: Nixos, settings: str) -> None:
    beside = f"imports = [ {{ {OPTION} = {{ {settings} }}; }} ];"

    assert value(nixos, "config.systemd.services ? attic-provision", ON_DISK, beside) is False


def test_the_journal_stays_within_bounds_in_old_and_new_words(nixos: Nixos) -> None:
    wanted = """let journal = config.services.journald; in
      if options.services.journald ? settings then journal.settings.Journal
      else { text = journal.extraConfig; }"""

    found = value(nixos, wanted, ON_DISK + 'journald.maxUse = "2G";')
    kept = value(nixos, wanted, ON_DISK + "journald = { maxUse = null; retention = null; };")

    said = found.get("text", "".join(f"{name}={one}\n" for name, one in sorted(found.items())))
    assert "MaxRetentionSec=30day" in said
    assert "SystemMaxUse=2G" in said
    assert "MaxRetentionSec" not in json.dumps(kept)


def test_a_machine_that_only_imports_the_module_is_left_as_it_is(nixos: Nixos) -> None:
    wanted = """{
      attic = config.services.atticd.enable;
      caddy = config.services.caddy.enable;
      postgresql = config.services.postgresql.enable;
      units = builtins.filter (name: lib.hasPrefix "attic" name) (builtins.attrNames config.systemd.services);
      inherit (config.networking.firewall) allowedTCPPorts;
    }"""

    found = nixos.evaluate("attic-server", "{ }", wanted)

    assert found.value == {"attic": False, "caddy": False, "postgresql": False, "units": [], "allowedTCPPorts": []}
    assert (found.failed, found.warnings) == ([], [])
