# Answers over HTTP. The website and the API use it; it is also a package of its own.
{ make, libtext }:
make {
  name = "libhttp-1.0";
  text = ''
    . ${libtext}/lib/text.sh
    answer() { say "HTTP/1.1 200 OK" "$1"; }
  '';
  script = ''
    mkdir -p $out/lib
    printf '%s' "$text" > $out/lib/http.sh
  '';
}
