# The command line knows how many machines there are.
{ packages }:
''
  ${packages.cli}/bin/fleet > $out
  test "$(cat $out)" = 'fleet: three machines'
''
