"""What a reference to 1Password looks like, and where a configuration takes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen import config_file
from pipelinegen.errors import ConfigError
from pipelinegen.secret_references import MAX_CHARACTERS, complaint, is_reference

GOOD = [
    "op://pantherOS/Attic/ci-token",
    "op://dev/Stripe/Admin/publishable key",
    "op://v/SSH/private key?ssh-format=openssh",
    "op://v/i/one-time password?attribute=otp",
    "op://hfnjvi6aymbsnfc2xeeoheizda/a.b_c/d",
    "op://Tresor/Schlüssel/geheim",
]
BAD = {
    "another scheme": "https://vault/item/field",
    "nothing at all": "op://",
    "no field": "op://vault/item",
    "five parts": "op://a/b/c/d/e",
    "an empty part": "op://vault//field",
    "a blank part": "op://vault/ /field",
    "a line break": "op://vault/item/field\nop://vault/item/other",
    "an escape": "op://vault/item/\x1b[2Jfield",
    "a direction mark": "op://vault/item/\u202efield",
    "an unknown query": "op://vault/item/field?out-file=/etc/passwd",
    "an empty query": "op://vault/item/field?",
    "too long": f"op://vault/item/{'x' * MAX_CHARACTERS}",
}


@pytest.mark.parametrize("reference", GOOD)
def test_a_reference_names_vault_item_perhaps_section_and_field(reference: str) -> None:
    assert is_reference(reference)
    assert complaint(reference) is None


@pytest.mark.parametrize("reference", BAD.values(), ids=BAD)
def test_what_can_be_no_reference_is_told_without_repeating_it(reference: str) -> None:
    said = complaint(reference)
    assert said is not None
    assert "field" not in said
    assert said.isprintable()


def test_every_setting_for_a_file_takes_a_reference_and_none_is_taken_for_a_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "pipelinegen.toml").write_text(
        '[caches.main]\nurl = "https://cache.invalid/main"\nbackend = "attic"\ntoken_file = "op://v/attic/read"\n'
        'push_token_file = "op://v/attic/push"\n'
        '[caches.other]\nurl = "https://other.invalid"\nnetrc_file = "op://v/other/netrc"\n'
        'secret_key_file = "op://v/other/key"\n'
        '[hosts.web]\naddress = "web"\nssh_key_file = "op://v/ssh/key"\nknown_hosts_file = "op://v/ssh/hosts"\n'
    )
    config = config_file.load(tmp_path).config
    main, other, web = config.caches["main"], config.caches["other"], config.hosts["web"]
    found = [main.token_file, main.push_token_file, other.netrc_file, other.secret_key_file]
    found += [web.ssh_key_file, web.known_hosts_file]
    assert [name and name.split("/")[-1] for name in found] == ["read", "push", "netrc", "key", "key", "hosts"]
    assert all(is_reference(name) for name in found)


def test_a_wrong_reference_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError) as raised:
        config_file.parse({"hosts": {"web": {"address": "web", "ssh_key_file": "op://vault/item"}}})
    (problem,) = raised.value.problems
    assert problem.startswith("hosts.web.ssh_key_file: no reference to a secret: it is not of the form op://VAULT/")


def test_an_address_from_a_variable_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError) as raised:
        config_file.parse({"caches": {"ci": {"url": "$ATTIC_SERVER_URL/ci-cache", "backend": "attic"}}})
    assert "names no variable: write the server's own" in raised.value.problems[0]
