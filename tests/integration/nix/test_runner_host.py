"""The runner host: what NixOS is told, what GitLab's runner is registered with, and which mistakes are refused."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.config import Config
from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, Evaluated, EvaluationError, Nixos, evaluate
from tests.integration.nix.test_runner_host_trust import TRUSTING_NOBODY

pytestmark = pytest.mark.nix

IMAGE = "registry.example.org:5000/group/ci-image:26.11"
DIGEST = f"{IMAGE}@sha256:{'0' * 64}"
HOST = "services.pipelinegen.runner-host"
DOCKER = {"refs": "protected", "authenticationTokenConfigFile": "/run/secrets/builds", "image": IMAGE}
SHELL_EXECUTOR = {"refs": "protected", "authenticationTokenConfigFile": "/run/secrets/shell", "executor": "shell"}


def nix(value: object) -> str:
    """As Nix writes it: paths as they are, texts in quotes."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list):
        return f"[ {' '.join(map(nix, value))} ]"
    return str(value) if isinstance(value, int | Path) else f'"{value}"'


def docker(**settings: object) -> str:
    """The options of a runner with the Docker executor."""
    return " ".join(f"{name} = {nix(value)};" for name, value in {**DOCKER, **settings}.items())


def shell(**settings: object) -> str:
    """The options of a runner with the shell executor."""
    return " ".join(f"{name} = {nix(value)};" for name, value in {**SHELL_EXECUTOR, **settings}.items())


BUILDS = docker()
SHELL = shell()


def host(nixos: Nixos, runners: str, host: str = "", *, more: str = "", wanted: str = "null") -> Evaluated:
    """Evaluate a machine with these runners, settings of the host, and further settings of NixOS."""
    settings = f"""{{
      {HOST} = {{ enable = true; package = pkgs.pipelinegen or pkgs.hello; runners = {{ {runners} }}; {host} }};
      nix.package = pkgs.nix;
      {more}
    }}"""
    return nixos.evaluate("runner-host", settings, wanted)


def sound(nixos: Nixos, runners: str, host_settings: str = "", *, more: str = "", wanted: str) -> Any:
    """What is wanted of a machine without mistakes."""
    found = host(nixos, runners, host_settings, more=more, wanted=wanted)
    assert found.failed == []
    return found.value


def pure(nix_bin: Path, file: str, expression: str) -> Any:
    return evaluate(nix_bin, f"with import {NIX}/runner-host/{file}; {expression}")


def test_a_runner_is_registered_with_its_token_and_what_gitlab_lets_a_machine_say(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f'builds = {{ {BUILDS} limit = 3; environmentVariables.NAME = "a value"; }};',
        'gitlabUrl = "https://gitlab.example.org"; concurrency = 4;',
        wanted="{ inherit (config.services.gitlab-runner) enable settings;"
        " runner = config.services.gitlab-runner.services.builds; }",
    )
    runner = found["runner"]

    assert found["enable"] is True
    assert found["settings"]["concurrent"] == 4
    assert found["settings"]["listen_address"] == "127.0.0.1:9252"
    assert runner["authenticationTokenConfigFile"] == "/run/secrets/builds"
    assert runner["executor"] == "docker"
    assert (runner["limit"], runner["requestConcurrency"]) == (3, 1)
    assert runner["dockerImage"] == IMAGE
    assert runner["dockerAllowedImages"] == [IMAGE]
    assert runner["dockerPrivileged"] is False
    assert runner["dockerVolumes"] == []
    assert runner["environmentVariables"] == {"NAME": "a value"}
    assert runner["debugTraceDisabled"] is True
    assert runner["registrationFlags"][0] == "--url https://gitlab.example.org"
    assert runner["registrationFlags"][1].startswith("--template-config /")
    # GitLab has these for a runner with an authentication token; NixOS would warn of each that is set here.
    ignored = {"tagList": [], "runUntagged": False, "protected": False, "maximumTimeout": 0}
    assert {name: runner[name] for name in ignored} == ignored
    assert runner["registrationConfigFile"] is None


