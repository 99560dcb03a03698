# From the options to what atticd reads. Nothing secret: it ends up in the world-readable Nix store.
let
  inherit (builtins) filter listToAttrs;

  chunking = (import ../lib).chunking;

  # Without what is null: TOML has no word for it.
  given =
    set:
    listToAttrs (
      filter (one: one.value != null) (
        map (name: {
          inherit name;
          value = set.${name};
        }) (builtins.attrNames set)
      )
    );

  # Attic's word for "never" is a duration of nothing.
  retention = text: if text == "forever" then "0s" else text;
in
cfg: {
  inherit (cfg) listen;
  allowed-hosts = [ cfg.domain ];
  # Attic joins it with a cache's name: without the slash at its end the address would be wrong.
  api-endpoint = "https://${cfg.domain}/";
  require-proof-of-possession = true;

  database.url = cfg.database.url;

  storage =
    if cfg.storage.type == "s3" then
      given {
        type = "s3";
        inherit (cfg.storage.s3) bucket region endpoint;
      }
    else
      {
        type = "local";
        inherit (cfg.storage.local) path;
      };

  chunking =
    if cfg.chunking.preset == "custom" then
      given {
        nar-size-threshold = cfg.chunking.narSizeThreshold;
        min-size = cfg.chunking.minSize;
        avg-size = cfg.chunking.avgSize;
        max-size = cfg.chunking.maxSize;
      }
    else
      chunking.${cfg.chunking.preset};

  compression = given { inherit (cfg.compression) type level; };

  garbage-collection = {
    inherit (cfg.garbageCollection) interval;
    default-retention-period = retention cfg.garbageCollection.defaultRetention;
  };
}
