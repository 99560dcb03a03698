# The flake's formatter: removes spaces at the ends of lines in the files it is given.
{ program }:
program {
  name = "format";
  text = ''exec sed -i 's/[[:blank:]]*$//' -- "$@"'';
}
