# A package with one program, written in sh.
#
#   program { name; text; version ? "1.0"; …more for `make` }  →  $out/bin/NAME, run with `set -eu`
{ make }:
{
  name,
  text,
  version ? "1.0",
  script ? "",
  ...
}@arguments:
make (
  arguments
  // {
    name = "${name}-${version}";
    program = name;
    script = ''
      mkdir -p $out/bin
      printf '%s\n' '#!/bin/sh' 'set -eu' "$text" > $out/bin/$program
      chmod 755 $out/bin/$program
      ${script}
    '';
  }
)
