# Uses nothing.
{ program }:
program {
  name = "hello";
  version = "2.0";
  text = "echo hello";
}
