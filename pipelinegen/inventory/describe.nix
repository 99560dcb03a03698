# What is reported of a derivation. Returns { report, real }: `real` is the derivation that is meant.
{ path, look }:
value:
let
  inherit (builtins)
    attrNames deepSeq elem filter isAttrs isInt isList isString tryEval unsafeDiscardStringContext;

  # `value`, or `default` where it throws.
  attempt =
    default: value:
    let
      result = tryEval (deepSeq value value);
    in
    if result.success then result.value else default;

  meta = attempt { } (if isAttrs (value.meta or null) then attrNames value.meta else [ ]);
  field = name: if isList meta && elem name meta then attempt null value.meta.${name} else null;
  text = name: attempt "" (if isString (value.${name} or null) then unsafeDiscardStringContext value.${name} else "");
  number = name: if isInt (field name) then field name else null;
  marks = filter (name: field name == true) [ "broken" "unsupported" "insecure" "unfree" ];
  forbidden = filter (name: name != "unfree") marks != [ ];
  available = field "available";
  isShell = look.devShell && value ? inputDerivation;
  real = if isShell then value.inputDerivation else value;
  common = {
    inherit path;
    visit = look.visit;
    suffix = look.suffix ++ (if isShell then [ "inputDerivation" ] else [ ]);
  };
  # `pkg.dev` names one output, whatever its package would install.
  install = if attempt false (real.outputSpecified or false) == true then null else field "outputsToInstall";
in
{
  inherit real;
  report =
    if available == false || (available == null && forbidden) then
      common // { event = "unavailable"; inherit marks; name = text "name"; system = text "system"; }
    else
      common
      // {
        event = "derivation";
        drvPath = unsafeDiscardStringContext real.drvPath;
        output = if isString (real.outputName or null) then real.outputName else "out";
        install = if isList install then filter isString install else [ ];
        timeout = number "timeout";
        maxSilent = number "maxSilent";
      };
}
