# The website says welcome.
{ packages }:
''
  ${packages.website}/bin/website > $out
  test "$(cat $out)" = 'HTTP/1.1 200 OK: welcome'
''
