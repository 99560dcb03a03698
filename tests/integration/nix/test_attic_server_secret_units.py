"""Where the cache server's secrets come from, who puts them together and when: the values of units and of OpNix."""

from __future__ import annotations

import os

import pytest

from tests.integration.nix.attic_servers import ON_B2, OPTION, TAILNET, value
from tests.integration.nix.modules import NIX, REAL_OPNIX, EvaluationError, Nixos

pytestmark = pytest.mark.nix

OPNIX = """secrets.opnix = {
  enable = true;
  tokenFile = "/etc/token-of-1password";
  references = {
    tokenSecret = "op://Infra/Attic/token-secret";
    s3AccessKeyId = "op://Infra/B2/key-id";
    s3SecretAccessKey = "op://Infra/B2/key";
    offsiteAccessKeyId = "op://Infra/Offsite/key-id";
    offsiteSecretAccessKey = "op://Infra/Offsite/key";
    dnsCredentials = "op://Infra/DNS/environment";
  };
};"""
UNIT = "let unit = config.systemd.services.attic-environment; in"


def test_the_environment_is_composed_before_the_server_starts_by_root_for_root(nixos: Nixos) -> None:
    unit = value(nixos, f"{UNIT} {{ inherit (unit) before requiredBy wants environment serviceConfig unitConfig; }}")

    assert "atticd.service" in unit["before"]
    assert unit["requiredBy"] == ["atticd.service"]
    assert unit["wants"] == ["atticd.service"]
    assert unit["unitConfig"]["RequiresMountsFor"] == ["/run/secrets/key-id", "/run/secrets/key", "/run/secrets/token"]
    names = ("OUTPUT", "NEEDS_S3", "TOKEN_SECRET_FILE", "S3_ACCESS_KEY_ID_FILE", "S3_SECRET_ACCESS_KEY_FILE")
    assert {name: unit["environment"][name] for name in names} == {
        "OUTPUT": "/run/attic-server/environment",
        "NEEDS_S3": "1",
        "TOKEN_SECRET_FILE": "/run/secrets/token",
        "S3_ACCESS_KEY_ID_FILE": "/run/secrets/key-id",
        "S3_SECRET_ACCESS_KEY_FILE": "/run/secrets/key",
    }
    service = unit["serviceConfig"]
    assert (service["Type"], service["RuntimeDirectory"], service["RuntimeDirectoryMode"]) == (
        "oneshot",
        "attic-server",
        "0700",
    )
    # systemd reads the file as root; with DynamicUser there is no user atticd yet.
    assert not {"User", "DynamicUser"} & set(service)
    assert "ENVIRONMENT_FILE" not in unit["environment"]
    assert "SOURCE_HINT" not in unit["environment"]


def test_a_complete_file_is_the_only_part(nixos: Nixos) -> None:
    settings = f'{ON_B2} secrets.environmentFile = "/run/secrets/attic.env";'
    wanted = (
        f"{UNIT} {{ inherit (unit) environment; paths = config.systemd.paths.attic-environment-refresh.pathConfig; }}"
    )

    found = value(nixos, wanted, settings)

    assert found["environment"]["ENVIRONMENT_FILE"] == "/run/secrets/attic.env"
    assert "TOKEN_SECRET_FILE" not in found["environment"]
    assert found["paths"] == {"PathChanged": ["/run/secrets/attic.env"]}


def test_secrets_are_looked_at_every_hour_too_for_a_new_folder_in_their_place_is_no_event(nixos: Nixos) -> None:
    assert value(nixos, "config.systemd.services.attic-environment-refresh.startAt") in ("hourly", ["hourly"])


def test_a_secret_is_a_string_since_a_path_would_be_copied_into_the_store(nixos: Nixos) -> None:
    with pytest.raises(EvaluationError, match="tokenSecretFile"):
        value(
            nixos,
            "config.systemd.services.attic-environment.environment",
            f"{ON_B2} secrets.tokenSecretFile = {NIX}/package.nix;",
        )


def opnix(nixos: Nixos) -> str:
    """What brings OpNix's options where they are not there."""
    if nixos.name == "real":
        if not os.environ.get(REAL_OPNIX):
            pytest.skip(f"{REAL_OPNIX} names no folder with OpNix")
        return ""
    return f"imports = [ {NIX}/tests/stand-in/opnix.nix ];"


def test_opnix_fetches_each_secret_for_root_and_restarts_only_caddy_itself(nixos: Nixos) -> None:
    wanted = """builtins.mapAttrs (_: one: [ one.reference one.owner one.mode one.services ])
      config.services.onepassword-secrets.secrets"""

    assert value(nixos, wanted, ON_B2 + TAILNET + OPNIX, opnix(nixos)) == {
        "atticTokenSecret": ["op://Infra/Attic/token-secret", "root", "0400", []],
        "atticS3AccessKeyId": ["op://Infra/B2/key-id", "root", "0400", []],
        "atticS3SecretAccessKey": ["op://Infra/B2/key", "root", "0400", []],
        "atticOffsiteAccessKeyId": ["op://Infra/Offsite/key-id", "root", "0400", []],
        "atticOffsiteSecretAccessKey": ["op://Infra/Offsite/key", "root", "0400", []],
        "atticDnsCredentials": ["op://Infra/DNS/environment", "root", "0400", ["caddy"]],
    }


def test_what_opnix_fetches_is_what_the_server_is_given_after_it_was_fetched(nixos: Nixos) -> None:
    wanted = f"""{UNIT} {{
      inherit (unit) after wants environment;
      opnix = {{ inherit (config.services.onepassword-secrets) enable tokenFile; }};
      caddy = config.systemd.services.caddy.serviceConfig.EnvironmentFile;
      offsite = config.{OPTION}.backup.offsite.secretAccessKeyFile;
    }}"""

    found = value(nixos, wanted, ON_B2 + TAILNET + OPNIX, opnix(nixos))

    folder = "/var/lib/opnix/secrets"
    assert found["opnix"] == {"enable": True, "tokenFile": "/etc/token-of-1password"}
    assert "opnix-secrets.service" in found["after"]
    assert "opnix-secrets.service" in found["wants"]
    assert found["environment"]["TOKEN_SECRET_FILE"] == f"{folder}/atticTokenSecret"
    assert found["environment"]["S3_ACCESS_KEY_ID_FILE"] == f"{folder}/atticS3AccessKeyId"
    assert "/etc/token-of-1password" in found["environment"]["SOURCE_HINT"]
    assert found["caddy"] == [f"{folder}/atticDnsCredentials"]
    assert found["offsite"] == f"{folder}/atticOffsiteSecretAccessKey"


def test_without_its_switch_opnix_is_told_nothing(nixos: Nixos) -> None:
    assert value(nixos, "config.services.onepassword-secrets.enable", beside=opnix(nixos)) is False
