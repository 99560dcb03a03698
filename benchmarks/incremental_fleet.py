"""A fleet as teams lay it out, and commits to it: what files have which text. Pure.

`flake.nix` lists `hosts/` and makes a system of each file there. Every host gets all of `modules/` and the role and
the site that it names: hosts of one role are spread over the alphabet, hosts of one site are neighbours in it. What is
done with them is in `lib/`: options take work to merge as those of `evaluation.nix` do. One input is there so that its
lock can change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DOCUMENTATION = "documentation alone"
ONE_HOST = "one host"
"""Names of commits: nothing that any host reads, and what the bar is about."""

MODULES = 40
ROLES = 10
"""As many sites."""
PAGES = 20

_OF_A_MODULE = 8
"""Parts of a module that each define options."""
_OPTIONS = 340
_UNITS = 30

_FLAKE = """\
{
  description = "A fleet of machines";
  inputs.release = {
    url = "git+file://INPUT";
    flake = false;
  };
  outputs =
    { self, release }:
    let
      inherit (builtins) attrNames listToAttrs map readDir readFile;
      lib = import ./lib;
      modules = import ./modules;
      makeHost = file: rec {
        name = lib.withoutSuffix file;
        value = lib.makeSystem {
          inherit modules name;
          release = readFile "${release}/version";
          host = import (./hosts + "/${file}");
        };
      };
    in
    {
      nixosConfigurations = listToAttrs (map makeHost (attrNames (readDir ./hosts)));
    };
}
"""

_LIB = """\
# What the fleet is made with.
{
  makeSystem = import ./system.nix;
  withoutSuffix = file: builtins.head (builtins.match "(.*)\\\\.nix" file);
}
"""

_DEFINITIONS = """\
# Options of parts `first` to `first + parts - 1`, in the way of NixOS's modules: each asks others for their values.
{ name, config }:
{
  first,
  parts,
  setting,
}:
let
  inherit (builtins) genList hashString listToAttrs toString;
  value =
    number: option:
    "${name} ${setting} ${toString number} ${
      if number > 0 && option > 0 then hashString "md5" (config."option${toString (number - 1)}" or "") else ""
    }";
  part =
    number:
    listToAttrs (
      genList (option: {
        name = "option${toString (number + option * 7)}";
        value = value number option;
      }) OPTIONS
    );
in
genList (number: part (first + number)) parts
"""

_SYSTEM = """\
# A host's system: the definitions of all modules and of its role, merged and checked.
{
  name,
  release,
  host,
  modules,
}:
let
  inherit (builtins) all attrValues concatMap concatStringsSep genList hashString isString mapAttrs toString;
  define = import ./definitions.nix { inherit name config; };
  defined = concatMap (module: module { inherit define host; }) (modules ++ [ host.role host.site ]);
  config = mapAttrs (
    _: values:
    assert all isString values;
    concatStringsSep "," values
  ) (builtins.zipAttrsWith (_: values: values) defined);
  make =
    name: text:
    derivation {
      inherit name text;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [
        "-c"
        "echo \\"$text\\" > $out"
      ];
    };
  shared = make "shared" release;
  unit = number: make "unit${toString number}" "${shared} ${hashString "sha256" config."option${toString number}"}";
  whole = hashString "sha256" (concatStringsSep "" (attrValues config));
  units = concatStringsSep " " (genList unit UNITS);
