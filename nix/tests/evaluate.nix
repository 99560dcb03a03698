# Evaluates modules as NixOS would, and gives what a test wants to see of the result:
#
#   { value; failed = [ MESSAGE ]; warnings = [ TEXT ]; }
#
#   nixos     what there is besides: { lib; pkgs; modules; }, as ./stand-in and ./real.nix give it, and `evalModules`
#             where that of `lib` is not enough
#   modules   what is tested, with settings
#   specialArgs  more arguments of the modules
#   wanted    from { config, options, pkgs, lib } to a value that JSON can hold
{
  nixos ? import ./stand-in,
  modules,
  wanted ? (_: null),
  specialArgs ? { },
}:
let
  inherit (nixos) lib pkgs;
  evaluated = (nixos.evalModules or lib.evalModules) {
    modules = nixos.modules ++ modules;
    specialArgs = specialArgs // {
      inherit pkgs;
    };
  };
  inherit (evaluated) config options;
  failed = builtins.filter (one: !one.assertion) config.assertions;
in
{
  value = wanted { inherit config options pkgs lib; };
  failed = map (one: one.message) failed;
  # As in NixOS, where nothing is warned of that is refused: to look might fail.
  warnings = if failed == [ ] then config.warnings else [ ];
}
