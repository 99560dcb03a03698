# What `gitlab-runner register` is given beside its flags: one entry of a config.toml. Needs nothing of nixpkgs.
# Flags win over it, so nothing that the NixOS module makes a flag of is in here.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    filter
    isAttrs
    map
    toJSON
    ;

  without = set: removeAttrs set (filter (name: set.${name} == null) (attrNames set));

  # Numbers, booleans, texts and lists of texts: TOML writes them as JSON does.
  table =
    header: set:
    let
      names = attrNames set;
      plain = filter (name: !isAttrs set.${name}) names;
      tables = filter (name: isAttrs set.${name}) names;
    in
    [ header ]
    ++ map (name: "${name} = ${toJSON set.${name}}") plain
    ++ builtins.concatMap (name: table "[runners.${name}]" set.${name}) tables;
in
{
  # One entry `[[runners]]` as text.
  toToml = entry: concatStringsSep "" (map (line: "${line}\n") (table "[[runners]]" entry));

  # Of a runner with the Docker executor.
  #   privileged   no restriction of privileges then
  #   devices      of the host, such as /dev/kvm
  #   memory, cpus limits of a job's container, null for none
  #   pullPolicy   "if-not-present", "always" or "never"; jobs cannot ask for another
  #   socket       of the engine, null for Docker's own
  docker =
    {
      privileged,
      devices,
      memory,
      cpus,
      pullPolicy,
      socket,
    }:
    {
      feature_flags = {
        # Each job has a network of its own: it cannot reach the containers of others.
        FF_NETWORK_PER_BUILD = true;
      };
      docker = without {
        inherit cpus devices memory;
        host = socket;
        # No swap beyond the memory: a job that is too large ends, and the machine does not crawl.
        memory_swap = memory;
        service_memory = memory;
        service_cpus = cpus;
        pull_policy = [ pullPolicy ];
        allowed_pull_policies = [ pullPolicy ];
        # Programs in an image that are set-uid root give nothing.
        security_opt = if privileged then [ ] else [ "no-new-privileges:true" ];
        cap_drop = if privileged then [ ] else [ "NET_RAW" ];
        services_privileged = false;
      };
    };

  # Of a runner with the shell executor.
  shell = {
    shell = "bash";
    feature_flags = {
      # The project's folder is cleaned when the job ends, not when the next one begins.
      FF_ENABLE_JOB_CLEANUP = true;
    };
  };
}
