# Options of the machine; those of one runner are in runner-options.nix, those of its disk in hygiene-options.nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.pipelinegen.runner-host;
in
{
  options.services.pipelinegen.runner-host = {
    enable = lib.mkEnableOption "a GitLab runner for pipelinegen's jobs";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = lib.literalMD "the one that comes with this module";
      description = "The pipelinegen that jobs find where they share the store of this machine.";
    };

    gitlabUrl = mkOption {
      type = types.strMatching "https?://[^[:space:]'\"]+";
      default = "https://gitlab.com";
      example = "https://gitlab.example.org";
      description = "The GitLab that jobs are fetched from.";
    };

    runners = mkOption {
      type = types.attrsOf (
        types.submodule (
          import ./runner-options.nix {
            inherit lib;
            host = cfg;
            inherit (pkgs.stdenv.hostPlatform) system;
          }
        )
      );
      default = { };
      description = "Runners of this machine. Each has its own entry, tags and token in GitLab.";
    };

    concurrency = mkOption {
      type = types.ints.positive;
      default = 2;
      description = "Jobs that run at the same time, those of all runners together.";
    };

    engine = mkOption {
      type = types.enum [
        "docker"
        "podman"
      ];
      default = "docker";
      description = "What runs the containers of runners with the Docker executor.";
    };

    features = mkOption {
      type = types.listOf (types.strMatching "[^][:space:],]+");
      default = [
        "benchmark"
        "big-parallel"
      ];
      description = ''
        Features of Nix (`requiredSystemFeatures`) that this machine offers. `kvm.enable` adds those of virtual
        machines.
      '';
    };

    kvm = {
      enable = lib.mkEnableOption "virtual machines in builds and jobs (`/dev/kvm`)";
      vendor = mkOption {
        type = types.nullOr (
          types.enum [
            "intel"
            "amd"
          ]
        );
        default = null;
        description = ''
          Whose processor it is, to load its module of the kernel. Without it, `boot.kernelModules` has to name
          `kvm-intel` or `kvm-amd`, as the hardware configuration of most machines does. Not for ARM.
        '';
      };
    };

    tools = mkOption {
      type = types.listOf types.package;
      default = [
        cfg.package
        config.nix.package
        pkgs.bash
        pkgs.cacert
        pkgs.coreutils
        pkgs.curl
        pkgs.findutils
        pkgs.gitMinimal
        pkgs.gnugrep
        pkgs.gnused
        pkgs.gnutar
        pkgs.gzip
        pkgs.openssh
        pkgs.zstd
      ];
      defaultText = lib.literalExpression "pipelinegen, Nix, git, OpenSSH and the usual programs";
      description = "Programs of jobs that share the store of this machine: those have no CI image of their own.";
    };

    gracefulTimeout = mkOption {
      type = types.str;
      default = "2h";
      example = "30min";
      description = ''
        How long a runner that is to stop waits for its jobs. Longer than the longest job, or that one fails. It also
        is what a reboot waits.
      '';
    };

    memory = {
      jobs = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "12G";
        description = "Memory of all jobs of the shell executor together, as systemd writes it.";
      };
      builds = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "48G";
        description = "Memory of all builds of each Nix daemon of this machine, as systemd writes it.";
      };
    };

    metricsPort = mkOption {
      type = types.port;
      default = 9252;
      description = "Port of the runner's own metrics, on the loopback interface only.";
    };

    hint = mkOption {
      type = types.str;
      readOnly = true;
      description = "What pipelinegen.toml says for these runners; also in `/etc/pipelinegen/runner-host.toml`.";
    };
  };
}
