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
    listToAttrs
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

  lib = {
    inherit mapAttrs;
    mkForce = value: value;
    makeBinPath = packages: toString packages;
    licenses.mit = "mit";
    platforms.linux = [ "x86_64-linux" ];
    fileset = {
      toSource = { root, fileset }: root;
      unions = sets: sets;
      fileFilter = filter: folder: folder;
    };
  };

  # Of a test: what its machines are configured with, and the script that its driver would run.
  runNixOSTest =
    test:
    let
      machine =
        name: module:
        let
          arguments = {
            inherit lib pkgs nodes;
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

  pkgs = {
    inherit lib;
    gitMinimal = "git";
    nix = "nix";
    openssh = "openssh";
    testers = {
      inherit runNixOSTest;
    };
    python3Packages = {
      buildPythonApplication = package: package;
    }
    // listToAttrs (
      map
        (name: {
          inherit name;
          value = name;
        })
        [
          "click"
          "gitpython"
          "httpcore"
          "httpx"
          "pydantic"
          "python-gitlab"
          "pyyaml"
          "setuptools"
          "sniffio"
        ]
    );
    callPackage =
      file: more:
      let
        function = import file;
      in
      function (intersectAttrs (functionArgs function) pkgs // more);
  };
in
{
  inherit lib;
  legacyPackages = {
    x86_64-linux = pkgs;
    aarch64-linux = pkgs;
  };
}
