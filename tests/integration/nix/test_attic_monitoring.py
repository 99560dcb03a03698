"""What the cache server's monitoring sets, and whether Caddy takes what it is told of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.nix.modules import NIX, Nixos, evaluate
from tests.integration.test_metrics_sent import free_port, server

pytestmark = pytest.mark.nix

HASH = "$2a$14$Xw9dPdh/nUcy4TD938lHpON/SV/OJyukS5tsmzI3.uMthnUtrOlAq"
GATEWAY = f'pushgateway = {{ enable = true; passwordHash = "{HASH}"; }};'
DNS = 'access = { tailscaleOnly = true; dnsChallenge.caddyDirective = "cloudflare {env.TOKEN}"; };'
TAILNET = 'listenAddress = "100.64.1.2";'

WANTED = """{
  inherit (config.services.prometheus.exporters) node postgres blackbox;
  inherit (config.services.prometheus) pushgateway;
  firewall = config.networking.firewall.interfaces;
  open = config.networking.firewall.allowedTCPPorts;
  site = config.services.caddy.virtualHosts."cache.example.org".extraConfig or "";
  hosts = lib.mapAttrs (_: host: host.extraConfig) config.services.caddy.virtualHosts;
  global = config.services.caddy.globalConfig;
  roles = map (user: user.name) config.services.postgresql.ensureUsers;
  units = lib.attrNames config.systemd.services;
  folders = config.systemd.tmpfiles.rules;
  storage = let unit = config.systemd.services.attic-storage-metrics or null; in
    if unit == null then null else { inherit (unit) startAt; retention = unit.environment.ATTIC_RETENTION; };
}"""

# Exporters have more in them than JSON can hold.
NARROW = WANTED.replace(
    "inherit (config.services.prometheus.exporters) node postgres blackbox;\n"
    "  inherit (config.services.prometheus) pushgateway;",
    "node = { inherit (config.services.prometheus.exporters.node) enable listenAddress port extraFlags; };\n"
    "  postgres = { inherit (config.services.prometheus.exporters.postgres) enable listenAddress dataSourceName; };\n"
    "  blackbox = { inherit (config.services.prometheus.exporters.blackbox) enable listenAddress; };\n"
    "  pushgateway = { inherit (config.services.prometheus.pushgateway) enable persistMetrics; "
    "address = config.services.prometheus.pushgateway.web.listen-address; };",
)


def settings(monitoring: str = "", more: str = "") -> str:
    return f"""{{
      services.pipelinegen.attic-server = {{
        enable = true;
        package = pkgs.pipelinegen;
        domain = "cache.example.org";
        storage = {{ type = "local"; local.path = "/srv/attic"; }};
        secrets.environmentFile = "/run/keys/attic.env";
        backup.enable = false;
        monitoring = {{ enable = true; {monitoring} }};
        {more}
      }};
    }}"""


def value(nixos: Nixos, monitoring: str = "", more: str = "") -> dict[str, Any]:
    found = nixos.evaluate("attic-server", settings(monitoring, more), NARROW)
    assert found.failed == []
    assert isinstance(found.value, dict)
    return found.value


def is_old(caddy: str) -> bool:
    """Whether the directive `basic_auth` is still called `basicauth`, as before Caddy 2.8."""
    version = subprocess.run([caddy, "version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 8)


def test_exporters_listen_on_this_machine_alone_unless_told_otherwise(nixos: Nixos) -> None:
    found = value(nixos)
    for name in ("node", "postgres", "blackbox"):
        assert (found[name]["enable"], found[name]["listenAddress"]) == (True, "127.0.0.1")
    assert found["node"]["extraFlags"] == ["--collector.textfile.directory=/var/lib/attic-metrics"]
    assert "d /var/lib/attic-metrics 0755 root root -" in found["folders"]
    assert found["hosts"]["http://:9180"].split() == ["bind", "127.0.0.1", "metrics", "/metrics"]
    assert "\tmetrics\n" in found["global"]
    assert not {9100, 9115, 9180, 9187, 9091} & set(found["open"])
    assert found["firewall"] == {}
    assert found["pushgateway"]["enable"] is False


def test_an_address_in_the_tailnet_opens_the_firewall_there_and_nowhere_else(nixos: Nixos) -> None:
    found = value(nixos, TAILNET + GATEWAY)
    assert sorted(found["firewall"]) == ["tailscale0"]
    assert found["firewall"]["tailscale0"]["allowedTCPPorts"] == [9100, 9187, 9115, 9180, 9091]
    assert sorted(found["open"]) == [80, 443]
    assert found["node"]["listenAddress"] == "100.64.1.2"
    assert found["pushgateway"]["address"] == "100.64.1.2:9091"
    # Waiting for an address would keep the cache from being served.
    assert "bind" not in found["hosts"]["http://:9180"]


def test_the_postgresql_exporter_has_a_role_of_its_own_without_rights(nixos: Nixos) -> None:
    found = value(nixos)
    assert found["postgres"]["dataSourceName"].startswith("user=postgres-exporter ")
    assert "postgres-exporter" in found["roles"]


def test_the_storage_is_counted_with_the_retention_of_the_server(nixos: Nixos) -> None:
    found = value(nixos, more='garbageCollection.defaultRetention = "2 weeks";')
    assert found["storage"] == {"startAt": ["*:40"], "retention": "1209600"}
    assert value(nixos, more='garbageCollection.defaultRetention = "forever";')["storage"]["retention"] == "0"


def test_the_unit_that_counts_may_take_the_name_of_postgresql_and_no_more(nixos: Nixos) -> None:
    wanted = """let unit = config.systemd.services.attic-storage-metrics; in {
      inherit (unit) after requisite;
      inherit (unit.serviceConfig) CapabilityBoundingSet ExecStart ProtectSystem RestrictAddressFamilies StateDirectory;
      sql = unit.environment.ATTIC_STORAGE_SQL;
      delay = config.systemd.timers.attic-storage-metrics.timerConfig.RandomizedDelaySec;
    }"""
    found = nixos.evaluate("attic-server", settings(), wanted).value
    assert found.pop("ExecStart").endswith("/bin/attic-storage-metrics")
    assert found.pop("sql").endswith("storage.sql")
    assert "atticd.service" in found.pop("after")
    assert found == {
        "requisite": ["atticd.service"],
        "CapabilityBoundingSet": ["CAP_SETGID", "CAP_SETUID"],
        "ProtectSystem": "strict",
        "RestrictAddressFamilies": ["AF_UNIX"],
        "StateDirectory": "attic-metrics",
        "delay": "2min",
    }


def test_what_waits_for_the_address_in_the_tailnet_tries_for_ever(nixos: Nixos) -> None:
    wanted = """lib.genAttrs [ "prometheus-node-exporter" "prometheus-blackbox-exporter" "pushgateway" ] (name:
      let unit = config.systemd.services.${name}; in [ unit.startLimitIntervalSec unit.serviceConfig.RestartSec ])"""
    found = nixos.evaluate("attic-server", settings(TAILNET + GATEWAY), wanted).value
    assert list(found.values()) == [[0, "10s"]] * 3


def test_without_a_local_database_nothing_asks_it(nixos: Nixos) -> None:
    found = value(nixos, more='database = { createLocally = false; url = "postgresql://db.example.org/atticd"; };')
    assert found["postgres"]["enable"] is False
    assert found["storage"] is None


def test_without_monitoring_there_is_none_of_it(nixos: Nixos) -> None:
    found = nixos.evaluate("attic-server", settings().replace("enable = true;  }", "enable = false; }"), NARROW).value
    assert not [found[name] for name in ("node", "postgres", "blackbox", "pushgateway") if found[name]["enable"]]
    assert list(found["hosts"]) == ["cache.example.org"]
    assert "metrics" not in found["global"]


@pytest.mark.parametrize(
    ("monitoring", "more", "says"),
    [
        ('listenAddress = "0.0.0.0";', "", "every address of the machine"),
        ("pushgateway.enable = true;", "", "passwordHash` is missing"),
        (GATEWAY, "caches.pushgateway = { };", "a cache cannot be called `pushgateway`"),
        (
            "storage.enable = true; postgres.enable = false;",
            'database = { createLocally = false; url = "postgresql://db/a"; };',
            "and there is none",
        ),
        ("caddy.enable = true;", "proxy.enable = false;", "measures the proxy, which is off"),
    ],
    ids=["all addresses", "no password", "a cache in the way", "no database", "no proxy"],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(nixos: Nixos, monitoring: str, more: str, says: str) -> None:
    failed = nixos.evaluate("attic-server", settings(monitoring, more)).failed
    assert [one for one in failed if says in one], failed


@pytest.mark.parametrize("tailnet", [False, True], ids=["public", "tailnet only"])
def test_caddy_takes_the_sites_and_guards_the_gateway(nixos: Nixos, tmp_path: Path, *, tailnet: bool) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs Debian's caddy")
    found = value(nixos, (TAILNET if tailnet else "") + GATEWAY, DNS if tailnet else "")
    sites = "".join(f"{name} {{\n{text}\n}}\n" for name, text in found["hosts"].items())
    # Debian's Caddy knows no provider of DNS.
    text = re.sub(r"tls \{\n\s*dns .*\n\}", "", f"{{\n{found['global']}\n}}\n{sites}")
    if is_old(caddy):
        text = text.replace("basic_auth", "basicauth")
    (tmp_path / "Caddyfile").write_text(text)
    command = [caddy, "adapt", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile"), "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # What strangers are told comes before the gateway, and the gateway before what passes everything on.
    order = [place for one in ("Only from within", HASH, "127.0.0.1:8080") if (place := done.stdout.find(one)) >= 0]
    assert len(order) == (3 if tailnet else 2)
    assert order == sorted(order)


def test_jobs_with_the_token_may_replace_their_metrics_and_nothing_else(nixos: Nixos, tmp_path: Path) -> None:
    caddy, program = shutil.which("caddy"), shutil.which("prometheus-pushgateway")
    if caddy is None or program is None:
        pytest.skip("needs Debian's caddy and prometheus-pushgateway")
    token = "6dd3a8fd2bb1a5e6"
    hashing = subprocess.run([caddy, "hash-password"], input=f"{token}\n", capture_output=True, text=True, check=True)
    port, gateway = free_port(), free_port()
    monitoring = f'pushgateway = {{ enable = true; port = {gateway}; passwordHash = "{hashing.stdout.strip()}"; }};'
    # atticd is somebody who says so.
    site = re.sub(
        r"reverse_proxy 127.0.0.1:8080 \{.*?\n\}", "respond atticd", value(nixos, monitoring)["site"], flags=re.DOTALL
    )
    if is_old(caddy):
        site = site.replace("basic_auth", "basicauth")
    (tmp_path / "Caddyfile").write_text(f"{{\n  admin off\n}}\nhttp://127.0.0.1:{port} {{\n{site}\n}}\n")
    flags = (f"--web.listen-address=127.0.0.1:{gateway}", "--persistence.file=")
    command = (caddy, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile"))
    with server(f"http://127.0.0.1:{gateway}", program, *flags), server(f"http://127.0.0.1:{port}", *command) as url:
        path = "/pushgateway/metrics/job/pipelinegen/kind/plan"
        right, wrong = httpx.BasicAuth("pipelinegen", token), httpx.BasicAuth("pipelinegen", "guessed")
        assert httpx.put(url + path, content="a 1\n", auth=wrong).status_code == 401
        assert httpx.put(url + path, content="a 1\n").status_code == 401
        assert httpx.put(url + path, content="a 1\n", auth=right).status_code == 200
        # All else goes to atticd, as without a gateway.
        for method, other in (("GET", path), ("DELETE", path), ("PUT", "/pushgateway/api/v1/admin/wipe")):
            assert httpx.request(method, url + other, auth=right).text == "atticd"
        metrics = httpx.get(f"http://127.0.0.1:{gateway}/metrics").text
    assert 'a{instance="",job="pipelinegen",kind="plan"} 1' in metrics


def test_durations_are_as_long_as_for_attic(nix_bin: Path) -> None:
    texts = ["90 days", "1h 30m", "2 weeks", "0s", "08d", "1month", "x", "1 parsec", "", "3 days and"]
    words = " ".join(f'"{text}"' for text in texts)
    found = evaluate(nix_bin, f"map (import {NIX}/attic-server/seconds.nix) [ {words} ]")
    assert found == [7776000, 5400, 1209600, 0, 691200, 2630016, None, None, None, None]