in
{
  config.system.build.toplevel = make "nixos-system-${name}" "${whole} ${host.address} ${units}";
}
"""

_MODULE = """\
# Area NUMBER of every host.
{ define, ... }:
define {
  first = FIRST;
  parts = PARTS;
  setting = "0";
}
"""

_GROUP = """\
# What machines of GROUP NUMBER have besides.
{ define, ... }:
define {
  first = FIRST;
  parts = 1;
  setting = "0";
}
"""

_HOST = """\
{
  role = import ../roles/role-ROLE.nix;
  site = import ../sites/site-SITE.nix;
  address = "ADDRESS";
}
"""

_GROUPS = ("role", "site")

Files = Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """A commit.

    Attributes:
        name: of what was done, for people.
        alters: what has another derivation then, for people.
        write: files that it writes, with their texts.
        hosts: those whose derivation it alters.
        lock: the input has a new version, and `flake.lock` follows it.
        small_fleets_only: not measured with large ones, where it takes what another commit takes.
    """

    name: str
    alters: str
    write: Files
    hosts: frozenset[str] = frozenset()
    lock: bool = False
    small_fleets_only: bool = False


@dataclass(frozen=True)
class Fleet:
    """So many hosts.

    Attributes:
        input_folder: the repository of the input.
    """

    hosts: int
    input_folder: str = "/input"

    @property
    def names(self) -> tuple[str, ...]:
        """Of all hosts."""
        return tuple(f"host-{number:03}" for number in range(self.hosts))

    @property
    def changed_host(self) -> str:
        """The one that a commit touches: one in the middle."""
        return self.names[self.hosts // 2]

    def files(self) -> Files:
        """The whole repository but for its lock."""
        modules = {f"modules/module-{number:02}.nix": _module(number) for number in range(MODULES)}
        listed = "".join(f"  (import ./{name.removeprefix('modules/')})\n" for name in modules)
        groups = {f"{kind}s/{kind}-{number}.nix": _group(kind, number) for kind in _GROUPS for number in range(ROLES)}
        pages = {f"docs/page-{number:02}.md": f"# Page {number}\n\nHow things are done.\n" for number in range(PAGES)}
        return {
            "README.md": "# The fleet\n\nWhat it is.\n",
            **pages,
            "flake.nix": _FLAKE.replace("INPUT", self.input_folder),
            "lib/default.nix": _LIB,
            "lib/definitions.nix": _DEFINITIONS.replace("OPTIONS", str(_OPTIONS)),
            "lib/system.nix": _SYSTEM.replace("UNITS", str(_UNITS)),
            "modules/default.nix": f"[\n{listed}]\n",
            **modules,
            **groups,
            **{f"hosts/{name}.nix": self._host(number) for number, name in enumerate(self.names)},
        }

    def changes(self) -> tuple[Change, ...]:
        """What is measured, each a commit of its own to `files`."""
        files = self.files()
        host = f"hosts/{self.changed_host}.nix"
        role, site = self._groups(self.hosts // 2)
        of_role = frozenset(name for number, name in enumerate(self.names) if self._groups(number)[0] == role)
        of_site = frozenset(name for number, name in enumerate(self.names) if self._groups(number)[1] == site)
        module = f"modules/module-{MODULES // 2:02}.nix"
        all_hosts = frozenset(self.names)
        return (
            Change(DOCUMENTATION, "nothing", {"docs/page-07.md": "# Page 7\n\nAll of it is new.\n"}),
            Change(ONE_HOST, "it", {host: self._host(self.hosts // 2, "10.9.9.9")}, frozenset({self.changed_host})),
            Change("one role", "a tenth, here and there", _set(files, f"roles/role-{role}.nix"), of_role),
            Change("one site", "a tenth, neighbours", _set(files, f"sites/site-{site}.nix"), of_site),
            Change("a shared module", "all", _set(files, module), all_hosts),
            Change(
                "a comment of a shared module",
                "nothing",
                {module: f"# What it is for.\n{files[module]}"},
                small_fleets_only=True,
            ),
            Change("the lock", "all", {}, all_hosts, lock=True),
            Change(
                "one host more",
                "the new one",
                {"hosts/host-new.nix": self._host(3)},
                frozenset({"host-new"}),
                small_fleets_only=True,
            ),
        )

    def _groups(self, number: int) -> tuple[int, int]:
        """Role and site of a host."""
        return number % ROLES, number * ROLES // self.hosts

    def _host(self, number: int, address: str | None = None) -> str:
        role, site = map(str, self._groups(number))
        text = _HOST.replace("ROLE", role).replace("SITE", site)
        return text.replace("ADDRESS", address or f"10.0.{number // 250}.{number % 250 + 1}")


def second(files: Files) -> Files:
    """What the commit writes that comes after the first one, and before all others: documentation."""
    return MappingProxyType({"README.md": files["README.md"] + "\nMore of it.\n"})


def only(name: str) -> tuple[str, ...]:
    """Patterns for `exclude` in the configuration that leave one host of a fleet, whatever its size."""
    digits = name.removeprefix("host-")
    kept = [f"host-{'?' * place}[!{digit}]{'?' * (2 - place)}" for place, digit in enumerate(digits)]
    return tuple(f"nixosConfigurations.{glob}" for glob in kept)


def _set(files: Files, name: str) -> Files:
    return {name: files[name].replace('setting = "0"', 'setting = "1"')}


def _module(number: int) -> str:
    text = _MODULE.replace("NUMBER", str(number)).replace("FIRST", str(number * _OF_A_MODULE))
    return text.replace("PARTS", str(_OF_A_MODULE))


def _group(kind: str, number: int) -> str:
    first = MODULES * _OF_A_MODULE + ROLES * _GROUPS.index(kind) + number
    return _GROUP.replace("GROUP", kind).replace("NUMBER", str(number)).replace("FIRST", str(first))