@ONE_NIX
def test_what_is_registered_besides_flags_is_a_config_toml(nix_bin: Path) -> None:
    text = pure(
        nix_bin,
        "template.nix",
        """toToml (docker {
          privileged = false; devices = [ "/dev/kvm" ]; memory = "8g"; cpus = "4";
          pullPolicy = "always"; socket = null;
        })""",
    )

    assert tomllib.loads(text) == {
        "runners": [
            {
                "feature_flags": {"FF_NETWORK_PER_BUILD": True},
                "docker": {
                    "allowed_pull_policies": ["always"],
                    "cap_drop": ["NET_RAW"],
                    "cpus": "4",
                    "devices": ["/dev/kvm"],
                    "memory": "8g",
                    "memory_swap": "8g",
                    "pull_policy": ["always"],
                    "security_opt": ["no-new-privileges:true"],
                    "service_cpus": "4",
                    "service_memory": "8g",
                    "services_privileged": False,
                },
            }
        ]
    }


@ONE_NIX
def test_a_privileged_container_of_podman_keeps_its_rights(nix_bin: Path) -> None:
    text = pure(
        nix_bin,
        "template.nix",
        """toToml (docker {
          privileged = true; devices = [ ]; memory = null; cpus = null;
          pullPolicy = "never"; socket = "unix:///run/podman/podman.sock";
        })""",
    )
    docker = tomllib.loads(text)["runners"][0]["docker"]

    assert docker["host"] == "unix:///run/podman/podman.sock"
    assert docker["security_opt"] == docker["cap_drop"] == docker["devices"] == []
    assert "memory" not in docker


@ONE_NIX
def test_the_shell_executor_cleans_up_after_each_job(nix_bin: Path) -> None:
    assert tomllib.loads(pure(nix_bin, "template.nix", "toToml shell")) == {
        "runners": [{"shell": "bash", "feature_flags": {"FF_ENABLE_JOB_CLEANUP": True}}]
    }


@ONE_NIX
@pytest.mark.parametrize(
    ("arguments", "tags"),
    [
        pytest.param(
            'system = "x86_64-linux"; refs = "protected";',
            ["nix", "x86_64-linux", "protected-true"],
            id="protected refs",
        ),
        pytest.param(
            'system = "aarch64-linux"; refs = "unprotected"; features = [ "kvm" "big-parallel" ];',
            ["nix", "aarch64-linux", "big-parallel", "kvm", "protected-false"],
            id="features in order",
        ),
        pytest.param(
            'system = "x86_64-linux"; refs = "all"; extra = [ "fast" "nix" ];',
            ["nix", "x86_64-linux", "fast", "protected-true", "protected-false"],
            id="all refs, a tag of its own, one twice",
        ),
    ],
)
def test_tags_say_system_features_and_whose_jobs(nix_bin: Path, arguments: str, tags: list[str]) -> None:
    assert pure(nix_bin, "tags.nix", f"tagsOf {{ {arguments} }}") == tags


