# The caches, how long they keep what, and who deletes it.
{
  cfg,
  services,
  words,
  ...
}:
let
  inherit (builtins)
    attrNames
    filter
    match
    toJSON
    ;
  inherit (words)
    is
    list
    none
    option
    rule
    ;

  badRetention = text: text != "forever" && !is.isDuration text;
  cachesWhere = test: filter (name: test cfg.caches.${name}) (attrNames cfg.caches);
  # By their names first: what other units run is not ours to evaluate.
  named = filter (name: name != "atticd" && match ".*attic.*" name != null) (attrNames services);
  collectors = filter (name: is.collectsGarbage services.${name}) named;
in
[
  (rule "retention-zero" (is.isNothing cfg.garbageCollection.defaultRetention)
    "`${option "garbageCollection.defaultRetention"}` of nothing keeps everything: say \"forever\" where that is meant."
  )
  (rule "retention" (
    badRetention cfg.garbageCollection.defaultRetention && !is.isNothing cfg.garbageCollection.defaultRetention
  ) "`${option "garbageCollection.defaultRetention"}` must be a duration such as \"90 days\", or \"forever\".")
  (rule "interval" (
    !is.isDuration cfg.garbageCollection.interval || is.isNothing cfg.garbageCollection.interval
  ) "`${option "garbageCollection.interval"}` must be a duration such as \"12 hours\"; of nothing, nothing would ever be removed.")
  (rule "second-collector" (!none collectors)
    "${list collectors} runs Attic's garbage collector, and so does atticd every ${cfg.garbageCollection.interval}: two at once disturb each other. Remove the unit and its timer."
  )
  (rule "cache-names" (
    !none (filter (name: !is.isCacheName name) (attrNames cfg.caches))
  ) "Attic refuses the cache ${
    list (map toJSON (filter (name: !is.isCacheName name) (attrNames cfg.caches)))
  }: a name has up to 50 letters, digits, `-`, `_` and `+`, and begins with a letter or digit.")
  (rule "cache-retention"
    (!none (cachesWhere (cache: cache.retention != null && (badRetention cache.retention || is.isNothing cache.retention))))
    "`retention` must be a duration such as \"30 days\", or \"forever\", for ${
      list (cachesWhere (cache: cache.retention != null && (badRetention cache.retention || is.isNothing cache.retention)))
    }."
  )
]
