# Binary caches, and the order in which Nix asks them. The one place for these figures.
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    filter
    sort
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
    if cache ? priority && cache.priority != null then
      "${cache.url}?priority=${toString cache.priority}"
    else
      cache.url;

  byPriority =
    caches:
    let
      key = name: [
        (caches.${name}.priority or priorities.private)
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
    builtins.mapAttrs (name: cache: {
      url = "https://${domain}/${name}";
      priority = priorityOf cache;
      publicKeys = cache.publicKeys or [ ];
    }) caches;

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
    onAttic
    priorities
    priorityOf
    settingsFor
    substituter
    upstream
    ;

  # Where a line of text is wanted, as in nix.conf.
  line = concatStringsSep " ";
}
