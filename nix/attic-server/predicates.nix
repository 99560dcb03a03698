# What can be said of single values. Pure, and needs nothing of nixpkgs.
let
  inherit (builtins)
    all
    filter
    isString
    match
    split
    stringLength
    ;

  matches = pattern: text: isString text && match pattern text != null;
  label = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?";

  unit = "(s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|week|weeks|month|months|y|year|years)";
  part = "[0-9]+ ?${unit}";

  # The numbers in a text.
  numbers = text: filter (word: isString word && word != "") (split "[^0-9]+" text);
in
{
  # A name that a certificate can be had for: several labels, no scheme, port, path or dot at its end.
  isHostName = text: matches "(${label}\\.)+${label}" text && stringLength text <= 253;

  # Names that Attic takes for caches.
  isCacheName = matches "[A-Za-z0-9][A-Za-z0-9_+-]{0,49}";

  # An address and port, as atticd reads it: no host names.
  isSocketAddress = matches "([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+])(:[0-9]{1,5})";

  # One that only this machine reaches.
  isLoopback = matches "(127(\\.[0-9]{1,3}){3}|\\[::1]):[0-9]+";

  endsInSlash = matches ".*/";
  isHttps = matches "https://.+";

  # The address of an S3 service alone; without TLS only on this machine.
  isServiceAddress = matches "(https://[^/?#@]+|http://(127(\\.[0-9]{1,3}){3}|localhost|\\[::1])(:[0-9]+)?)/?";

  # A duration in words that Attic and pipelinegen read alike.
  isDuration = matches "${part}( ?${part})*";

  # Of a duration: it is nothing, whatever its units.
  isNothing = text: isString text && numbers text != [ ] && all (matches "0+") (numbers text);

  isBackblaze = matches "https?://([^/]*\\.)?backblazeb2\\.com(:[0-9]+)?/?";

  # A URL of PostgreSQL names this database.
  namesDatabase = name: matches "postgres(ql)?://[^/]*/${name}([?].*)?";
  isSqlite = matches "sqlite:.*";
  holdsPassword = text: matches "[a-z]+://[^/@]*:[^/@]+@.*" text || matches ".*[?&]password=.*" text;

  # It is, or will be, where everybody can read it.
  isInStore = matches "/nix/store/.*";

  # Keys that OpNix takes.
  isCamelCase = matches "[a-z][a-zA-Z0-9]*";

  # A unit that runs Attic's garbage collector.
  collectsGarbage =
    service:
    let
      start = (service.serviceConfig or { }).ExecStart or "";
      text = builtins.concatStringsSep "\n" (
        map toString (if builtins.isList start then start else [ start ]) ++ [ (service.script or "") ]
      );
    in
    matches ".*garbage-collector.*" (builtins.replaceStrings [ "\n" ] [ " " ] text);

  # Sizes of chunks are all there and fit each other.
  areSizes =
    chunking:
    let
      inherit (chunking) minSize avgSize maxSize;
    in
    all (size: size != null) [
      chunking.narSizeThreshold
      minSize
      avgSize
      maxSize
    ]
    && 0 < minSize
    && minSize <= avgSize
    && avgSize <= maxSize;

  # The level is one that the compression has.
  isLevel =
    { type, level }:
    level == null
    ||
      {
        none = false;
        brotli = level >= 0 && level <= 11;
        zstd = level >= 1 && level <= 22;
        xz = level >= 0 && level <= 9;
      }
      .${type};
}
