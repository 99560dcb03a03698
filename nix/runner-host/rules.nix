# What one runner may be: its options with `name` and `option` (where it is set) to assertions and warnings.
{ lib }:
let
  below = folder: path: path == folder || lib.hasPrefix "${folder}/" path;

  # A path of Nix (`./token`) is copied to the store as soon as somebody writes it into a text.
  readByAll = file: builtins.isPath file || below builtins.storeDir (toString file);
  hidden = file: lib.any (folder: below folder (toString file)) [
    "/home"
    "/root"
    "/run/user"
  ];

  # In `registry:5000/name` there is a port, and no tag.
  lastPart = image: lib.elemAt (builtins.match "(.*/)?([^/]*)" image) 1;
  tagOf = image: builtins.match "[^:]+:(.+)" (lastPart image);
  pinned = image: lib.hasInfix "@" image || tagOf image != null && tagOf image != [ "latest" ];

  parts = runner: lib.concatMap (lib.splitString ":") runner.volumes;
  isSocket = path: builtins.match ".*/(docker|podman|containerd)[.]sock" path != null;
in
{
  assertionsOf =
    runner:
    let
      inherit (runner) option;
      docker = runner.executor == "docker";
    in
    [
      {
        assertion = !readByAll runner.authenticationTokenConfigFile;
        message = "${option}.authenticationTokenConfigFile is in the Nix store or will be, for everybody to read: write the path as text, of a file that a secret provider puts there.";
      }
      {
        assertion = !hidden runner.authenticationTokenConfigFile;
        message = "${option}.authenticationTokenConfigFile is in a home folder, which the service cannot see: put it below /run or /var/lib.";
      }
      {
        assertion = docker -> runner.image != null;
        message = "${option}.image is not set: jobs of the Docker executor need one, such as pipelinegen's CI image.";
      }
      {
        assertion = docker && runner.image != null -> pinned runner.image;
        message = "${option}.image has neither a tag nor a digest (`latest` is none): nobody could say which image a job had.";
      }
      {
        assertion = runner.privileged -> docker && runner.refs == "protected";
        message = "${option}.privileged is for runners with the Docker executor of protected refs: with it, whoever may push is root on this machine.";
      }
      {
        assertion = runner.executor == "shell" -> runner.store == "shared";
        message = "${option}.store cannot be \"isolated\" with the shell executor: its jobs are users of this machine, and so of its store.";
      }
      {
        assertion = !lib.any isSocket (parts runner);
        message = "${option}.volumes has the socket of the container engine: whoever may use it is root on this machine.";
      }
      {
        # One store that every job is root in: what a merge request's job plants there, main would sign and publish.
        assertion = !lib.any (below "/nix") (parts runner);
        message = "${option}.volumes keeps a part of /nix for several jobs: each of them could forge what the next one takes from there. For a store that jobs share, set store = \"shared\".";
      }
    ];

  warningsOf =
    runner:
    lib.optional (runner.executor == "shell" && runner.refs != "protected")
      "${runner.option}: jobs of unprotected refs run as a user of this machine, all as the same one: whoever may open a merge request can read the runner's token and what other jobs leave behind."
    ++ lib.optional (runner.executor == "docker" && runner.allowedImages == [ ] && runner.store == "shared")
      "${runner.option}: jobs may ask for any image, and all of them get the store of this machine.";
}
