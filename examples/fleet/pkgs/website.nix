# The public website, on web1 and web2.   website [check | serve]
{ program, libhttp }:
program {
  name = "website";
  text = ''
    . ${libhttp}/lib/http.sh
    answer welcome
    case "$*" in serve) exec sleep infinity ;; esac
  '';
}
