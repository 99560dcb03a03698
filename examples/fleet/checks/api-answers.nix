# The API answers with the number of machines.
{ packages }:
''
  ${packages.api}/bin/api > $out
  test "$(cat $out)" = 'HTTP/1.1 200 OK: {"machines": 3}'
''
