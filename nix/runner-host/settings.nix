# What pipelinegen.toml says for the runners of this machine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pipelinegen.runner-host;
  tags = import ./tags.nix;
  runners = lib.attrValues cfg.runners;
  isolated = lib.any (runner: runner.store == "isolated") runners;
  shared = lib.any (runner: runner.store == "shared") runners;

  asSetting = runner: {
    inherit (pkgs.stdenv.hostPlatform) system;
    inherit (runner) features;
    extra = runner.extraTags;
    count = if runner.limit < cfg.concurrency then runner.limit else cfg.concurrency;
  };

  handoff =
    if isolated then
      ''
        # Every job has a store of its own: outputs travel as job artifacts, or by a cache (mode = "cache").
        [handoff]
        mode = "artifacts"
      ''
    else
      ''
        # All jobs use the store of one machine. With several machines: mode = "cache".
        [handoff]
        mode = "runner"
      '';
  evaluate = lib.optionalString shared ''
    # The daemon does not trust jobs, and takes no derivations from them.
    derivations = "evaluate"
  '';
in
{
  config = lib.mkIf cfg.enable {
    services.pipelinegen.runner-host.hint = tags.settingsFor (map asSetting runners) + "\n" + handoff + evaluate;
    environment.etc."pipelinegen/runner-host.toml".text = cfg.hint;
  };
}