def test_the_tags_that_jobs_ask_for_are_tags_of_a_runner(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f"main = {{ {BUILDS} limit = 1; }};"
        f"others = {{ {docker(refs='unprotected')} }};"
        f'machines = {{ {BUILDS} features = [ "kvm" "nixos-test" ]; extraTags = [ "fast" ]; }};',
        "concurrency = 3;",
        wanted=f'{{ inherit (config.{HOST}) hint; file = config.environment.etc."pipelinegen/runner-host.toml".text;'
        f" tags = lib.mapAttrs (_: runner: runner.tags) config.{HOST}.runners; }}",
    )
    config = Config.model_validate(tomllib.loads(found["hint"]))

    assert found["file"] == found["hint"]
    assert [(runner.system, runner.features, runner.count) for runner in config.runners] == [
        ("x86_64-linux", ("benchmark", "big-parallel"), 1),
        ("x86_64-linux", ("kvm", "nixos-test"), 3),
    ]
    for name, runner, protected in [("main", 0, "true"), ("others", 0, "false"), ("machines", 1, "true")]:
        asked = {tag.replace("$CI_COMMIT_REF_PROTECTED", protected) for tag in config.runners[runner].tags}
        assert asked <= set(found["tags"][name])
    assert config.handoff.mode == "artifacts"
    assert config.handoff.derivations == "export"


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_jobs_in_containers_reach_the_machines_store_by_a_daemon_that_trusts_nobody(nixos: Nixos, engine: str) -> None:
    found = sound(
        nixos,
        f'builds = {{ {BUILDS} store = "shared"; volumes = [ "/srv/data:/data:ro" ]; }};',
        f'engine = "{engine}"; memory.builds = "48G";',
        wanted=f"""{{
          runner = config.services.gitlab-runner.services.builds;
          daemon = {{ inherit (config.systemd.services.runner-host-nix-daemon) environment serviceConfig wantedBy; }};
          memory = config.systemd.services.nix-daemon.serviceConfig.MemoryMax;
          inherit (config.{HOST}) hint;
        }}""",
    )
    environment = found["runner"]["environmentVariables"]
    daemon = found["daemon"]

    assert sorted(found["runner"]["dockerVolumes"]) == [
        "/nix/store:/nix/store:ro",
        "/run/runner-host-nix:/nix/var/nix/daemon-socket:ro",
        "/srv/data:/data:ro",
    ]
    assert environment["NIX_REMOTE"] == "daemon"
    assert environment["NIX_CONFIG"] == "experimental-features = nix-command flakes"
    assert environment["PATH"].split(":")[0].endswith("-pipelinegen-job-tools/bin")
    assert daemon["environment"]["NIX_CONFIG"] == TRUSTING_NOBODY
    assert daemon["environment"]["NIX_DAEMON_SOCKET_PATH"] == "/run/runner-host-nix/socket"
    assert daemon["serviceConfig"]["ExecStart"].endswith("/bin/nix-daemon")
    assert daemon["serviceConfig"]["RuntimeDirectory"] == "runner-host-nix"
    assert daemon["serviceConfig"]["KillMode"] == "process"
    assert daemon["serviceConfig"]["MemoryMax"] == found["memory"] == "48G"
    assert daemon["wantedBy"] == ["multi-user.target"]
    config = Config.model_validate(tomllib.loads(found["hint"]))
    assert (config.handoff.mode, config.handoff.derivations) == ("runner", "evaluate")


def test_a_machine_of_isolated_stores_shares_nothing_with_its_containers(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f"builds = {{ {BUILDS} }};",
        wanted="{ daemon = config.systemd.services ? runner-host-nix-daemon;"
        " volumes = config.services.gitlab-runner.services.builds.dockerVolumes;"
        " busy = config.systemd.services.runner-host-reserve.environment.BUSY; }",
    )

    assert found == {"daemon": False, "volumes": [], "busy": ""}


def test_jobs_of_the_shell_executor_find_their_programs_and_leave_roots_that_count(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f"builds = {{ {SHELL} }};",
        'memory.jobs = "12G";',
        wanted=f"""{{
          runner = config.services.gitlab-runner.services.builds;
          unit = config.systemd.services.gitlab-runner.serviceConfig;
          missing = lib.filter (tool: !(lib.elem tool config.environment.systemPackages)) config.{HOST}.tools;
          docker = config.virtualisation.docker.enable;
        }}""",
    )

    assert found["runner"]["executor"] == "shell"
    assert found["runner"]["environmentVariables"] == {"NIX_REMOTE": "daemon", "TMPDIR": "/var/cache/gitlab-runner"}
    assert found["unit"]["CacheDirectory"] == "gitlab-runner"
    assert found["unit"]["MemoryMax"] == "12G"
    assert found["missing"] == []
    assert found["docker"] is False


def test_a_runner_that_stops_lets_its_jobs_end(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f"builds = {{ {BUILDS} }};",
        'gracefulTimeout = "3h";',
        wanted="""{
          inherit (config.services.gitlab-runner) gracefulTermination gracefulTimeout;
          unit = config.systemd.services.gitlab-runner.serviceConfig;
        }""",
    )

    assert found["gracefulTermination"] is True
    assert found["gracefulTimeout"] == "3h"
    assert found["unit"]["KillMode"] == "mixed"
    if nixos.name == "real":
        assert found["unit"]["KillSignal"] == "SIGQUIT"
        assert found["unit"]["TimeoutStopSec"] == "3h"
    assert found["unit"]["ProtectHome"] is True
    assert found["unit"]["ProtectProc"] == "invisible"


