"""A cache whose signing key is rotated as the documentation says is believed at every moment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.config_caches import CacheConfig


def make_key(folder: Path, name: str) -> tuple[Path, str]:
    """File with the secret key, and the public key."""
    secret, public = folder / f"{name}.sec", folder / f"{name}.pub"
    subprocess.run(["nix-store", "--generate-binary-cache-key", name, secret, public], check=True, timeout=60)
    return secret, public.read_text().strip()


@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_a_cache_that_is_signed_again_before_the_old_key_goes_is_never_disbelieved(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    url = f"file://{tmp_path / 'cache'}"
    (old, old_public), (new, new_public) = make_key(tmp_path, "prod-1"), make_key(tmp_path, "prod-2")
    # Built, since what is named by its content needs no signature.
    how = 'builder = "/bin/sh"; args = [ "-c" "echo > $out" ];'
    expression = f'derivation {{ name = "x"; system = builtins.currentSystem; {how} }}'
    path = subprocess.run(
        ["nix-build", "--no-out-link", "-E", expression], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout.strip()

    def believed(*keys: str) -> bool | None:
        cache = CacheConfig(url=url, writers="protected", public_key=" ".join(keys))
        return NixStoreCache("prod", cache).query([path])[0][path]

    NixStoreCache("prod", CacheConfig(url=url, writers="protected", secret_key_file=str(old))).push([path])
    assert believed(old_public)
    assert believed(old_public, new_public)
    assert not believed(new_public), "too early"
    command = ["nix", "--extra-experimental-features", "nix-command", "store", "sign", "--store", url]
    subprocess.run([*command, "--recursive", "--key-file", new, path], check=True, timeout=60)
    assert believed(old_public, new_public)
    assert believed(new_public)
