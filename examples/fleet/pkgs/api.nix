# The API behind the website, on web2.   api [check | serve]
{ program, libhttp }:
program {
  name = "api";
  text = ''
    . ${libhttp}/lib/http.sh
    answer '{"machines": 3}'
    case "$*" in serve) exec sleep infinity ;; esac
  '';
}
