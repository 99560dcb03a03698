# Words and how to print them. Nearly everything uses it.
{ make }:
make {
  name = "libtext-1.0";
  text = ''
    say() { printf '%s: %s\n' "$1" "$2"; }
  '';
  script = ''
    mkdir -p $out/lib
    printf '%s' "$text" > $out/lib/text.sh
  '';
}
