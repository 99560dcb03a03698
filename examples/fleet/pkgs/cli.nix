# The operators' command, on web1. Its manual is a second output that no closure contains.
{
  program,
  libtext,
  render,
}:
program {
  name = "fleet";
  outputs = [
    "out"
    "doc"
  ];
  text = ''
    . ${libtext}/lib/text.sh
    say fleet 'three machines'
  '';
  script = ''
    mkdir -p $doc/share/doc
    ${render}/bin/render 'fleet says how many machines there are' > $doc/share/doc/fleet.html
  '';
}