@pytest.mark.parametrize(
    ("settings", "features", "modules", "tags"),
    [
        pytest.param("", ["benchmark", "big-parallel"], [], ["benchmark", "big-parallel"], id="without"),
        pytest.param(
            'kvm = { enable = true; vendor = "amd"; };',
            ["benchmark", "big-parallel", "kvm", "nixos-test"],
            ["kvm-amd"],
            ["benchmark", "big-parallel", "kvm", "nixos-test"],
            id="with",
        ),
    ],
)
def test_virtual_machines_are_offered_where_there_are_some(
    nixos: Nixos, settings: str, features: list[str], modules: list[str], tags: list[str]
) -> None:
    found = sound(
        nixos,
        f"builds = {{ {BUILDS} }};",
        settings,
        wanted=f"""{{
          features = config.nix.settings.system-features;
          modules = lib.filter (lib.hasPrefix "kvm") config.boot.kernelModules;
          tags = config.{HOST}.runners.builds.tags;
          groups = config.systemd.services.gitlab-runner.serviceConfig.SupplementaryGroups or [ ];
        }}""",
    )

    assert sorted(found["features"]) == features
    assert found["modules"] == modules
    assert found["tags"] == ["nix", "x86_64-linux", *tags, "protected-true"]
    assert ("kvm" in found["groups"]) is bool(modules)


def test_space_is_kept_free_without_emptying_the_store(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f'builds = {{ {BUILDS} store = "shared"; }};',
        "hygiene = { reserve = 1000; emergency = 10; };",
        wanted="""{
          inherit (config.nix.settings) min-free max-free auto-optimise-store;
          gc = config.nix.gc.automatic;
          unit = { inherit (config.systemd.services.runner-host-reserve) environment serviceConfig; };
          timer = config.systemd.timers.runner-host-reserve.timerConfig.OnCalendar;
          prune = { inherit (config.virtualisation.docker.autoPrune) enable dates flags; };
          builds = config.systemd.services ? runner-host-builds;
        }""",
    )
    environment = found["unit"]["environment"]

    assert (found["min-free"], found["max-free"]) == (10 * 2**20, 1000 * 2**20)
    assert found["auto-optimise-store"] is True
    assert found["gc"] is False
    assert {name: environment[name] for name in ("RESERVE_MB", "EMERGENCY_MB", "GENERATIONS", "METRICS_URL")} == {
        "RESERVE_MB": "1000",
        "EMERGENCY_MB": "10",
        "GENERATIONS": "30d",
        "METRICS_URL": "http://127.0.0.1:9252/metrics",
    }
    assert environment["BUSY"].endswith("/bin/runner-host-busy")
    assert found["unit"]["serviceConfig"]["ExecStart"].endswith("/bin/runner-host-reserve")
    assert found["unit"]["serviceConfig"]["Type"] == "oneshot"
    # The collector forgets roots in folders that it does not see.
    hiding = {"DynamicUser", "PrivateTmp", "ProtectHome", "ProtectSystem", "TemporaryFileSystem", "InaccessiblePaths"}
    assert not hiding & found["unit"]["serviceConfig"].keys()
    assert found["timer"] == "*:0/10"
    assert found["prune"] == {"enable": True, "dates": "weekly", "flags": ["--all", "--filter", "until=24h"]}
    assert found["builds"] is False


def test_checkouts_are_deleted_as_the_user_who_made_them(nixos: Nixos) -> None:
    unit = sound(
        nixos,
        f"builds = {{ {SHELL} }};",
        wanted="{ inherit (config.systemd.services.runner-host-builds) environment serviceConfig; }",
    )

    assert unit["environment"]["BUILDS_FOLDER"] == "/var/lib/gitlab-runner/builds"
    assert unit["environment"]["BUILDS_DAYS"] == "7"
    assert unit["serviceConfig"]["DynamicUser"] is True
    assert unit["serviceConfig"]["User"] == unit["serviceConfig"]["StateDirectory"] == "gitlab-runner"


