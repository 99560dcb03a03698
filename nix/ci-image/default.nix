# The image that every job runs in: Nix with a store of its own, what pipelinegen starts, and pipelinegen.
#
#   pkgs.callPackage ./nix/ci-image { inherit pipelinegen; }
#
# gives a program that writes the image to its stdout; `.publish`, `.size` and `.smokeTest` are programs too.
# Settings, for `.override`:
#   caches         { NAME = { url; priority ? null; publicKeys; }; } besides upstream's, as in nix/lib
#   settings       more of nix.conf, { NAME = value; }
#   extraPackages  more programs
#   knownHosts     text of /etc/ssh/ssh_known_hosts
#   maxLayers      at most 125; one image of docker has 127
{
  lib,
  attic-client,
  bash,
  buildEnv,
  cacert,
  closureInfo,
  coreutils,
  curl,
  diffutils,
  dockerTools,
  findutils,
  gawk,
  gitMinimal,
  gnugrep,
  gnused,
  gnutar,
  gzip,
  jq,
  nix,
  nix-eval-jobs,
  nixos-rebuild ? null,
  nixos-rebuild-ng ? null,
  openssh,
  pipelinegen,
  runCommand,
  skopeo,
  which,
  writeShellApplication,
  writeText,
  xz,
  zstd,
  name ? "pipelinegen-ci",
  tag ? null,
  caches ? { },
  settings ? { },
  extraPackages ? [ ],
  knownHosts ? "",
  maxLayers ? 100,
}:
let
  shared = import ../lib;

  # Its command is nixos-rebuild-ng in some releases: the image has it under the one name that scripts use.
  rebuild = if nixos-rebuild-ng == null then nixos-rebuild else nixos-rebuild-ng;
  rebuildCommand = runCommand "nixos-rebuild-command" { } ''
    mkdir -p $out/bin
    for command in ${rebuild}/bin/nixos-rebuild-ng ${rebuild}/bin/nixos-rebuild; do
      [ ! -x "$command" ] || ln -sf "$command" $out/bin/nixos-rebuild
    done
    [ -e $out/bin/nixos-rebuild ]
  '';

  tools = buildEnv {
    name = "${name}-tools";
    paths = [
      attic-client
      bash
      coreutils
      curl
      diffutils
      findutils
      gawk
      gitMinimal
      gnugrep
      gnused
      gnutar
      gzip
      jq
      nix
      nix-eval-jobs
      openssh
      rebuildCommand
      programs.smokeTest
      which
      xz
      zstd
    ]
    ++ extraPackages;
    pathsToLink = [ "/bin" ];
  };

  # Apart from the tools: what names pipelinegen is new with every pipelinegen.
  program = runCommand "${name}-program" { } ''
    mkdir -p $out/bin
    ln -s ${pipelinegen}/bin/pipelinegen $out/bin/
  '';

  contents = [
    tools
    cacert
    program
  ];

  files = import ./files.nix {
    inherit lib knownHosts;
    nixConf = shared.nixConf (import ./settings.nix { inherit shared caches settings; });
  };
  write = path: "install -D -m 0644 ${writeText (baseNameOf path) files.${path}} ${path}\n";

  layering =
    if (lib.functionArgs dockerTools.streamLayeredImage) ? layeringPipeline then
      {
        layeringPipeline = import ./layers.nix {
          inherit maxLayers;
          pipelinegen = "${pipelinegen}";
          program = "${program}";
        };
      }
    else
      lib.warn "this nixpkgs cannot order layers: every new pipelinegen changes a large layer of the CI image" {
        inherit maxLayers;
      };

  programs = import ./programs.nix {
    inherit
      coreutils
      gawk
      gnused
      image
      jq
      skopeo
      writeShellApplication
      ;
    registration = "${closureInfo { rootPaths = contents; }}/registration";
  };

  image = dockerTools.streamLayeredImage (
    layering
    // {
      inherit name tag contents;

      # Nix knows the paths of the image and keeps them: without this it would fetch all again, or delete itself.
      includeNixDB = true;

      # Files, not links to the store: a job that appends to its nix.conf must not write into a store path.
      extraCommands = ''
        ${lib.concatMapStrings write (builtins.attrNames files)}
        ln -s ca-bundle.crt etc/ssl/certs/ca-certificates.crt
        ln -sf bash bin/sh
        mkdir -p usr/bin
        ln -s /bin/env usr/bin/env
        rm -rf nix-support
      '';
      fakeRootCommands = ''
        mkdir -p root/.ssh tmp var/tmp var/empty
        chmod 0700 root root/.ssh
        chmod 1777 tmp var/tmp
        chmod 0555 var/empty
      '';

      # No entry point: GitLab's executors start `sh -c SCRIPT`, which an entry point would be put in front of.
      config = {
        Cmd = [ "/bin/bash" ];
        # Names no store path: Nix's database knows only what `contents` needs.
        Env = [
          "HOME=/root"
          "USER=root"
          "LANG=C.UTF-8"
          "PATH=/root/.nix-profile/bin:/nix/var/nix/profiles/default/bin:/bin:/usr/bin"
          "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
          "NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
          "GIT_SSL_CAINFO=/etc/ssl/certs/ca-bundle.crt"
        ];
        WorkingDir = "/";
      };

      passthru = programs;
    }
  );
in
image
