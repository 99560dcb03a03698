# Turns a line of text into a page. Used while building documentation, never at run time.
{ program }:
program {
  name = "render";
  text = ''printf '<h1>%s</h1>\n' "$1"'';
}