def test_podman_runs_the_containers_where_it_is_wanted(nixos: Nixos) -> None:
    found = sound(
        nixos,
        f"builds = {{ {BUILDS} }};",
        'engine = "podman";',
        wanted="""{
          docker = config.virtualisation.docker.enable;
          podman = config.virtualisation.podman.enable;
          socket = config.virtualisation.podman.dockerSocket.enable;
          prune = config.virtualisation.podman.autoPrune.enable;
          volumes = config.services.gitlab-runner.clear-docker-cache.enable;
          names = config.networking.firewall.interfaces."podman+".allowedUDPPorts;
        }""",
    )

    assert found == {
        "docker": False,
        "podman": True,
        "socket": True,
        "prune": True,
        "volumes": False,
        "names": [53],
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        pytest.param(IMAGE, "always", id="a tag may move"),
        pytest.param(DIGEST, "if-not-present", id="a digest does not"),
    ],
)
def test_an_image_is_fetched_as_often_as_it_may_change(nixos: Nixos, image: str, policy: str) -> None:
    found = sound(
        nixos,
        f"builds = {{ {docker(image=image)} }};",
        wanted=f"config.{HOST}.runners.builds.pullPolicy",
    )

    assert found == policy


MISTAKES = [
    pytest.param("", "", "", "there is no runner to register", id="no runner"),
    pytest.param(
        f"b = {{ {docker(authenticationTokenConfigFile='${builtins.storeDir}/abc-token')} }};",
        "",
        "",
        "authenticationTokenConfigFile is in the Nix store",
        id="the token is in the store",
    ),
    pytest.param(
        f"b = {{ {docker(authenticationTokenConfigFile=NIX / 'package.nix')} }};",
        "",
        "",
        "authenticationTokenConfigFile is in the Nix store or will be",
        id="the token is a path of Nix",
    ),
    pytest.param(
        f"b = {{ {docker(authenticationTokenConfigFile='/root/token')} }};",
        "",
        "",
        "which the service cannot see",
        id="the token is in a home folder",
    ),
    pytest.param(f"b = {{ {docker(image=None)} }};", "", "", "b.image is not set", id="no image for containers"),
    *[
        pytest.param(
            f"b = {{ {docker(image=image)} }};",
            "",
            "",
            "neither a tag nor a digest",
            id=f"image {image}",
        )
        for image in ("ci-image", "registry.example.org:5000/ci-image", "ci-image:latest")
    ],
    *[
        pytest.param(
            f"b = {{ {docker(refs=refs, privileged=True)} }};",
            "",
            "",
            "whoever may push is root",
            id=f"privileged for {refs} refs",
        )
        for refs in ("unprotected", "all")
    ],
    pytest.param(
        f'b = {{ {SHELL} store = "isolated"; }};',
        "",
        "",
        'store cannot be "isolated" with the shell executor',
        id="a shell with a store of its own",
    ),
    *[
        pytest.param(
            f'b = {{ {BUILDS} volumes = [ "{socket}:/var/run/docker.sock" ]; }};',
            "",
            "",
            "has the socket of the container engine",
            id=f"jobs have {socket}",
        )
        for socket in ("/var/run/docker.sock", "/run/podman/podman.sock")
    ],
    *[
        pytest.param(
            f'b = {{ {BUILDS} volumes = [ "{volume}" ]; }};',
            "",
            "",
            "could forge what the next one takes",
            id=f"a store that jobs are root in: {volume}",
        )
        for volume in ("nix-store:/nix", "/srv/store:/nix/store:rw")
    ],
    pytest.param(
        f"b = {{ {BUILDS} }};",
        "hygiene = { reserve = 5; emergency = 5; };",
        "",
        "has to be less than hygiene.reserve",
        id="the emergency is no less than the reserve",
    ),
    pytest.param(
        f"b = {{ {BUILDS} }};", "kvm.enable = true;", "", "no module of the kernel is loaded", id="kvm without a module"
    ),
    pytest.param(
        f"b = {{ {SHELL} }}; c = {{ {BUILDS} }};",
        "",
        "",
        "cannot be on a machine with Docker's socket",
        id="a shell next to containers",
    ),
    pytest.param(
        f"b = {{ {SHELL} }}; c = {{ {shell(refs='unprotected')} }};",
        "",
        "",
        "its jobs can read the tokens of all of them",
        id="a shell next to a runner of others",
    ),
    *[
        pytest.param(
            f"b = {{ {SHELL} }};",
            "",
            f"nix.settings.sandbox = {sandbox};",
            "nix.settings.sandbox is not on",
            id=f"sandbox {sandbox}",
        )
        for sandbox in ("false", '"relaxed"')
    ],
    *[
        pytest.param(
            f"b = {{ {SHELL} }};",
            "",
            f'nix.settings.trusted-users = [ "root" "{user}" ];',
            "trusted-users names whom jobs run as",
            id=f"the daemon trusts {user}",
        )
        for user in ("*", "gitlab-runner")
    ],
]


