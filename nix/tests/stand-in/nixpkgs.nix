# A stand-in for nixpkgs: as much of it as the repository's own flake names. Nothing of it can be built.
let
  inherit (builtins)
    foldl'
    functionArgs
    hashString
    intersectAttrs
    isAttrs
    isFunction
    isPath
    mapAttrs
    toJSON
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
  lib = standIn.lib // {
    # The machines below are sets without options: whoever comes last wins.
    mkForce = value: value;
  };

  # Of a test: what its machines are configured with, and the script that its driver would run.
  runNixOSTest =
    test:
    let
      machine =
        name: module:
        let
          arguments = {
            inherit lib nodes;
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

  # A whole system of modules with options: as much of it as shows that types and assertions hold.
  nixos =
    pkgs: module:
    let
      evaluated = import ../evaluate.nix {
        nixos = standIn // {
          inherit pkgs;
        };
        modules = [ module ];
        wanted = { config, ... }: config.systemd.services;
      };
    in
    assert evaluated.failed == [ ];
    {
      config.system.build.toplevel.drvPath = toplevel "nixos" evaluated.value;
    };

  pkgsOf =
    system:
    let
      pkgs = import ./pkgs.nix { inherit (standIn) lib; inherit system; } // {
        inherit lib;
        nixos = nixos pkgs;
        testers = {
          inherit runNixOSTest;
        };
        mkShell = shell: shell;
        python3Packages = {
          buildPythonApplication = package: package;
          python = {
            sitePackages = "lib/python3/site-packages";
            interpreter = "python3";
          };
          toPythonModule = package: package;
        }
        // lib.genAttrs pythonPackages (name: name);
        callPackage =
          file: more:
          let
            function = import file;
          in
          function (intersectAttrs (functionArgs function) pkgs // more);
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
  inherit lib;
  legacyPackages = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
  ] pkgsOf;
}
