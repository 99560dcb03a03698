"""Hosts of deploy-rs's nodes are planned and deployed, and their jobs need not evaluate the flake."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.gitrepo import commit, make_repo
from tests.integration.conftest import ONE_NIX
from tests.integration.test_generate import pipelinegen

pytestmark = pytest.mark.nix

FLAKE = """
{
  outputs = { self }: let
    host = name: {
      config.system.build.toplevel = derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo > $out" ];
      };
    };
  in {
    nixosConfigurations = { web1 = host "web1"; web2 = host "web2"; laptop = host "laptop"; };
    deploy.nodes = {
      web1 = { hostname = "web1.example.org"; sshOpts = [ "-p" "2222" ]; profiles.system.user = "root"; };
      web2 = { hostname = "it's $HOME"; profiles.system.user = "root"; };
    };
  };
}
"""


def _repository(folder: Path, config: str) -> Path:
    folder.mkdir()
    repository = make_repo(folder)
    commit(repository, {"flake.nix": FLAKE, "pipelinegen.toml": config}, "hosts")
    return Path(repository)


@ONE_NIX
def test_jobs_are_told_what_only_the_flake_says(nix_bin: Path, tmp_path: Path) -> None:
    config = 'hosts_from = ["deploy-rs"]\n[hosts.web1]\ntier = "staging"\n[hosts.web2]\naddress = "web2.example.org"\n'
    repository = _repository(tmp_path / "repository", config)
    generated = pipelinegen("generate", cwd=repository)
    assert generated.returncode == 0, generated.stderr
    jobs = yaml.safe_load((repository / ".pipelinegen" / "pipeline.yml").read_text("utf-8"))
    lines = {name: shlex.split(job["script"][-1]) for name, job in jobs.items() if name.startswith("deploy ")}
    assert sorted(lines) == ["deploy web1", "deploy web2"], "a host without a node and without settings is not deployed"
    words = lines["deploy web1"]
    assert json.loads(words[words.index("--settings") + 1]) == {"address": "web1.example.org", "port": 2222}
    assert jobs["deploy web1"]["environment"]["deployment_tier"] == "staging"
    # The configuration says it all.
    assert "--settings" not in lines["deploy web2"]
    assert pipelinegen("check", cwd=repository).returncode == 0
    explained = pipelinegen("explain", "nixosConfigurations.web1", cwd=repository)
    assert "deploy web1" in explained.stdout, explained.stderr

    # A job takes them, and stops at its key, which is only the public half.
    files = {"DEPLOY_SSH_KEY": "ssh-ed25519 AAAA me", "DEPLOY_KNOWN_HOSTS": "web1.example.org ssh-ed25519 AAAA"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ran = pipelinegen(*words[1:], cwd=repository, **{name: str(tmp_path / name) for name in files})
    assert ran.returncode == 4, ran.stderr
    assert "only the public half" in ran.stderr


@ONE_NIX
def test_a_hostile_address_of_the_flake_reaches_no_job(nix_bin: Path, tmp_path: Path) -> None:
    repository = _repository(tmp_path / "repository", 'hosts_from = ["deploy-rs"]\n')
    generated = pipelinegen("generate", cwd=repository)
    assert generated.returncode == 2
    assert "hosts.web2.address (from deploy.nodes.web2)" in generated.stderr
    assert not (repository / ".pipelinegen").exists()
