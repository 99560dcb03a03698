# Options of one runner, as a module.
#   host     the options of the machine
#   system   the machine's, such as x86_64-linux
{
  lib,
  host,
  system,
}:
{ config, ... }:
let
  inherit (lib) mkOption types;
  tags = import ./tags.nix;
  tag = types.strMatching "[^,[:space:]$]+";
in
{
  options = {
    executor = mkOption {
      type = types.enum [
        "docker"
        "shell"
      ];
      default = "docker";
      description = "`docker`: each job in a container of its own; `shell`: as a user of this machine.";
    };

    authenticationTokenConfigFile = mkOption {
      type = types.path;
      example = "/run/secrets/runner-protected";
      description = "A file with the line `CI_SERVER_TOKEN=glrt-…`, readable by root alone. Not in the store.";
    };

    refs = mkOption {
      type = types.enum [
        "protected"
        "unprotected"
        "all"
      ];
      description = ''
        Whose jobs it is for: those of protected branches and tags, all others, or both. `protected` has to be set in
        GitLab, too (*Protected* in the runner's settings): GitLab decides, this only gives it the tags.
      '';
    };

    store = mkOption {
      type = types.enum [
        "isolated"
        "shared"
      ];
      default = if config.executor == "shell" then "shared" else "isolated";
      defaultText = lib.literalExpression ''if executor == "shell" then "shared" else "isolated"'';
      description = ''
        `isolated`: each job has the store of its image, and starts anew. `shared`: jobs use the store of this machine
        by its Nix daemon, which does not trust them.
      '';
    };

    image = mkOption {
      type = types.nullOr (types.strMatching "[^[:space:]'\"$]+");
      default = null;
      example = "registry.example.org/group/ci-image@sha256:…";
      description = "Image of jobs that name none. With a tag or, better, a digest.";
    };

    allowedImages = mkOption {
      type = types.listOf types.str;
      default = lib.optional (config.image != null) config.image;
      defaultText = lib.literalExpression "[ image ]";
      description = "Images that jobs may ask for, with `*` for any text. An empty list allows all.";
    };

    pullPolicy = mkOption {
      type = types.enum [
        "always"
        "if-not-present"
        "never"
      ];
      default = if config.image != null && lib.hasInfix "@sha256:" config.image then "if-not-present" else "always";
      defaultText = lib.literalExpression ''"if-not-present" for an image with a digest, else "always"'';
      description = "When images are fetched. What a tag names may change, what a digest names does not.";
    };

    limit = mkOption {
      type = types.ints.positive;
      default = host.concurrency;
      defaultText = lib.literalExpression "concurrency";
      description = "Jobs that this runner runs at the same time.";
    };

    requestConcurrency = mkOption {
      type = types.ints.positive;
      default = 1;
      description = "Questions for new jobs that are under way at the same time.";
    };

    features = mkOption {
      type = types.listOf types.str;
      default = host.features ++ lib.optionals host.kvm.enable (import ./features.nix).virtualMachines;
      defaultText = lib.literalExpression "those of the machine";
      description = "Features of Nix whose builds it takes.";
    };

    extraTags = mkOption {
      type = types.listOf tag;
      default = [ ];
      description = "Further tags.";
    };

    tags = mkOption {
      type = types.listOf tag;
      readOnly = true;
      default = tags.tagsOf {
        inherit system;
        inherit (config) features refs;
        extra = config.extraTags;
      };
      defaultText = lib.literalMD "computed";
      description = "The tags to give this runner in GitLab: they cannot be set from here.";
    };

    privileged = mkOption {
      type = types.bool;
      default = false;
      description = "Containers with all rights over this machine. Lets Nix build in a sandbox in an isolated store.";
    };

    memory = mkOption {
      type = types.nullOr (types.strMatching "[0-9]+[bkmg]?");
      default = null;
      example = "8g";
      description = "Memory of a job's container, and of each of its services.";
    };

    cpus = mkOption {
      type = types.nullOr (types.strMatching "[0-9]+([.][0-9]+)?");
      default = null;
      example = "4";
      description = "Processors of a job's container, and of each of its services.";
    };

    volumes = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Further volumes of its containers, as Docker writes them.";
    };

    environmentVariables = mkOption {
      type = types.attrsOf types.str;
      default = { };
      description = "Variables of its jobs. They are in the store, for all to read: nothing secret.";
    };
  };
}
