"""The CI image, as far as it evaluates without nixpkgs: what streamLayeredImage would be given."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.layering import Graph, layers
from tests.integration.nix.modules import REAL_NIXOS, UNIVERSES

pytestmark = pytest.mark.nix

ROOT = Path(__file__).parents[3]

WANTED = """
let
  inherit (image) arguments;
  named = package: package.pname or package.name;
in
{
  inherit (arguments) name config fakeRootCommands extraCommands includeNixDB;
  tag = arguments.tag;
  layering = builtins.intersectAttrs { layeringPipeline = null; maxLayers = null; } arguments;
  contents = map toString arguments.contents;
  tools = map named (builtins.head arguments.contents).arguments.paths;
  program = toString (builtins.elemAt arguments.contents 2);
  programs = builtins.mapAttrs (_: one: removeAttrs one.application [ "runtimeInputs" "text" ] // {
    runtimeInputs = map named (one.application.runtimeInputs or [ ]);
  }) { inherit (image) publish size smokeTest; };
}
"""

Evaluate = Callable[..., Any]


@pytest.fixture(params=UNIVERSES)
def library(request: pytest.FixtureRequest) -> str:
    """A Nix expression of `lib`: the stand-in's, or nixpkgs' own."""
    if request.param == "stand-in":
        return f"import {ROOT}/nix/tests/stand-in/lib.nix"
    return f"import {os.environ[REAL_NIXOS]}/lib"


@pytest.fixture
def evaluate(nix_bin: Path, library: str) -> Evaluate:
    def evaluated(settings: str = "{ }", *, layering: bool = True, wanted: str = WANTED) -> Any:
        """`wanted`, with the image of these settings."""
        expression = f"""
          let
            lib = {library};
            stand-in = import {ROOT}/nix/tests/stand-in/pkgs.nix {{ inherit lib; }};
            packages = import {ROOT}/nix/tests/stand-in/images.nix {{
              inherit lib;
              pkgs = stand-in;
              layering = {"true" if layering else "false"};
            }};
            image = (packages.callPackage {ROOT}/nix/ci-image {{
              inherit (packages) pipelinegen;
            }}).override {settings};
          in {wanted}
        """
        command = [str(nix_bin / "nix-instantiate"), "--eval", "--strict", "--json", "--expr", expression]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        evaluated.said = done.stderr  # type: ignore[attr-defined]
        return json.loads(done.stdout)

    return evaluated


@pytest.fixture
def files(nix_bin: Path, library: str) -> dict[str, str]:
    """The image's files without settings."""
    return read_files(nix_bin, library)


