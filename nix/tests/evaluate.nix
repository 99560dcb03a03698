# Evaluates modules as NixOS would, and gives what a test wants to see of the result:
#
#   { value; failed = [ MESSAGE ]; warnings = [ TEXT ]; }
#
#   nixos     what there is besides: { lib; pkgs; modules; }, as ./stand-in and ./real.nix give it
#   modules   what is tested, with settings
#   wanted    from { config, options, pkgs, lib } to a value that JSON can hold
{
  nixos ? import ./stand-in,
  modules,
  wanted ? (_: null),
}:
let
  inherit (nixos) lib pkgs;
  evaluated = lib.evalModules {
    modules = nixos.modules ++ modules;
    specialArgs = {
      inherit pkgs;
    };
  };
  inherit (evaluated) config options;
  failed = builtins.filter (one: !one.assertion) config.assertions;
in
{
  value = wanted { inherit config options pkgs lib; };
  failed = map (one: one.message) failed;
  inherit (config) warnings;
}
