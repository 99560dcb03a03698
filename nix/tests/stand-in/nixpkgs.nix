# A stand-in for nixpkgs: as much of it as the repository's own flake names. Nothing of it can be built.
let
  inherit (builtins)
    attrNames
    foldl'
    hashString
    isAttrs
    isFunction
    isPath
    mapAttrs
    toJSON
    unsafeDiscardStringContext
    ;

  merge =
    one: other:
    if isAttrs one && isAttrs other then
      one // mapAttrs (name: value: if one ? ${name} then merge one.${name} value else value) other
    else
      other;

  # A module and what it imports, as one set: no options, no priorities.
  evaluate =
    arguments: module:
    let
      read = if isPath module then import module else module;
      value = if isFunction read then read arguments else read;
    in
    foldl' merge { } (map (evaluate arguments) (value.imports or [ ]) ++ [ (removeAttrs value [ "imports" ]) ]);

  toplevel = name: config: "/nix/store/${hashString "md5" (toJSON config)}-nixos-system-${name}";

  standIn = import ./.;
  inherit (standIn) lib;

  # Of a test: what its machines are configured with, and the script that its driver would run.
  runNixOSTest =
    test:
    let
      machine =
        name: module:
        let
          arguments = {
            inherit nodes;
            # These machines are sets without options: whoever comes last wins.
            lib = lib // {
              mkForce = value: value;
            };
            pkgs = pkgsOf "x86_64-linux";
            config = { };
            extendModules =
              { modules }: { config.system.build.toplevel = toplevel name (map (evaluate arguments) modules); };
          };
        in
        merge (evaluate arguments module) { system.build.toplevel = toplevel name { }; };
      nodes = mapAttrs machine test.nodes;
    in
    test
    // {
      inherit nodes;
      testScript = test.testScript { inherit nodes; };
    };

  # A whole system of modules with options. What is built of it is a file that says which units it has.
  nixosSystem =
    {
      modules,
      pkgs ? pkgsOf system,
      specialArgs ? { },
      system ? "x86_64-linux",
    }:
    let
      evaluated = import ../evaluate.nix {
        inherit modules specialArgs;
        nixos = standIn // {
          inherit pkgs;
        };
        wanted = { config, ... }: config;
      };
      config = evaluated.value;
      says = unsafeDiscardStringContext (toJSON {
        # Without what has no value unless it is set.
        systemd = mapAttrs (
          _: mapAttrs (_: unit: removeAttrs unit [ "startLimitBurst" "startLimitIntervalSec" ])
        ) (removeAttrs config.systemd [ "tmpfiles" ]);
        etc = attrNames config.environment.etc;
      });
    in
    {
      inherit pkgs;
      config = config // {
        system = config.system // {
          build.toplevel =
            if evaluated.failed != [ ] then
              throw "Failed assertions: ${toString evaluated.failed}"
            else
              derivation {
                name = "nixos-system-${config.networking.hostName}";
                inherit (pkgs.stdenv.hostPlatform) system;
                inherit says;
                passAsFile = [ "says" ];
                builder = "/bin/sh";
                args = [
                  "-c"
                  ": > $out"
                ];
              };
        };
      };
    };

  pkgsOf =
    system:
    let
      plain = import ./pkgs.nix { inherit lib system; };
      pkgs = import ./images.nix {
        inherit lib;
        pkgs = plain // {
          nixos =
            module:
            nixosSystem {
              inherit pkgs;
              modules = [ module ];
            };
          testers = {
            inherit runNixOSTest;
          };
          mkShell = shell: shell;
          python3Packages = {
            buildPythonApplication = package: plain.pipelinegen // package;
            python = {
              sitePackages = "lib/python3/site-packages";
              interpreter = "python3";
            };
            toPythonModule = package: package;
          }
          // lib.genAttrs pythonPackages (name: name);
        };
      };
    in
    pkgs;

  pythonPackages = [
    "click"
    "gitpython"
    "httpcore"
    "httpx"
    "hypothesis"
    "jsonschema"
    "mypy"
    "pydantic"
    "pynacl"
    "pytest"
    "pytest-xdist"
    "python-gitlab"
    "pyyaml"
    "setuptools"
    "sniffio"
    "syrupy"
    "types-pyyaml"
  ];
in
{
  lib = lib // {
    inherit nixosSystem;
  };
  legacyPackages = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
  ] pkgsOf;
}