@pytest.mark.parametrize(("runners", "settings", "more", "message"), MISTAKES)
def test_a_mistake_is_refused_with_a_sentence(
    nixos: Nixos, runners: str, settings: str, more: str, message: str
) -> None:
    failed = host(nixos, runners, settings, more=more).failed

    assert len([one for one in failed if message in one]) == 1, failed
    assert all(one.startswith(HOST) for one in failed)


def test_a_module_of_the_hardware_configuration_is_enough_for_kvm(nixos: Nixos) -> None:
    found = host(nixos, f"b = {{ {BUILDS} }};", "kvm.enable = true;", more='boot.kernelModules = [ "kvm-intel" ];')

    assert found.failed == []


@pytest.mark.parametrize(
    ("runners", "message"),
    [
        pytest.param(
            f"b = {{ {shell(refs='unprotected')} }};",
            "whoever may open a merge request can read the runner's token",
            id="a shell for merge requests",
        ),
        pytest.param(
            f'b = {{ {BUILDS} store = "shared"; allowedImages = [ ]; }};',
            "jobs may ask for any image",
            id="any image with the machine's store",
        ),
    ],
)
def test_what_is_risky_is_said(nixos: Nixos, runners: str, message: str) -> None:
    found = host(nixos, runners)

    assert found.failed == []
    assert [one for one in found.warnings if message in one]


def test_a_sound_machine_has_nothing_to_say(nixos: Nixos) -> None:
    found = host(nixos, f"a = {{ {BUILDS} }}; b = {{ {docker(refs='unprotected')} }};")

    assert (found.failed, found.warnings) == ([], [])


def test_nothing_is_set_where_it_is_not_enabled(nixos: Nixos) -> None:
    found = nixos.evaluate(
        "runner-host",
        "{ nix.package = pkgs.nix; }",
        "{ runner = config.services.gitlab-runner.enable; docker = config.virtualisation.docker.enable;"
        " unit = config.systemd.services ? runner-host-reserve; }",
    )

    assert found.value == {"runner": False, "docker": False, "unit": False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(f'runners.b = {{ {BUILDS} tags = [ "mine" ]; }};', "tags", id="tags are computed"),
        pytest.param(f'runners.b = {{ {BUILDS} extraTags = [ "a,b" ]; }};', "extraTags", id="a tag with a comma"),
        pytest.param('gitlabUrl = "gitlab.example.org";', "gitlabUrl", id="a URL without a scheme"),
        pytest.param(
            'runners.b = { image = "a:1"; authenticationTokenConfigFile = "/run/token"; };',
            "refs",
            id="whose jobs is not said",
        ),
    ],
)
def test_what_makes_no_sense_does_not_evaluate(nixos: Nixos, settings: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        nixos.evaluate(
            "runner-host",
            f"{{ {HOST} = {{ enable = true; {settings} }}; }}",
            f"{{ inherit (config.{HOST}) gitlabUrl hint; runners = config.services.gitlab-runner.services;"
            f" tags = lib.mapAttrs (_: runner: runner.tags) config.{HOST}.runners; }}",
        )


def test_the_page_about_it_shows_what_its_machine_really_says(nixos: Nixos) -> None:
    page = (NIX.parent / "docs/how-to/set-up-a-runner.md").read_text()
    block = re.search(r"^ *services\.pipelinegen\.runner-host = \{\n.*?^ {12}\};", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    settings = f'{{ {block[0]} nix.package = pkgs.nix; boot.kernelModules = [ "kvm-amd" ]; }}'

    found = nixos.evaluate(
        "runner-host",
        settings,
        f"{{ inherit (config.{HOST}) hint; inherit (config.{HOST}.runners.main) tags; }}",
    )

    assert (found.failed, found.warnings) == ([], [])
    assert f"runners.main.tags\n{json.dumps(found.value['tags'], separators=(',', ':'))}\n" in page
    assert f"runner-host.hint\n{found.value['hint']}" in page
    assert f"tag_list={','.join(found.value['tags'])}'" in page
