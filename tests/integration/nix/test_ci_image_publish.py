"""publish.sh and size.sh, run for real: skopeo, a registry, and an image that is small."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.nix import registry as registries
from tests.integration.nix.registry import PASSWORD, USER, Door

FOLDER = Path(__file__).parents[3] / "nix" / "ci-image"
REPOSITORY = "group/project/pipelinegen-ci"
SHA = "1111111111111111111111111111111111111111"

MISSING = [name for name in ("skopeo", "docker-registry", "jq", "awk") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    folder = tmp_path / "registry"
    folder.mkdir()
    with registries.registry(folder) as door:
        yield door


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Door]:
    folder = tmp_path / "locked"
    folder.mkdir()
    with registries.registry(folder, login=True) as door:
        yield door


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def image(file: Path, *layers: str) -> Path:
    """A program that writes an image with these layers, as streamLayeredImage's do."""
    blobs = [tar({"nix/store/" + name: (name * 1000).encode()}) for name in layers]
    digests = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    paths = [f"/nix/store/{'0' * 32}-{name}" for name in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "1970-01-01T00:00:01Z", "comment": f"store paths: ['{path}']"} for path in paths],
    }
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": [f"{digest}/layer.tar" for digest in digests]}]
    files = {f"{digest}/layer.tar": blob for digest, blob in zip(digests, blobs, strict=True)}
    files |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    archive = file.with_suffix(".tar")
    archive.write_bytes(tar(files))
    file.write_text(f"#!/bin/sh\nexec cat {archive}\n")
    file.chmod(0o755)
    return file


