# The stand-in's packages, and what NixOS's own modules want of nixpkgs besides. Nothing of it can be built.
{ lib, system }:
let
  inherit (lib) genAttrs mapAttrs types;

  base = import ../stand-in/pkgs.nix { inherit lib system; };

  package =
    name: more:
    derivation {
      name = lib.strings.sanitizeDerivationName name;
      inherit system;
      builder = "/bin/sh";
    }
    // {
      pname = name;
      version = "0";
      meta.mainProgram = name;
      overrideAttrs = change: package name (more // change more);
    }
    // more;

  # A file of text, which the tests can look at as `.text`.
  file =
    name: text:
    package name {
      inherit text;
      # Texts that differ are files that differ, and what a text names it depends on.
      inherit
        (derivation {
          name = lib.strings.sanitizeDerivationName name;
          inherit system text;
          builder = "/bin/sh";
        })
        outPath
        drvPath
        ;
    };

  # Values that JSON can say; TOML has no null.
  values =
    nullable:
    let
      value = (if nullable then types.nullOr else lib.id) (
        types.oneOf [
          types.bool
          types.int
          types.float
          types.str
          types.path
          (types.attrsOf value)
          (types.listOf value)
        ]
      );
    in
    value // { description = "a value of the format"; };

  format = nullable: _: {
    type = values nullable;
    generate = name: value: file name (builtins.toJSON value);
  };

  postgresql =
    version:
    package "postgresql" {
      version = "${version}.0";
      psqlSchema = version;
      installedExtensions = [ ];
      meta = {
        mainProgram = "postgres";
        maintainers = [ ];
      };
      withJIT = postgresql version;
      withoutJIT = postgresql version;
      withPackages = _: postgresql version;
    };

  more = [
    "gitlab-runner"
    "kmod"
    "moreutils"
    "perl"
    "procps"
    "prometheus-blackbox-exporter"
    "prometheus-node-exporter"
    "prometheus-postgres-exporter"
    "prometheus-pushgateway"
    "python3"
    "remarshal"
  ];

  packages =
    mapAttrs (name: value: if lib.isDerivation value then package name { } else value) base
    // genAttrs more (name: package name { })
    // {
      inherit lib;
      attic-server = package "attic-server" { meta.mainProgram = "atticd"; };
      postgresql = postgresql "17";
    }
    // lib.listToAttrs (
      map (version: lib.nameValuePair "postgresql_${version}" (postgresql version)) [
        "14"
        "15"
        "16"
        "17"
        "18"
      ]
    )
    // {
      path = ./nixpkgs;
      # Of a file of ours: the program, whose own inputs do not matter here.
      callPackage = _: _: package "pipelinegen" { };
      buildPackages = packages;
      stdenv = rec {
        hostPlatform = lib.systems.elaborate system;
        buildPlatform = hostPlatform;
      };
      formats = {
        json = format true;
        yaml = format true;
        toml = format false;
        nixConf = format true;
      };

      linkFarm = name: _: package name { };
      runCommand = name: _: script: file name script;
      symlinkJoin = { name, ... }: package name { };
      writeShellApplication =
        { name, text, ... }@application: file name text // { inherit application; };
      writeShellScript = file;
      writeShellScriptBin = file;
      writeText = file;
      writeTextDir = file;
      writeTextFile = { name, text, ... }: file name text;
      writers.writePython3 = name: _: file name;
      python3Packages.pglast = package "pglast" { };
    };
in
packages
