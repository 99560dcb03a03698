"""What `pipelinegen doctor` makes of what it finds: each judgement for itself, and the checklist as a whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cache.provisioning.info import CacheInfo, Finding
from pipelinegen.ci_env import CiEnv
from pipelinegen.cli import run_command_line
from pipelinegen.config import Config, Evaluation
from pipelinegen.config_caches import WriterClass
from pipelinegen.config_file import parse
from pipelinegen.doctor import judge_machine, judge_memo, judge_nix, judge_secrets, network
from pipelinegen.doctor.model import Check, Status, exit_code, missing, ok, problem, skipped, warning
from pipelinegen.doctor.read_machine import Certificates, Checkout, read_certificates
from pipelinegen.doctor.read_memo import MemoFacts, RecordingFacts, read_memo, read_recording
from pipelinegen.doctor.read_nix import NixFacts, SandboxFacts
from pipelinegen.memo.last import FILE_NAME, Last, read_last, write_last

GIB = 1 << 30
GOOD = NixFacts("2.26.3", settings={"experimental-features": "nix-command flakes"}, listens=True, free_bytes=50 * GIB)


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([], 0),
        ([ok("a", "x"), skipped("b", "x"), warning("c", "x")], 0),
        ([ok("a", "x"), problem("b", "x")], 1),
        ([problem("a", "x"), missing("b", "x"), problem("c", "x")], 5),
    ],
    ids=["nothing", "warnings", "a problem", "a missing tool"],
)
def test_the_exit_code_is_that_of_the_worst(checks: list[Check], code: int) -> None:
    assert exit_code(checks) == code


def test_a_machine_as_it_should_be_has_nothing_to_do() -> None:
    assert {check.status for check in judge_nix.judge_nix(GOOD)} == {Status.OK}


@pytest.mark.parametrize(
    ("change", "name", "status", "words"),
    [
        ({"version": "2.7.1"}, "nix", Status.PROBLEM, "older than 2.8"),
        ({"version": "2.34.8pre20260101_abc"}, "nix", Status.OK, "2.34.8pre"),
        ({"flakes": "error: oops"}, "flakes", Status.PROBLEM, "error: oops"),
        ({"settings": {}}, "flakes", Status.OK, "commands of your own tests enable them"),
        ({"store": "permission denied"}, "store", Status.PROBLEM, "permission denied"),
        ({"listens": False}, "store", Status.WARNING, "does not trust this user"),
        ({"listens": None}, "store", Status.WARNING, "not known"),
        ({"free_bytes": GIB // 2}, "disk of the store", Status.PROBLEM, "0.5 GiB"),
        ({"free_bytes": 5 * GIB}, "disk of the store", Status.WARNING, "5.0 GiB"),
        ({"free_bytes": None}, "disk of the store", Status.SKIPPED, "not known"),
    ],
)
def test_each_fact_about_nix_is_judged(change: dict[str, Any], name: str, status: Status, words: str) -> None:
    check = by_name(judge_nix.judge_nix(NixFacts(**{**vars(GOOD), **change})))[name]
    assert check.status is status
    assert words in check.message


def test_without_nix_that_alone_is_told() -> None:
    (check,) = judge_nix.judge_nix(NixFacts(None, "nix is not installed"))
    assert check.missing_tool
    assert "CI image" in (check.hint or "")


BOTH = frozenset({"processes", "file", "environment"})
FILES = frozenset({"processes", "file"})
NO_SHELL = "executing '/bin/sh': No such file or directory"


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        (SandboxFacts("true", frozenset()), Status.OK, "on: a build sees neither"),
        (SandboxFacts("true", None, NO_SHELL), Status.OK, "on:"),
        (SandboxFacts("false", None, NO_SHELL, shell=False), Status.PROBLEM, "nothing can"),
        (SandboxFacts("false", BOTH), Status.WARNING, "a build saw the machine's processes and"),
        (SandboxFacts("true", BOTH), Status.PROBLEM, "off, though configured"),
        (SandboxFacts("relaxed", FILES), Status.PROBLEM, "off, though configured"),
        (SandboxFacts("relaxed", frozenset()), Status.WARNING, "__noChroot"),
        (SandboxFacts("relaxed", None, NO_SHELL), Status.WARNING, "__noChroot"),
        (SandboxFacts("true", frozenset({"file"})), Status.WARNING, "on, with a hole"),
        (SandboxFacts("false", frozenset({"processes"})), Status.WARNING, "off (configured: sandbox = false)"),
        (SandboxFacts("true", frozenset({"processes"})), Status.PROBLEM, "off, though configured"),
        (SandboxFacts("true", None, "cloning builder process: Operation not permitted"), Status.PROBLEM, "nothing can"),
        (SandboxFacts("", frozenset()), Status.OK, "not told"),
    ],
    ids=[
        "on",
        "on, without a shell",
        "no shell on the machine",
        "off",
        "fallback",
        "relaxed fallback",
        "relaxed",
        "relaxed, without a shell",
        "a path let in",
        "off elsewhere",
        "fallback elsewhere",
        "impossible",
        "setting not told",
    ],
)
def test_the_sandbox_is_judged_by_what_a_build_saw(facts: SandboxFacts, status: Status, words: str) -> None:
    check = judge_nix.judge_sandbox(facts)
    assert check.status is status
    assert words in check.message


def test_where_a_build_saw_the_job_it_is_told_that_it_can_read_tokens() -> None:
    assert "can read the tokens of its job" in (judge_nix.judge_sandbox(SandboxFacts("false", BOTH)).hint or "")
    only_files = judge_nix.judge_sandbox(SandboxFacts("false", FILES)).hint or ""
    assert "another user" in only_files
    assert "tokens" not in only_files


@pytest.mark.parametrize(
    ("settings", "wanted", "status"),
    [
        ({"system": "x86_64-linux"}, ["x86_64-linux"], Status.OK),
        ({"system": "x86_64-linux", "extra-platforms": "aarch64-linux"}, ["aarch64-linux"], Status.OK),
        ({"system": "aarch64-linux"}, ["x86_64-linux"], Status.WARNING),
        ({}, ["x86_64-linux"], Status.SKIPPED),
    ],
    ids=["own", "emulated", "another", "not told"],
)
def test_a_machine_should_build_for_a_configured_runner(
    settings: dict[str, str], wanted: list[str], status: Status
) -> None:
    assert judge_nix.judge_system(settings, wanted).status is status


NASTY = "/builds/x; $(touch here)"


@pytest.mark.parametrize(
    ("checkout", "status", "words"),
    [
        (Checkout(found=False), Status.SKIPPED, "everything counts as changed"),
        (Checkout(found=True, remote=True), Status.OK, "whole history"),
        (Checkout(found=True, top=NASTY, trouble="dubious ownership", owner=False), Status.PROBLEM, "another user"),
        (Checkout(found=True, trouble="bad config"), Status.PROBLEM, "bad config"),
        (Checkout(found=True, shallow=True, remote=True), Status.OK, "is fetched"),
        (Checkout(found=True, shallow=True), Status.WARNING, "nothing to fetch the rest from"),
    ],
    ids=["none", "whole", "somebody else's", "broken", "shallow", "shallow without a remote"],
)
def test_a_checkout_is_judged_by_whether_git_reads_it(checkout: Checkout, status: Status, words: str) -> None:
    check = by_name(judge_machine.judge_git(installed=True, checkout=checkout))["checkout"]
    assert check.status is status
    assert words in check.message
    assert (f"safe.directory '{NASTY}'" in (check.hint or "")) == (not checkout.owner)


def test_missing_programs_count_where_they_are_needed() -> None:
    none = {"ssh": False, "ssh-keygen": False}
    (git,) = judge_machine.judge_git(installed=False, checkout=Checkout(found=False))
    assert git.missing_tool
    assert judge_machine.judge_ssh(none, deploys=True).missing_tool
    assert judge_machine.judge_ssh(none, deploys=False).status is Status.SKIPPED
    assert judge_machine.judge_ssh({**none, "ssh": True}, deploys=True).status is Status.WARNING
    assert judge_machine.judge_eval_jobs(wanted=True, installed=False).missing_tool
    assert judge_machine.judge_eval_jobs(wanted=False, installed=False).status is Status.SKIPPED
    assert judge_machine.judge_zstd(installed=False).status is Status.SKIPPED


def test_certificates_are_where_a_variable_says_or_in_a_usual_place(tmp_path: Path) -> None:
    assert read_certificates({}, tmp_path) == Certificates(None)
    file = tmp_path / "etc/ssl/certs/ca-bundle.crt"
    file.parent.mkdir(parents=True)
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert read_certificates({}, tmp_path) == Certificates("/etc/ssl/certs/ca-bundle.crt", None, readable=True)
    wrong = read_certificates({"NIX_SSL_CERT_FILE": "/nowhere/certs"}, tmp_path)
    assert wrong == Certificates("/nowhere/certs", "NIX_SSL_CERT_FILE", readable=False)
    assert judge_machine.judge_certificates(wrong).status is Status.PROBLEM
    both = read_certificates({"NIX_SSL_CERT_FILE": str(file), "SSL_CERT_FILE": "/nowhere/certs"}, tmp_path)
    assert both == Certificates("/nowhere/certs", "SSL_CERT_FILE", readable=False)
    assert judge_machine.judge_certificates(Certificates(None)).status is Status.PROBLEM


@pytest.mark.parametrize(
    ("references", "installed", "signed_in", "in_ci", "status"),
    [
        ([], False, False, True, Status.SKIPPED),
        (["op://a/b/c"], False, True, True, Status.PROBLEM),
        (["op://a/b/c"], True, False, True, Status.WARNING),
        (["op://a/b/c"], True, False, False, Status.OK),
        (["op://a/b/c", "op://a/b/d"], True, True, True, Status.OK),
    ],
    ids=["no references", "no op", "nobody signed in", "a laptop", "as it should be"],
)
def test_op_counts_where_secrets_are_references(
    references: list[str], installed: bool, signed_in: bool, in_ci: bool, status: Status
) -> None:
    check = judge_machine.judge_op(references, installed=installed, signed_in=signed_in, in_ci=in_ci)
    assert check.status is status
    assert check.missing_tool == (status is Status.PROBLEM)


def test_references_are_found_in_settings_for_host_keys_and_in_variables_too() -> None:
    hosts = {"web1": {"address": "a", "known_hosts_file": "op://v/ssh/hosts"}, "db1": {"address": "b"}}
    held = {
        "DEPLOY_KNOWN_HOSTS": " op://v/ssh/others\n",
        "DEPLOY_SSH_KEY": "-----BEGIN",
        "PIPELINEGEN_TOKEN": "op://a/b/c",
    }
    found = judge_secrets.references(parse({"hosts": hosts}), CiEnv(), held)
    assert found == ["$DEPLOY_KNOWN_HOSTS", "$PIPELINEGEN_TOKEN", "op://v/ssh/hosts"]


@pytest.mark.parametrize(
    ("environment", "needed"),
    [(None, ["op://v/read/x"]), ("publish", ["op://v/push/x", "op://v/read/x"]), ("web1", None), ("db1", None)],
    ids=["a build", "publishing", "a host", "another host"],
)
def test_a_job_counts_the_references_that_it_needs_itself(environment: str | None, needed: list[str] | None) -> None:
    cache = {"url": "https://a.example/p", "backend": "attic", "writers": "protected", "publish": True}
    tokens = {"token_file": "op://v/read/x", "push_token_file": "op://v/push/x"}
    hosts = {
        host: {"address": "a", "ssh_key_file": f"op://v/{host}/key", "known_hosts_file": f"op://v/{host}/hosts"}
        for host in ("web1", "db1")
    }
    config = parse({"caches": {"p": cache | tokens}, "hosts": hosts})
    found = judge_secrets.references(config, CiEnv(gitlab=True, environment=environment), {})
    of_host = ["op://v/read/x", f"op://v/{environment}/hosts", f"op://v/{environment}/key"]
    assert found == (needed or sorted(of_host))


HERE = Path("cache/memo")


@pytest.mark.parametrize(
    ("found", "settings", "status", "words"),
    [
        (MemoFacts(HERE), {}, Status.OK, "cache/memo: nothing is remembered yet"),
        (MemoFacts(HERE, 1, 900), {}, Status.OK, "cache/memo: 1 snapshot, 1 KiB"),
        (
            MemoFacts(HERE, 12, 3 << 20, last=Last(known=20, evaluated=1)),
            {},
            Status.OK,
            "12 snapshots, 3.0 MiB; at the last inspection 20 of 21 derivations were known",
        ),
        (MemoFacts(HERE, 1, 5, last=Last(known=0, evaluated=0)), {}, Status.OK, "1 snapshot, 1 KiB"),
        (MemoFacts(HERE, trouble="/ cannot be written to"), {}, Status.WARNING, "every output is evaluated each time"),
        (MemoFacts(HERE, 12, 9), {"memo": False}, Status.SKIPPED, "evaluation.memo = false"),
        (MemoFacts(HERE, 12, 9), {"impure": True}, Status.SKIPPED, "evaluation.impure"),
    ],
    ids=["empty", "small", "in use", "without outputs", "not writable", "off", "impure"],
)
def test_the_memo_is_told_with_its_size_and_what_it_spared(
    found: MemoFacts, settings: dict[str, bool], status: Status, words: str
) -> None:
    check = judge_memo.judge_memo(found, Evaluation(**settings))
    assert check.status is status
    assert words in check.message


@pytest.mark.parametrize(
    ("found", "settings", "folders", "status", "words"),
    [
        (RecordingFacts(True, None, 8192), {}, 70, Status.OK, "of the flake's 70 folders can be seen (this user may"),
        (RecordingFacts(True, None, None), {}, None, Status.OK, "opened files can be seen"),
        (RecordingFacts(True, None, 70), {}, 70, Status.OK, "70 folders"),
        (RecordingFacts(True, None, 69), {}, 70, Status.WARNING, "70 folders, and this user may watch 69"),
        (RecordingFacts(True, "Too many open files", 9), {}, 1, Status.WARNING, "(Too many open files)"),
        (RecordingFacts(False), {}, 70, Status.SKIPPED, "only Linux"),
        (RecordingFacts(True, None, 1), {"memo": False}, 70, Status.SKIPPED, "switched off"),
        (RecordingFacts(True, None, 1), {"evaluator": "nix-eval-jobs"}, 70, Status.SKIPPED, "nix-eval-jobs does not"),
    ],
    ids=["good", "unknown", "just enough", "too few", "no queue", "elsewhere", "off", "another evaluator"],
)
def test_recording_is_possible_where_the_kernel_tells_of_all_folders(
    found: RecordingFacts, settings: dict[str, Any], folders: int | None, status: Status, words: str
) -> None:
    check = judge_memo.judge_recording(found, Evaluation(**settings), folders)
    assert check.status is status
    assert words in check.message
    assert ("sysctl fs.inotify.max_user_watches=140" in (check.hint or "")) == (found.watches == 69)


def test_how_much_was_known_last_is_kept_beside_the_snapshots(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "memo"
    assert read_memo(folder) == MemoFacts(folder)
    assert not folder.exists(), "looking changes nothing"
    last = Last(known=20, evaluated=1, not_recorded="the watch limit")
    assert write_last(folder, last) is None
    assert read_memo(folder) == MemoFacts(folder, last=last)
    for broken in ("", '{"format": 1', '{"format": 2, "known": 1, "evaluated": 1}', '{"format": 1, "known": -1}'):
        (folder / FILE_NAME).write_text(broken)
        assert read_last(folder) is None


def test_a_folder_that_is_a_file_is_no_place_for_a_memo(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    folder = tmp_path / "cache" / "memo"
    assert "not kept" in (write_last(folder, Last(known=1, evaluated=1)) or "")
    assert read_memo(folder).trouble == f"{tmp_path / 'cache'} cannot be written to"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has inotify")
def test_an_opened_file_is_seen_here() -> None:
    found = read_recording()
    assert (found.linux, found.trouble) == (True, None)
    assert found.watches


SECRETS = parse(
    {
        "caches": {
            "public": {
                "url": "https://a.example/public",
                "backend": "attic",
                "writers": "protected",
                "publish": True,
                "token_env": "READ",
                "push_token_env": "PUSH",
            }
        },
        "hosts": {"web1": {"address": "web1", "ssh_key_file": "$KEY"}, "db1": {"address": "d", "ssh_key_env": "DB"}},
    }
)
JOB = {"CI": "true", "GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_PROTECTED": "true"}


def secrets_in(job: dict[str, str], *there: str, config: Config = SECRETS) -> dict[str, Check]:
    names = {one.name: one.name in there for one in judge_secrets.named_secrets(config)}
    checks = judge_secrets.judge_secrets(config, CiEnv.from_environment(job), names)
    return {check.name.removeprefix("secret "): check for check in checks}


def test_in_a_job_that_builds_only_what_builds_need_should_be_there() -> None:
    checks = secrets_in(JOB, "$READ")
    assert {check.status for check in checks.values()} == {Status.OK}
    assert "as it should be" in checks["$PUSH"].message


def test_what_publishes_or_deploys_is_a_problem_in_a_job_without_an_environment() -> None:
    checks = secrets_in(JOB, "$READ", "$PUSH", "$DB")
    assert checks["$PUSH"].status is checks["$DB"].status is Status.PROBLEM
    assert "environment publish" in (checks["$PUSH"].hint or "")
    assert "environment db1" in (checks["$DB"].hint or "")
    assert "everybody who can push this ref" in checks["$DB"].message


def test_what_is_missing_where_it_belongs_is_told_with_its_environment() -> None:
    checks = secrets_in({**JOB, "CI_ENVIRONMENT_NAME": "web1"}, "$READ")
    assert checks["$KEY"].status is Status.WARNING
    assert "for the environment web1" in (checks["$KEY"].hint or "")
    assert checks["$DB"].status is Status.OK, "the key of another host"


def test_on_a_ref_that_is_not_protected_absence_is_expected() -> None:
    checks = secrets_in({**JOB, "CI_COMMIT_REF_PROTECTED": "false"})
    assert checks["$READ"].status is Status.SKIPPED


def test_on_a_laptop_secrets_are_there_or_not() -> None:
    assert {name: check.status for name, check in secrets_in({}, "$READ", "$PUSH").items()} == {
        "$DB": Status.SKIPPED,
        "$KEY": Status.SKIPPED,
        "$PUSH": Status.OK,
        "$READ": Status.OK,
    }


def test_a_service_account_is_judged_in_jobs_without_an_environment() -> None:
    held = {"OP_SERVICE_ACCOUNT_TOKEN": "ops_x", **JOB}
    job = CiEnv.from_environment(JOB)
    assert judge_secrets.judge_sign_in(SECRETS, job, held).status is Status.WARNING
    assert judge_secrets.judge_sign_in(SECRETS, job, JOB).status is Status.OK
    seen = parse({"hosts": {"web1": {"address": "web1", "ssh_key_file": "op://v/ssh/key"}}})
    assert judge_secrets.judge_sign_in(seen, job, held).status is Status.PROBLEM
    pushing = CiEnv.from_environment({**JOB, "CI_ENVIRONMENT_NAME": "publish"})
    assert judge_secrets.judge_sign_in(seen, pushing, held).status is Status.SKIPPED


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (None, Status.SKIPPED),
        ("https://a.example", Status.OK),
        ("https://a.example/", Status.OK),
        ("https://b.example", Status.WARNING),
    ],
)
def test_the_servers_address_in_a_variable_should_be_the_configured_one(url: str | None, status: Status) -> None:
    assert judge_secrets.judge_server_url(SECRETS, url).status is status


def test_a_cache_is_judged_by_its_worst_finding() -> None:
    def info(*findings: tuple[int, str]) -> CacheInfo:
        made = tuple(Finding(exit_code=code, message=message) for code, message in findings)
        writers = WriterClass.UPSTREAM
        return CacheInfo(
            name="main", url="u", push_url=None, writers=writers, backend="nix", publish=False, findings=made
        )

    infos = [info(), info((0, "ends soon")), info((0, "ends soon"), (4, "refused"), (1, "away"))]
    checks = list(network.judge_caches(infos))
    assert [check.status for check in checks] == [Status.OK, Status.WARNING, Status.PROBLEM]
    assert [check.message for check in checks] == ["u answers", "ends soon", "refused"]


def test_gitlab_that_does_not_answer_is_a_warning_since_jobs_go_on() -> None:
    assert network.judge_gitlab(None, None).status is Status.SKIPPED
    assert network.judge_gitlab("https://g.invalid/api/v4", None).status is Status.OK
    assert network.judge_gitlab("https://g.invalid/api/v4", "no such host").status is Status.WARNING


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of git, a PATH with nothing but git, and no variables of CI."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin" / "git").symlink_to(git)
    for name in [name for name in os.environ if name.startswith(("CI", "GITLAB", "OP_", "ATTIC"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "work"


@pytest.mark.processes
def test_without_nix_configuration_repository_or_network_it_still_answers(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["-C", str(bare), "doctor", "--json"]) == 5
    record = json.loads(capsys.readouterr().out)
    assert record["format_version"] == "1.0"
    assert record["exit_code"] == 5
    checks = {check["name"]: check for check in record["checks"]}
    assert checks["nix"]["missing_tool"]
    assert checks["configuration"]["status"] == "skipped"
    assert checks["checkout"]["status"] == "skipped"
    assert checks["git"]["status"] == "ok"
    assert "build sandbox" not in checks
    assert len(checks) == len(record["checks"]), "names are unique"


@pytest.mark.processes
def test_a_configuration_with_mistakes_is_one_problem_among_the_others(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bare / "pipelinegen.toml").write_text("unknown = 1\n")
    run_command_line(["-C", str(bare), "doctor", "--offline"])
    said = capsys.readouterr()
    assert "problem  configuration: the configuration has a mistake: unknown: there is no such key" in said.out
    assert "ok       git: it is installed" in said.out
    assert "problems" in said.err


@pytest.mark.processes
def test_no_secret_is_ever_shown_and_caches_that_are_away_are_problems(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "pipelinegen.toml").write_text(
        '[caches.ci]\nbackend = "attic"\nurl = "http://127.0.0.1:9/ci"\nwriters = "protected"\npublish = true\n'
        'token_env = "READ"\npush_token_env = "PUSH"\n[caches.up]\nurl = "http://127.0.0.1:9"\n'
        '[hosts.web1]\naddress = "web1"\nssh_key_env = "KEY"\n'
    )
    for name in ("READ", "PUSH", "KEY", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.setenv(name, f"geheim-{name}")
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CI_API_V4_URL", "http://127.0.0.1:9/api/v4")
    assert run_command_line(["-C", str(bare), "doctor"]) == 5
    said = capsys.readouterr()
    assert "geheim" not in said.out + said.err
    for line in ("problem  cache ci:", "problem  cache up:", "warning  gitlab:", "problem  secret $PUSH:"):
        assert line in said.out
