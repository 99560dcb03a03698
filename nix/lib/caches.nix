# Binary caches, and the order in which Nix asks them. The one place for these figures.
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    head
    isString
    listToAttrs
    mapAttrs
    match
    sort
    split
    stringLength
    substring
    ;

  # Lower is asked first. An Attic server gives its caches 41 where nobody says otherwise.
  priorities = {
    upstream = 40;
    public = 50;
    private = 60;
  };

  upstream = {
    url = "https://cache.nixos.org";
    priority = priorities.upstream;
    publicKeys = [ "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
  };

  # As an entry of `substituters`. What is written here wins over the priority that the cache names itself.
  substituter =
    cache:
    let
      # As in s3://bucket?region=eu-central-003.
      query = match "[^?]*[?](.*)" cache.url;
      said = query != null && match ".*priority=.*" (head query) != null;
    in
    if cache.priority or null == null || said then
      cache.url
    else
      "${cache.url}${if query == null then "?" else "&"}priority=${toString cache.priority}";

  byPriority =
    caches:
    let
      key =
        name:
        let
          priority = caches.${name}.priority or null;
        in
        [
          (if priority == null then priorities.private else priority)
          name
        ];
    in
    map (name: caches.${name}) (sort (one: other: key one < key other) (attrNames caches));

  # Nix's settings for reading from caches: { NAME = { url; priority ? null; publicKeys ? [ ]; }; }, the first to be
  # asked first. A cache without a key is left out: Nix would believe nothing that it holds.
  settingsFor =
    caches:
    let
      believed = filter (cache: (cache.publicKeys or [ ]) != [ ]) (byPriority caches);
    in
    {
      substituters = map substituter believed;
      trusted-public-keys = concatMap (cache: cache.publicKeys) believed;
    };

  # The caches of an Attic server as `settingsFor` takes them.
  #   domain   the server's name, such as cache.example.org
  #   caches   { NAME = { public ? false; priority ? null; publicKeys ? [ ]; }; }
  onAttic =
    domain: caches:
    mapAttrs (name: cache: {
      url = "https://${domain}/${name}";
      priority = priorityOf cache;
      publicKeys = cache.publicKeys or [ ];
    }) caches;

  # The caches of a pipelinegen.toml that machines may believe, as `settingsFor` takes them: not those that any
  # merge request can write to.
  #   config   the file, read: builtins.fromTOML (builtins.readFile ./pipelinegen.toml)
  ofConfig =
    config:
    mapAttrs (_: cache: {
      inherit (cache) url;
      priority = cache.priority or (priorityOf cache);
      publicKeys = words (cache.public_key or "");
    }) (chosen (cache: cache.writers or "upstream" != "unprotected") (config.caches or { }));

  # The caches of a pipelinegen.toml that the Attic server of a domain holds, as the option
  # `services.pipelinegen.attic-server.caches` takes them.
  provisionedBy =
    domain: config:
    let
      prefix = "https://${domain}/";
      here =
        cache:
        cache.backend or "nix" == "attic" && substring 0 (stringLength prefix) cache.url == prefix;
      nameOf = cache: head (match "(.*[^/])/*" (substring (stringLength prefix) (-1) cache.url));
      found = chosen here (config.caches or { });
    in
    listToAttrs (
      map (
        key:
        let
          cache = found.${key};
          retention = cache.retention or "server";
        in
        {
          name = nameOf cache;
          value = {
            public = cache.public or false;
            priority = cache.priority or null;
            retention = if retention == "server" then null else retention;
            upstreamKeys = cache.upstream_keys or [ "cache.nixos.org-1" ];
          };
        }
      ) (attrNames found)
    );

  chosen =
    keep: set: removeAttrs set (filter (name: !keep set.${name}) (attrNames set));
  words = text: filter (word: isString word && word != "") (split " +" text);

  priorityOf =
    cache:
    if cache.priority or null != null then
      cache.priority
    else if cache.public or false then
      priorities.public
    else
      priorities.private;
in
{
  inherit
    ofConfig
    onAttic
    priorities
    provisionedBy
    settingsFor
    substituter
    upstream
    ;
}
