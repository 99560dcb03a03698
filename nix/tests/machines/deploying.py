# What the scenarios share. The driver gives `deployer` and the other machines; `KNOWN` comes from default.nix.
import contextlib
import re

WORK = "/root/deploy"
RUNTIME = "/run/pipelinegen"
RECORDS = "/var/lib/pipelinegen/activations"
PROFILE = "/nix/var/nix/profiles/system"
EXPECTED = {row["name"]: row for row in KNOWN["scenarios"]}
SETTINGS = {
    "ssh_key_file": f"{WORK}/key",
    "known_hosts_file": f"{WORK}/known_hosts",
    "min_free_mb": 1,
    "min_free_boot_mb": 1,
    "activation_timeout": "60 seconds",
    "confirm_timeout": "10 seconds",
    "settle": "3 seconds",
}


class Host:
    """A machine that is deployed to."""

    def __init__(self, name, machine):
        self.name = name
        self.machine = machine
        self.systems = KNOWN["systems"][name]
        self.settings = {}

    def up(self):
        self.machine.wait_for_unit("multi-user.target")
        self.machine.wait_for_unit("sshd.service")

    def introduce(self):
        """Let the deployer in, and tell it the host key."""
        key = deployer.succeed(f"cat {WORK}/key.pub").strip()
        self.machine.succeed(f"mkdir -p /root/.ssh; echo '{key}' > /root/.ssh/authorized_keys")
        known = f"{WORK}/known_hosts"
        deployer.wait_until_succeeds(f"ssh-keyscan {self.name} >> {known} && grep -q '^{self.name} ' {known}")

    def situation(self):
        """What runs, and what the next boot takes, by the boot loader's own file."""
        runs = self.machine.succeed("readlink -f /run/current-system").strip()
        entry = self.machine.succeed("sed -n 's/^default //p' /boot/loader/loader.conf")
        number = re.search(r"-generation-([0-9]+)", entry)[1]
        boots = self.machine.succeed(f"readlink -f {PROFILE}-{number}-link").strip()
        profile = self.machine.succeed(f"readlink -f {PROFILE}").strip()
        assert boots == profile, f"the boot loader takes {boots}, the profile is {profile}"
        return runs, boots

    def reset(self):
        """Back to the first system, as if nothing had been deployed."""
        old = self.systems["old"]
        self.machine.succeed(
            "rm -f /var/filler; mount -o remount,rw /boot; systemctl reset-failed",
            f"nix-env -p {PROFILE} --set {old}",
            f"{old}/bin/switch-to-configuration switch",
            f"rm -rf {RECORDS} /var/lib/pipelinegen/deployed",
        )

    def record(self):
        """The host's own record of the last activation."""
        text = self.machine.succeed(f'f=$(ls -t {RECORDS} 2> /dev/null | head -n 1); [ -z "$f" ] || cat {RECORDS}/$f')
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def phase(self, phase):
        """Wait until an activation is in this phase."""
        self.machine.wait_until_succeeds(f"cat {RUNTIME}/pipelinegen-*/status | grep -qx phase={phase}")

    def quiet(self):
        """Wait until no activation is on any more."""
        self.machine.wait_until_succeeds(f"flock -n {RUNTIME}/lock true")


def configure(*hosts):
    """Write the configuration of these hosts."""
    lines = []
    for host in hosts:
        lines.append(f"[hosts.{host.name}]")
        for key, value in {"address": host.name, **SETTINGS, **host.settings}.items():
            lines.append(f"{key} = {value if isinstance(value, list) else json.dumps(value)}")
    text = "\n".join(lines)
    deployer.succeed(f"cat > {WORK}/pipelinegen.toml << 'END'\n{text}\nEND")


def begin(*hosts):
    """Start the machines, and let the deployer into them."""
    deployer.start()
    for host in hosts:
        host.machine.start()
    deployer.wait_for_unit("multi-user.target")
    deployer.succeed(f"mkdir -p {WORK}; ssh-keygen -q -t ed25519 -N '' -f {WORK}/key")
    for host in hosts:
        host.up()
        host.introduce()
    configure(*hosts)


def command(host, variant, *options):
    words = ["pipelinegen", "run", "deploy", host.name, "--class", "protected"]
    words += ["--system", host.systems[variant], "--report", f"{host.name}.json", *options]
    return " ".join(words)


def deploy(host, variant, *options):
    """Deploy and wait; the exit code and the report."""
    deployer.succeed(f"rm -f {WORK}/{host.name}.json")
    code, output = deployer.execute(f"cd {WORK} && {command(host, variant, *options)} 2>&1")
    print(output)
    return code, json.loads(deployer.succeed(f"cat {WORK}/{host.name}.json"))


@contextlib.contextmanager
def started(host, variant):
    """A deployment that goes on meanwhile."""
    job = Job(host)
    line = f"cd {WORK} && {command(host, variant)}"
    deployer.succeed(
        f"rm -f {WORK}/{host.name}.json {WORK}/{host.name}.code; systemctl reset-failed deploy-{host.name} || true",
        f'systemd-run --quiet --unit=deploy-{host.name} --setenv=PATH="$PATH" '
        f"sh -c '({line}); echo $? > {WORK}/{host.name}.code'",
    )
    yield job


class Job:
    """A deployment on its way."""

    def __init__(self, host):
        self.host = host

    def kill(self):
        """End it and its children, without a chance to say anything."""
        deployer.succeed(f"systemctl kill --signal=KILL deploy-{self.host.name}")

    def wait(self):
        """The exit code and the report."""
        deployer.wait_for_file(f"{WORK}/{self.host.name}.code")
        code = int(deployer.succeed(f"cat {WORK}/{self.host.name}.code"))
        return code, json.loads(deployer.succeed(f"cat {WORK}/{self.host.name}.json"))


def holds(name, host, variant, told=None):
    """The machine, and what was reported, are what the table says of this scenario."""
    row = EXPECTED[name]
    paths = {"old": host.systems["old"], "new": host.systems[variant]}
    found = host.situation()
    assert found == (paths[row["runs"]], paths[row["boots"]]), f"{name}: {found}"
    if told is None:
        # Nobody was there to tell: the host's own record does.
        assert host.record().get("result", "") == row["result"], f"{name}: {host.record()}"
        return
    code, report = told
    assert (code, report["result"]) == (row["code"], row["result"]), f"{name}: {code}, {report}"
    if report["after"] is not None:
        assert (report["after"]["running"], report["after"]["profile"]) == found, f"{name}: {report['after']}"