def registration(file: Path) -> Path:
    """Two store paths, in the form of `nix-store --dump-db`."""
    records = [("small", 10, []), ("large", 5000, ["/nix/store/small", "/nix/store/large"])]
    lines = [
        line
        for name, size, references in records
        for line in (f"/nix/store/{name}", "ab" * 32, str(size), "", str(len(references)), *references)
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


def publish(folder: Path, program: Path, door: Door, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PIPELINEGEN_IMAGE_STREAM": str(program),
        "PIPELINEGEN_IMAGE_SIZE": str(FOLDER / "size.sh"),
        "PIPELINEGEN_IMAGE_BUDGET_FILE": str(FOLDER / "budget"),
        "PIPELINEGEN_IMAGE_TLS_VERIFY": "false",
        "PIPELINEGEN_IMAGE_WAIT": "0",
        "PIPELINEGEN_IMAGE_REPORT": str(folder / "report"),
        "CI_REGISTRY": door.address,
        "CI_REGISTRY_IMAGE": f"{door.address}/group/project",
        "CI_COMMIT_SHA": SHA,
        "CI_COMMIT_REF_SLUG": "feature",
        "CI_COMMIT_BRANCH": "feature",
        "CI_DEFAULT_BRANCH": "main",
        **settings,
    }
    return subprocess.run(
        [str(FOLDER / "publish.sh")], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def tags(door: Door) -> dict[str, str]:
    names = (SHA, "feature", "main", "latest", f"{SHA}-aarch64")
    return {name: found[0] for name in names if (found := door.manifest(REPOSITORY, name))}


def test_an_image_is_published_under_its_commit_and_its_branch(tmp_path: Path, door: Door) -> None:
    done = publish(tmp_path, image(tmp_path / "image", "base", "tools"), door)
    assert done.returncode == 0, done.stderr
    found = tags(door)
    assert set(found) == {SHA, "feature"}
    digest = found[SHA]
    assert found["feature"] == digest
    report = (tmp_path / "report" / "image.env").read_text()
    assert report == f"PIPELINEGEN_IMAGE={door.address}/{REPOSITORY}@{digest}\nPIPELINEGEN_IMAGE_DIGEST={digest}\n"
    assert done.stdout.endswith(report)


def test_only_the_default_branch_moves_latest(tmp_path: Path, door: Door) -> None:
    program = image(tmp_path / "image", "base")
    on_main = {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_SLUG": "main"}
    assert publish(tmp_path, program, door, **on_main).returncode == 0
    assert set(tags(door)) == {SHA, "main", "latest"}
    latest = tags(door)["latest"]
    assert publish(tmp_path, image(tmp_path / "other", "other"), door).returncode == 0
    assert tags(door)["latest"] == latest
    assert tags(door)["feature"] != latest


@pytest.mark.parametrize("branch", ["latest", "latest-aarch64"])
def test_a_branch_named_latest_moves_nothing_of_the_default_branch(tmp_path: Path, door: Door, branch: str) -> None:
    named = {"CI_COMMIT_BRANCH": branch, "CI_COMMIT_REF_SLUG": branch}
    assert publish(tmp_path, image(tmp_path / "image", "base"), door, **named).returncode == 0
    assert door.manifest(REPOSITORY, branch) is None
    assert set(tags(door)) == {SHA}


def test_the_same_image_again_writes_nothing(tmp_path: Path, door: Door) -> None:
    program = image(tmp_path / "image", "base", "tools")
    first = publish(tmp_path, program, door)
    assert set(tags(door)) == {SHA, "feature"}
    door.asked.clear()
    again = publish(tmp_path, program, door)
    assert again.returncode == 0
    assert again.stdout == first.stdout, "it is reported all the same"
    assert door.writes() == []


def test_a_new_top_layer_is_all_that_is_sent(tmp_path: Path, door: Door) -> None:
    assert publish(tmp_path, image(tmp_path / "image", "base", "tools", "old"), door).returncode == 0
    door.asked.clear()
    assert publish(tmp_path, image(tmp_path / "image", "base", "tools", "new"), door).returncode == 0
    blobs = [line for line in door.writes() if "/blobs/" in line]
    assert len(blobs) == 2, "the layer, and the image's configuration"


def test_a_second_system_has_tags_of_its_own(tmp_path: Path, door: Door) -> None:
    done = publish(tmp_path, image(tmp_path / "image", "base"), door, PIPELINEGEN_IMAGE_TAG_SUFFIX="-aarch64")
    assert done.returncode == 0
    assert set(tags(door)) == {f"{SHA}-aarch64"}


def test_a_registry_that_fails_at_first_is_asked_again(tmp_path: Path, door: Door) -> None:
    door.faults = 3
    done = publish(tmp_path, image(tmp_path / "image", "base"), door)
    assert done.returncode == 0, done.stderr
    assert "trying again" in done.stderr
    assert set(tags(door)) == {SHA, "feature"}


def test_a_registry_that_goes_on_failing_is_worth_another_job(tmp_path: Path, door: Door) -> None:
    door.faults = 10_000
    done = publish(tmp_path, image(tmp_path / "image", "base"), door, PIPELINEGEN_IMAGE_TRIES="2")
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1] == f"error: {door.address} does not do it after 2 tries"


def test_a_login_is_given_in_no_argument_and_leaves_nothing_behind(tmp_path: Path, locked: Door) -> None:
    # Stands before the real one, and keeps what every process of the machine could see.
    seen = tmp_path / "arguments"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("skopeo", "jq", "base64"):
        modes = "stat -c 'mode %a' \"$TMPDIR\"/*/auth.json 2>/dev/null" if name == "skopeo" else ":"
        said = f'{{ echo "$0" "$@"; {modes}; }} >> {seen}'
        (folder / name).write_text(f'#!/bin/sh\n{said}\nexec {shutil.which(name)} "$@"\n')
        (folder / name).chmod(0o755)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = publish(
        tmp_path,
        image(tmp_path / "image", "base"),
        locked,
        PATH=f"{folder}:{os.environ['PATH']}",
        TMPDIR=str(temporary),
        CI_REGISTRY_USER=USER,
        CI_REGISTRY_PASSWORD=PASSWORD,
    )
    assert done.returncode == 0, done.stderr
    assert any(line.endswith(" 201") for line in locked.asked)
    assert {line for line in seen.read_text().splitlines() if line.startswith("mode ")} == {"mode 600"}
    for text in (seen.read_text(), done.stdout, done.stderr):
        assert PASSWORD not in text
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "login",
    [{}, {"CI_REGISTRY_USER": USER, "CI_REGISTRY_PASSWORD": "another word"}],
    ids=["without a login", "with a wrong password"],
)
def test_a_refused_login_is_not_tried_again(tmp_path: Path, locked: Door, login: dict[str, str]) -> None:
    done = publish(tmp_path, image(tmp_path / "image", "base"), locked, **login)
    assert done.returncode == 4
    assert "refuses the login" in done.stderr
    assert "trying again" not in done.stderr


def test_an_image_above_the_budget_is_not_published(tmp_path: Path, door: Door) -> None:
    budget = tmp_path / "budget"
    budget.write_text("100\n")
    listed = registration(tmp_path / "registration")
    done = publish(
        tmp_path,
        image(tmp_path / "image", "base", "tools"),
        door,
        PIPELINEGEN_IMAGE_BUDGET_FILE=str(budget),
        PIPELINEGEN_IMAGE_REGISTRATION=str(listed),
    )
    assert done.returncode == 1
    assert "above its budget" in done.stderr
    assert "store paths: ['tools']" in done.stderr
    assert "5000\t/nix/store/large" in done.stderr
    assert tags(door) == {}


def test_layers_and_store_paths_are_listed_by_size(tmp_path: Path, door: Door) -> None:
    listed = registration(tmp_path / "registration")
    program = image(tmp_path / "image", "a", "a-much-longer-name")
    done = publish(tmp_path, program, door, PIPELINEGEN_IMAGE_REGISTRATION=str(listed))
    assert done.returncode == 0
    layers = [line.split("\t") for line in (tmp_path / "report" / "layers.txt").read_text().splitlines()]
    assert [line[2] for line in layers] == ["store paths: ['a-much-longer-name']", "store paths: ['a']"]
    assert int(layers[0][0]) > int(layers[1][0])
    found = door.manifest(REPOSITORY, SHA)
    assert found is not None
    assert {line[1] for line in layers} == {layer["digest"] for layer in found[1]["layers"]}  # type: ignore[attr-defined]
    assert (tmp_path / "report" / "closure.txt").read_text() == "5000\t/nix/store/large\n10\t/nix/store/small\n"


@pytest.mark.parametrize(
    ("away", "said"),
    [("CI_REGISTRY_IMAGE", "PIPELINEGEN_IMAGE_REPOSITORY"), ("CI_COMMIT_SHA", "CI_COMMIT_SHA")],
)
def test_a_setting_that_is_missing_is_named(tmp_path: Path, door: Door, away: str, said: str) -> None:
    done = publish(tmp_path, image(tmp_path / "image", "base"), door, **{away: ""})
    assert done.returncode == 2
    assert said in done.stderr


def test_a_project_without_a_registry_is_told_before_anything_is_built(tmp_path: Path, door: Door) -> None:
    # What GitLab makes of `$CI_REGISTRY_IMAGE/pipelinegen-ci` there.
    nowhere = {"CI_REGISTRY": "", "CI_REGISTRY_IMAGE": "", "PIPELINEGEN_IMAGE_REPOSITORY": "/pipelinegen-ci"}
    done = publish(tmp_path, tmp_path / "no-image", door, **nowhere)
    assert done.returncode == 2
    assert "CI_REGISTRY_IMAGE" in done.stderr


def test_the_budget_is_two_gigabytes() -> None:
    assert int((FOLDER / "budget").read_text()) == 2_000_000_000
