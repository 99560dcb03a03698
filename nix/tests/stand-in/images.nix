# What the CI image uses of nixpkgs besides ./pkgs.nix: `streamLayeredImage` gives back what it was given.
#
#   layering   whether this nixpkgs' streamLayeredImage takes a `layeringPipeline`
{
  lib,
  pkgs,
  layering ? true,
}:
let
  inherit (builtins) functionArgs intersectAttrs isAttrs;

  more = lib.genAttrs [ "diffutils" "which" ] (
    name:
    derivation {
      inherit name;
      inherit (pkgs.stdenv.hostPlatform) system;
      builder = "/bin/sh";
    }
    // {
      pname = name;
    }
  );

  derived =
    name: attributes:
    derivation {
      inherit name;
      inherit (pkgs.stdenv.hostPlatform) system;
      builder = "/bin/sh";
      of = builtins.toJSON attributes;
    };

  image =
    arguments:
    derived "stream-${arguments.name}" (removeAttrs arguments [ "passthru" ])
    // (arguments.passthru or { })
    // {
      inherit arguments;
    };

  withLayering =
    {
      name,
      tag ? null,
      contents ? [ ],
      config ? { },
      extraCommands ? "",
      fakeRootCommands ? "",
      includeNixDB ? false,
      passthru ? { },
      layeringPipeline ? null,
    }@arguments:
    image arguments;

  withoutLayering =
    {
      name,
      tag ? null,
      contents ? [ ],
      config ? { },
      maxLayers ? 100,
      extraCommands ? "",
      fakeRootCommands ? "",
      includeNixDB ? false,
      passthru ? { },
    }@arguments:
    image arguments;

  chosen = if layering then withLayering else withoutLayering;

  universe =
    pkgs
    // more
    // {
      lib = lib // {
        # Of a function, or of a set that acts as one.
        functionArgs = function: if isAttrs function then function.__functionArgs else functionArgs function;
        warn = message: value: builtins.trace "warning: ${message}" value;
      };

      # As nixpkgs has it: a set that can be called, and says which arguments it takes.
      dockerTools.streamLayeredImage = {
        __functor = _: chosen;
        __functionArgs = functionArgs chosen;
      };

      buildEnv = { name, paths, ... }@arguments: derived name (map toString paths) // { inherit arguments; };
      closureInfo = { rootPaths }: derived "closure-info" (map toString rootPaths) // { inherit rootPaths; };
      runCommand = name: _: script: derived name script // { inherit script; };
      writeText = name: text: derived name text // { inherit text; };
      writeShellApplication =
        { name, ... }@application: derived name application // { inherit application; };

      callPackage =
        file: settings:
        let
          function = import file;
          call =
            given:
            function (intersectAttrs (functionArgs function) universe // given)
            // {
              override = changed: call (given // changed);
            };
        in
        call settings;
    };
in
universe
