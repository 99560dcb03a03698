# Seconds of a duration such as "90 days" or "1h 30m", or null where it is none. Pure. Months and years are as long as
# for Attic (https://docs.rs/humantime/latest/humantime/fn.parse_duration.html).
text:
let
  inherit (builtins)
    all
    elemAt
    filter
    foldl'
    fromJSON
    isList
    isString
    match
    split
    ;

  units = {
    second = 1;
    minute = 60;
    hour = 3600;
    day = 86400;
    week = 604800;
    month = 2630016;
    year = 31557600;
  };
  names = {
    second = "s|sec|secs|second|seconds";
    minute = "m|min|mins|minute|minutes";
    hour = "h|hr|hrs|hour|hours";
    day = "d|day|days";
    week = "w|week|weeks";
    month = "M|month|months";
    year = "y|year|years";
  };

  parts = split "0*([0-9]+) *([a-zA-Z]+)" text;
  between = filter isString parts;
  counted = filter isList parts;
  unitOf = word: filter (unit: match names.${unit} word != null) (builtins.attrNames units);
  one = part: fromJSON (elemAt part 0) * units.${elemAt (unitOf (elemAt part 1)) 0};
  sound =
    counted != [ ]
    && all (rest: match " *" rest != null) between
    && all (part: unitOf (elemAt part 1) != [ ]) counted;
in
if sound then foldl' (sum: part: sum + one part) 0 counted else null
