"""The cache server's module: what it says about backups, the way back and health becomes units, timers and settings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.nix.modules import NIX, Nixos

pytestmark = pytest.mark.nix

SETTINGS = f"import {NIX}/tests/settings/attic-server.nix"


def evaluate(nixos: Nixos, wanted: str, more: str = "{ }") -> Any:
    """A value of the machine that has these settings besides."""
    merged = f"{{ imports = [ ({SETTINGS}) {{ services.pipelinegen.attic-server = {more}; }} ]; }}"
    return nixos.evaluate("attic-server", merged, wanted)


def service(nixos: Nixos, name: str, more: str = "{ }") -> Any:
    """A unit, as far as the tests look at it."""
    wanted = (
        f"let unit = config.systemd.services.{name}; in"
        " { inherit (unit) after serviceConfig; success = unit.onSuccess; failure = unit.onFailure; }"
    )
    return evaluate(nixos, wanted, more).value


def timers(nixos: Nixos, more: str = "{ }") -> Any:
    return evaluate(nixos, "builtins.mapAttrs (_: timer: timer.timerConfig) config.systemd.timers", more).value


def environment(nixos: Nixos, more: str = "{ }") -> dict[str, str]:
    """What the scripts read."""
    wanted = f"""import {NIX}/attic-server/backup/environment.nix {{
      cfg = config.services.pipelinegen.attic-server;
      source = "${{config.services.postgresqlBackup.location}}/atticd.sql.zstd";
      health = "/bin/health";
    }}"""
    found: dict[str, str] = evaluate(nixos, wanted, more).value
    return found


def test_the_database_is_dumped_at_night_and_the_dump_taken_over_whatever_became_of_it(nixos: Nixos) -> None:
    wanted = "{ inherit (config.services.postgresqlBackup) enable databases compression pgdumpOptions startAt; }"
    assert evaluate(nixos, wanted, '{ backup.startAt = "03:30"; }').value == {
        "enable": True,
        "databases": ["atticd"],
        "compression": "zstd",
        "pgdumpOptions": "-C",
        "startAt": "03:30",
    }
    dumping = service(nixos, "postgresqlBackup-atticd")
    assert dumping["success"] == dumping["failure"] == ["attic-backup.service"]
    assert "postgresql.service" in dumping["after"]
    assert "postgresqlBackup-atticd.service" in service(nixos, "attic-backup")["after"]


def test_units_run_the_programs_and_may_write_to_their_folders_alone(nixos: Nixos) -> None:
    for name in ("attic-backup", "attic-drill"):
        unit = service(nixos, name, '{ backup.folder = "/srv/backup"; }')["serviceConfig"]
        assert unit["ExecStart"].endswith(f"/bin/{name}")
        assert unit["ProtectSystem"] == "strict"
        assert unit["ReadWritePaths"] == ["/srv/backup"]
        assert (unit["StateDirectory"], unit["StateDirectoryMode"]) == ("attic-metrics", "0755")
    unit = service(nixos, "attic-health")["serviceConfig"]
    assert (unit["StateDirectory"], unit["StateDirectoryMode"]) == ("attic-metrics", "0755")
    assert "ReadWritePaths" not in unit


def test_timers_are_as_the_settings_say(nixos: Nixos) -> None:
    found = timers(nixos, '{ backup.drill.startAt = "weekly"; health.interval = "5min"; }')
    assert found["attic-drill"]["OnCalendar"] == "weekly"
    assert found["attic-drill"]["Persistent"] is True
    assert found["attic-health"]["OnUnitActiveSec"] == "5min"
    assert found["postgresqlBackup-atticd"]["Persistent"] is True
    assert "attic-backup" in found


@pytest.mark.parametrize(
    ("more", "absent"),
    [
        ("{ backup.enable = false; }", {"attic-backup", "attic-drill", "postgresqlBackup-atticd"}),
        ("{ backup.drill.enable = false; }", {"attic-drill"}),
        ("{ health.enable = false; }", {"attic-health"}),
        (
            '{ database = { createLocally = false; url = "postgresql://atticd@db.example.org/atticd"; }; }',
            {"attic-backup", "attic-drill", "postgresqlBackup-atticd"},
        ),
    ],
    ids=["no backup", "no drill", "no health", "a database elsewhere"],
)
def test_what_is_off_is_not_there(nixos: Nixos, more: str, absent: set[str]) -> None:
    ours = {"attic-backup", "attic-drill", "attic-health", "postgresqlBackup-atticd"}
    assert set(timers(nixos, more)) & ours == ours - absent


def test_scripts_get_the_buckets_and_names_of_files_with_secrets(nixos: Nixos) -> None:
    assert environment(nixos) == {
        "ATTIC_AGE_RECIPIENTS": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        "ATTIC_BACKUP_FOLDER": "/var/backup/attic",
        "ATTIC_BACKUP_KEEP_DAYS": "30",
        "ATTIC_BACKUP_SOURCE": "/var/backup/postgresql/atticd.sql.zstd",
        "ATTIC_HEALTH_COMMAND": "/bin/health",
        "ATTIC_OFFSITE": "offsite:example-attic-backup/attic",
        "ATTIC_OFFSITE_PRUNE": "1",
        "ATTIC_OFFSITE_SECRETS_FILE": "/run/secrets/offsite.env",
        "ATTIC_STORAGE": "storage:example-nix-cache",
        "ATTIC_STORAGE_ID": "s3:us-west-004/example-nix-cache/",
        "ATTIC_STORAGE_SECRETS_FILE": "/run/attic-server/environment",
        "RCLONE_CONFIG_OFFSITE_ENDPOINT": "https://s3.eu-central-003.backblazeb2.com",
        "RCLONE_CONFIG_OFFSITE_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_OFFSITE_PROVIDER": "Other",
        "RCLONE_CONFIG_OFFSITE_REGION": "eu-central-003",
        "RCLONE_CONFIG_OFFSITE_TYPE": "s3",
        "RCLONE_CONFIG_STORAGE_ENDPOINT": "https://s3.us-west-004.backblazeb2.com",
        "RCLONE_CONFIG_STORAGE_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_STORAGE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORAGE_REGION": "us-west-004",
        "RCLONE_CONFIG_STORAGE_TYPE": "s3",
    }


def test_a_folder_of_chunks_and_no_second_bucket_need_no_secrets(nixos: Nixos) -> None:
    more = '{ storage = { type = "local"; local.path = "/srv/attic"; }; backup.offsite.enable = lib.mkForce false; }'
    found = environment(nixos, more)
    assert found["ATTIC_STORAGE"] == "/srv/attic"
    assert found["ATTIC_STORAGE_ID"] == "local:"
    assert found["ATTIC_OFFSITE"] == ""
    assert not [name for name in found if "SECRET" in name or name.startswith("RCLONE")]


def test_health_is_asked_under_the_name_that_the_server_answers_to(nixos: Nixos) -> None:
    file = f"{NIX}/attic-server/health-program.nix"
    wanted = f"(import {file} {{ cfg = config.services.pipelinegen.attic-server; inherit lib pkgs; }})"
    if nixos.name != "stand-in":
        pytest.skip("only the stand-in's packages tell what they are made of")
    found = evaluate(nixos, f"{wanted}.application.runtimeEnv").value
    assert found == {
        "ATTIC_HEALTH_CACHE": "prod",
        "ATTIC_HEALTH_HOST": "cache.example.org",
        "ATTIC_HEALTH_LISTEN": "127.0.0.1:8080",
        "ATTIC_HEALTH_PUBLIC": "https://cache.example.org",
    }
    found = evaluate(
        nixos, f"{wanted}.application.runtimeEnv", '{ proxy.enable = false; listen = "10.0.0.1:80"; }'
    ).value
    assert found["ATTIC_HEALTH_PUBLIC"] == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("{ backup.enable = false; }", "so is everything in the bucket"),
        ("{ backup.offsite.enable = lib.mkForce false; }", "are lost with it"),
        ("{ backup.offsite.ageRecipients = lib.mkForce [ ]; }", "leave the machine unencrypted"),
        (
            '{ database = { createLocally = false; url = "postgresql://atticd@db.example.org/atticd"; }; }',
            "nothing here backs it up",
        ),
    ],
    ids=["no backup", "not off-site", "not encrypted", "a database elsewhere"],
)
def test_a_risk_is_named(nixos: Nixos, more: str, said: str) -> None:
    assert evaluate(nixos, "null").warnings == []
    found = evaluate(nixos, "null", more)
    assert [text for text in found.warnings if said in text]
    assert found.failed == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("bucket = lib.mkForce null;", "wants a bucket and an endpoint"),
        (
            'bucket = lib.mkForce "example-nix-cache"; endpoint = lib.mkForce "https://s3.us-west-004.backblazeb2.com";',
            "is the bucket of the chunks",
        ),
        ("environmentFile = lib.mkForce null;", "wants its keys"),
        ('accessKeyIdFile = "/run/secrets/id";', "wants its keys"),
        ('ageRecipients = [ "AGE-SECRET-KEY-1QQQ" ];', "never a secret one"),
        ('prefix = "a b";', "is the name of a folder"),
    ],
    ids=["no bucket", "the same bucket", "no keys", "keys twice", "a secret key", "an odd folder"],
)
def test_a_mistake_is_refused_with_a_sentence(nixos: Nixos, more: str, said: str) -> None:
    failed = evaluate(nixos, "null", f"{{ backup.offsite = {{ {more} }}; }}").failed
    assert len(failed) == 1
    assert said in failed[0]
