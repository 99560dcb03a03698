"""What facts about the machine mean. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from pipelinegen.doctor.model import Check, missing, ok, problem, skipped, warning
from pipelinegen.doctor.read_machine import Certificates, Checkout


def judge_git(*, installed: bool, checkout: Checkout) -> Iterable[Check]:
    """Git, and whether it reads the checkout whole."""
    if not installed:
        yield missing("git", "it is not installed", "install git, or use the CI image, which has it")
        return
    yield ok("git", "it is installed")
    name = "checkout"
    if not checkout.found:
        yield skipped(name, "this folder is in no git repository: everything counts as changed")
    elif not checkout.owner:
        hint = f"if you trust its owner: git config --global --add safe.directory {shlex.quote(checkout.top)}"
        yield problem(name, f"it belongs to another user, so git does not read it: {checkout.trouble}", hint)
    elif checkout.trouble is not None:
        yield problem(name, f"git does not read it: {checkout.trouble}")
    elif checkout.shallow and not checkout.remote:
        hint = "set GIT_DEPTH: 0 for the job `inspect`, or clone whole"
        yield warning(name, "its history is cut and there is nothing to fetch the rest from", hint)
    elif checkout.shallow:
        yield ok(name, "its history is cut; what is needed of it is fetched")
    else:
        yield ok(name, "git reads it, with its whole history")


def judge_ssh(programs: Mapping[str, bool], *, deploys: bool) -> Check:
    """OpenSSH, which deployments need."""
    name = "openssh"
    lacking = [program for program in ("ssh", "ssh-keygen") if not programs[program]]
    if not lacking:
        return ok(name, "ssh and ssh-keygen are installed")
    said = f"{' and '.join(lacking)} cannot be found"
    if "ssh" in lacking and deploys:
        return missing(name, said, "install OpenSSH's client: hosts are deployed over it")
    if deploys:
        return warning(name, said, "without ssh-keygen, a key with a passphrase is only noticed when a host refuses it")
    return skipped(name, f"{said}; no host is configured")


def judge_eval_jobs(*, wanted: bool, installed: bool) -> Check:
    """The other evaluator, where the configuration asks for it."""
    name = "nix-eval-jobs"
    if not wanted:
        return skipped(name, 'not configured (evaluation.evaluator = "nix")')
    if installed:
        return ok(name, "it is installed")
    return missing(name, "it is configured and not installed", 'install it, or set evaluation.evaluator = "nix"')


def judge_zstd(*, installed: bool) -> Check:
    """For people alone: Nix has its own."""
    if installed:
        return ok("zstd", "it is installed")
    return skipped("zstd", "not installed; only needed to look into archives of a cache by hand")


def judge_certificates(found: Certificates) -> Check:
    """Whether servers can be trusted."""
    name = "certificates"
    hint = "install the certificates of the authorities (package ca-certificates, cacert), or set NIX_SSL_CERT_FILE"
    if found.file is None:
        return problem(name, "there is no file of trusted authorities: nothing can be fetched over https", hint)
    where = f"{found.file} ({found.variable})" if found.variable else found.file
    if not found.readable:
        return problem(name, f"{where} holds no certificate that this user can read", hint)
    return ok(name, where)


def judge_private_place(trouble: str | None) -> Check:
    """Where keys and tokens lie while a job lasts."""
    name = "private files"
    if trouble is not None:
        return problem(name, trouble, "make /tmp writable (mode 1777), or set TMPDIR to a folder of this user")
    return ok(name, "there is a place for keys and tokens outside of the repository")


def judge_op(references: Iterable[str], *, installed: bool, signed_in: bool, in_ci: bool) -> Check:
    """1Password's command, where secrets are references."""
    name = "1password"
    count = len(set(references))
    if not count:
        return skipped(name, "nothing that is needed here is a reference (op://…)")
    told = "1 secret is a reference" if count == 1 else f"{count} secrets are references"
    if not installed:
        return missing(name, f"{told}, and op is not installed", "install 1Password's command (1password-cli)")
    if not signed_in and in_ci:
        hint = (
            "set OP_SERVICE_ACCOUNT_TOKEN, or OP_CONNECT_HOST and OP_CONNECT_TOKEN, in the project's CI/CD variables, "
            "for the environment of this job alone where it has one"
        )
        return warning(name, f"{told}, and nobody is signed in in this job", hint)
    return ok(name, f"{told}, and op is installed" + (", signed in" if signed_in else "; it asks who you are"))
