# Packages that have a path and cannot be built, and the helpers that make files.
{
  lib,
  system ? "x86_64-linux",
}:
let
  inherit (builtins) isAttrs isList toJSON;

  fake =
    name: more:
    derivation {
      inherit name system;
      builder = "/bin/sh";
    }
    // {
      pname = name;
      version = "0";
      meta.mainProgram = name;
    }
    // more;

  # A file of text, which the tests can look at as `.text`.
  file = name: text: fake name { inherit text; };

  format = {
    # What TOML and JSON can say.
    type = lib.types.anything;
    generate = name: value: file name (toJSON value);
  };

  names = [
    "age"
    "attic-client"
    "attic-server"
    "bash"
    "cacert"
    "caddy"
    "coreutils"
    "curl"
    "docker"
    "findutils"
    "gawk"
    "gitMinimal"
    "gitlab-runner"
    "gnugrep"
    "gnused"
    "gnutar"
    "gzip"
    "iproute2"
    "jq"
    "nix"
    "nix-eval-jobs"
    "nixos-rebuild-ng"
    "openssh"
    "openssl"
    "pipelinegen"
    "podman"
    "postgresql"
    "rclone"
    "skopeo"
    "systemd"
    "util-linux"
    "xz"
    "check-jsonschema"
    "installShellFiles"
    "ruff"
    "shellcheck"
    "zstd"
  ];
in
lib.genAttrs names (name: fake name { })
// {
  inherit lib;
  stdenv.hostPlatform = {
    inherit system;
    isx86_64 = system == "x86_64-linux";
    isAarch64 = system == "aarch64-linux";
  };
  formats = {
    toml = _: format;
    json = _: format;
    yaml = _: format;
  };
  writeText = file;
  writeTextFile = { name, text, ... }: file name text;
  writeShellScript = file;
  writeShellScriptBin = file;
  writeShellApplication = { name, text, ... }@application: file name text // { inherit application; };
  runCommand = name: _: script: file name script;
  # Of this repository: what the modules take where nobody gives them another.
  callPackage = _: _: fake "pipelinegen" { };
  symlinkJoin = { name, ... }: fake name { };
}