def read_files(nix_bin: Path, library: str, caches: str = "{ }", settings: str = "{ }") -> dict[str, str]:
    expression = f"""
      let shared = import {ROOT}/nix/lib;
      in import {ROOT}/nix/ci-image/files.nix {{
        lib = {library};
        nixConf = shared.nixConf (import {ROOT}/nix/ci-image/settings.nix {{
          inherit shared;
          caches = {caches};
          settings = {settings};
        }});
      }}
    """
    command = [str(nix_bin / "nix-instantiate"), "--eval", "--strict", "--json", "--expr", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def nix_conf(text: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in text.splitlines())


def test_the_image_holds_what_jobs_start(evaluate: Evaluate) -> None:
    found = evaluate()
    assert set(found["tools"]) >= {
        *("attic-client", "bash", "coreutils", "gitMinimal", "nix", "nix-eval-jobs"),
        *("nixos-rebuild-command", "openssh", "zstd", "gnutar", "gzip", "xz", "jq", "curl"),
    }
    assert evaluate("{ extraPackages = [ packages.rclone ]; }")["tools"] == [*found["tools"], "rclone"]
    assert len(found["contents"]) == 3
    assert found["includeNixDB"] is True


def test_it_works_without_an_entry_point_and_names_no_store_path(evaluate: Evaluate) -> None:
    config = evaluate()["config"]
    assert "Entrypoint" not in config
    assert config["Cmd"] == ["/bin/bash"]
    environment = dict(one.split("=", 1) for one in config["Env"])
    assert "/nix/store" not in json.dumps(config), "Nix's database would not know such a path"
    assert environment["HOME"] == "/root"
    assert environment["USER"] == "root"
    assert "/bin" in environment["PATH"].split(":")
    bundle = "/etc/ssl/certs/ca-bundle.crt"
    assert {environment[f"{name}SSL_CERT_FILE"] for name in ("", "NIX_")} == {bundle}
    assert environment["GIT_SSL_CAINFO"] == bundle


def run_commands(found: Any, root: Path) -> list[str]:
    """Run the image's commands as streamLayeredImage does, in a folder where the links to the packages are.

    Returns: the files that were written, each with its own name as text.
    """
    for name in ("etc/ssl/certs", "nix-support"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "sh").symlink_to("/elsewhere")
    (root / "bin" / "env").write_text("")
    (root / "etc/ssl/certs/ca-bundle.crt").write_text("certificates")
    files = [line.split()[-2:] for line in found["extraCommands"].splitlines() if line.startswith("install ")]
    commands = found["extraCommands"]
    for source, target in files:
        given = root.parent / target.replace("/", "-")
        given.write_text(target)
        commands = commands.replace(source, str(given))
    subprocess.run(["bash", "-euc", f"umask 022\n{commands}\n{found['fakeRootCommands']}"], cwd=root, check=True)
    return [target for _, target in files]


def test_its_commands_make_a_root_that_jobs_can_use(evaluate: Evaluate, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "bash").write_text("")
    targets = run_commands(evaluate(), root)
    assert set(targets) == {
        *("etc/gitconfig", "etc/group", "etc/nix/nix.conf", "etc/nsswitch.conf", "etc/passwd"),
        "etc/ssh/ssh_known_hosts",
    }
    for target in targets:
        path = root / target
        assert not path.is_symlink(), "a job that appends to it must not write into the store"
        assert path.read_text() == target
        assert path.stat().st_mode & 0o777 == 0o644
    for name in ("tmp", "var/tmp"):
        assert (root / name).stat().st_mode & 0o7777 == 0o1777
    assert (root / "root").stat().st_mode & 0o777 == 0o700
    assert (root / "usr/bin/env").readlink() == Path("/bin/env")
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text() == "certificates"
    assert not (root / "nix-support").exists()


DETECT_SHELL = """
for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash /usr/local/bin/sh /usr/bin/sh /bin/sh /busybox/sh; do
  if [ -x "$shell" ]; then exec "$shell"; fi
done
echo shell not found
exit 1
"""
"""What GitLab's runner starts in a container, with the job's script on stdin: in its order, by its paths."""


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot wants root")
@pytest.mark.parametrize("start", [["sh", "-c", DETECT_SHELL], ["bash", "-c", DETECT_SHELL], ["/bin/bash"]])
@ONE_NIX
def test_the_runner_finds_a_shell_and_gives_it_the_script(evaluate: Evaluate, tmp_path: Path, start: list[str]) -> None:
    root = tmp_path / "root"
    needed = subprocess.run(["ldd", "/bin/bash"], capture_output=True, text=True, check=True).stdout
    for file in ["/bin/bash", *re.findall(r"(/\S+) \(0x", needed)]:
        (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file[1:])
    found = evaluate()
    run_commands(found, root)
    environment = dict(one.split("=", 1) for one in found["config"]["Env"])
    script = 'echo "$BASH_VERSION in $HOME"; [ -d "$HOME" ] && [ -w /tmp ] && exit 7'
    command = [str(shutil.which("chroot")), str(root), *found["config"].get("Entrypoint", []), *start]
    done = subprocess.run(command, env=environment, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith(" in /root\n")
    assert len(done.stdout) > len(" in /root\n"), "it is bash"


def test_nix_builds_as_others_and_in_a_sandbox_where_it_can(files: dict[str, str]) -> None:
    settings = nix_conf(files["etc/nix/nix.conf"])
    assert settings["sandbox"] == "true"
    assert settings["sandbox-fallback"] == "true"
    assert settings["build-users-group"] == "nixbld"
    assert settings["experimental-features"] == "nix-command flakes"
    assert settings["substituters"] == "https://cache.nixos.org?priority=40"
    assert settings["trusted-public-keys"].startswith("cache.nixos.org-1:")
    group = next(line for line in files["etc/group"].splitlines() if line.startswith("nixbld:"))
    members = group.split(":")[3].split(",")
    users = {line.split(":")[0]: line.split(":") for line in files["etc/passwd"].splitlines()}
    assert len(members) == 32
    for member in members:
        assert users[member][3] == group.split(":")[2]
    assert len({fields[2] for fields in users.values()}) == len(users), "no two users are one"
    assert users["root"][5:] == ["/root", "/bin/bash"]


def test_caches_are_asked_in_the_order_of_their_priorities(nix_bin: Path, library: str) -> None:
    caches = """{
      private = { url = "https://cache.example.org/private"; publicKeys = [ "private:key" ]; };
      public = { url = "https://cache.example.org/public"; priority = 50; publicKeys = [ "public:key" ]; };
    }"""
    text = read_files(nix_bin, library, caches, '{ max-jobs = 3; fallback = false; extra-platforms = [ "a" "b" ]; }')
    settings = nix_conf(text["etc/nix/nix.conf"])
    assert settings["substituters"].split() == [
        "https://cache.nixos.org?priority=40",
        "https://cache.example.org/public?priority=50",
        "https://cache.example.org/private",
    ]
    assert settings["trusted-public-keys"].split()[1:] == ["public:key", "private:key"]
    assert (settings["max-jobs"], settings["fallback"], settings["extra-platforms"]) == ("3", "false", "a b")


def test_nix_itself_reads_the_settings(nix_bin: Path, files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "nix.conf").write_text(files["etc/nix/nix.conf"])
    environment = {name: value for name, value in os.environ.items() if name != "NIX_CONFIG"}
    environment |= {"NIX_CONF_DIR": str(tmp_path), "HOME": str(tmp_path)}
    command = [str(nix_bin / "nix"), "--extra-experimental-features", "nix-command", "show-config", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "unknown setting" not in done.stderr
    shown = json.loads(done.stdout)
    assert shown["build-users-group"]["value"] == "nixbld"
    assert shown["narinfo-cache-negative-ttl"]["value"] == 0


def test_git_trusts_a_repository_of_another_user(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text(files["etc/gitconfig"])
    command = ["git", "config", "--file", str(tmp_path / "gitconfig"), "--get-all", "safe.directory"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "*\n"


GRAPH = {
    "glibc": "",
    "bash": "glibc",
    "openssl": "glibc",
    "python": "openssl bash",
    "nix": "openssl bash",
    "git": "openssl",
    "attic": "openssl nix",
    "tools": "attic nix git bash rebuild",
    "rebuild": "python nix",
    "pydantic": "python",
    "click": "python",
    "httpx": "click python",
}


def graph(pipelinegen: str, program: str) -> Graph:
    given = {path: frozenset(others.split()) for path, others in GRAPH.items()}
    return {
        **given,
        pipelinegen: frozenset(["httpx", "pydantic", "python", "git", "nix", pipelinegen]),
        program: frozenset([pipelinegen]),
    }


def test_a_new_pipelinegen_changes_one_layer(evaluate: Evaluate) -> None:
    settings = '{ maxLayers = 12; pipelinegen = builtins.toFile "NAME" ""; }'
    old, new = (evaluate(settings.replace("NAME", name)) for name in ("old", "new"))
    made = []
    for found in (old, new):
        steps = found["layering"]["layeringPipeline"]
        program, pipelinegen = steps[0][1]
        assert (program, pipelinegen.rpartition("-")[2]) == (found["program"], "old" if found is old else "new")
        made.append((layers(steps, graph(pipelinegen, program)), {pipelinegen, program}))
    (before, own_before), (after, own_after) = made
    assert own_before.isdisjoint(own_after)
    assert before[:-1] == after[:-1], "layers below are the same, and in the same order"
    assert before[-1] == own_before
    assert after[-1] == own_after
    assert before[-2] == {"pydantic", "click", "httpx"}, "what only pipelinegen needs"
    assert sorted(path for layer in before for path in layer) == sorted(graph(*sorted(own_before))), "each path once"
    assert len(before) <= 12 - 1, "the one on top is still to come"


@pytest.mark.parametrize("limit", [8, 9, 50, 100, 125])
def test_there_are_never_more_layers_than_allowed(evaluate: Evaluate, limit: int) -> None:
    steps = evaluate(f"{{ maxLayers = {limit}; }}")["layering"]["layeringPipeline"]
    program, pipelinegen = steps[0][1]
    many: Graph = {f"library-{number}": frozenset() for number in range(150)}
    used: Graph = {
        "tools": frozenset(many),
        pipelinegen: frozenset(f"library-{number}" for number in range(75)),
        program: frozenset([pipelinegen]),
    }
    made = layers(steps, many | used)
    # One of the three that are not counted is for libraries that only pipelinegen needs: there are none here.
    assert len(made) == limit - 2


def test_where_layers_cannot_be_ordered_the_image_is_made_all_the_same(evaluate: Evaluate) -> None:
    assert evaluate(layering=False)["layering"] == {"maxLayers": 100}
    assert "every new pipelinegen changes a large layer" in evaluate.said  # type: ignore[attr-defined]


def test_its_programs_come_with_what_they_start(evaluate: Evaluate) -> None:
    programs = evaluate()["programs"]
    assert set(programs["publish"]["runtimeInputs"]) == {"coreutils", "jq", "skopeo"}
    environment = programs["publish"]["runtimeEnv"]
    assert environment["PIPELINEGEN_IMAGE_STREAM"].endswith("-stream-pipelinegen-ci")
    assert environment["PIPELINEGEN_IMAGE_SIZE"].endswith("-ci-image-size/bin/ci-image-size")
    assert set(programs["size"]["runtimeEnv"]) == {"PIPELINEGEN_IMAGE_BUDGET_FILE", "PIPELINEGEN_IMAGE_REGISTRATION"}
    assert programs["smokeTest"]["runtimeInputs"] == [], "it shows that the image's own programs are enough"
