# A flake without inputs whose hosts take real work to evaluate, in the way of NixOS's modules: every module defines
# some options, every option merges its definitions, checks their types, and asks other options for theirs.
{
  outputs =
    _:
    let
      hosts = HOSTS;
      modules = MODULES;
      optionsOfAModule = OPTIONS;
      units = 300;

      inherit (builtins)
        all
        attrValues
        concatStringsSep
        genList
        hashString
        isString
        listToAttrs
        map
        mapAttrs
        toString
        zipAttrsWith
        ;
      numbers = count: genList (number: number) count;
      make =
        name: text:
        derivation {
          inherit name text;
          system = "x86_64-linux";
          builder = "/bin/sh";
          args = [
            "-c"
            "echo \"$text\" > $out"
          ];
        };
      module =
        host: number: config:
        listToAttrs (
          map (option: {
            name = "option${toString (number + option * 7)}";
            value = "${host} ${toString number} ${
              if number > 0 && option > 0 then hashString "md5" (config."option${toString (number - 1)}" or "") else ""
            }";
          }) (numbers optionsOfAModule)
        );
      evaluate =
        host:
        let
          defined = map (number: module host number config) (numbers modules);
          merged = zipAttrsWith (_: values: values) defined;
          config = mapAttrs (
            _: values:
            assert all isString values;
            concatStringsSep "," values
          ) merged;
        in
        config;
      shared = make "shared" "shared";
      unit =
        config: number:
        make "unit${toString number}" "${shared} ${hashString "sha256" config."option${toString number}"}";
      host =
        number:
        let
          name = "host${toString number}";
          config = evaluate name;
          whole = hashString "sha256" (concatStringsSep "" (attrValues config));
        in
        {
          inherit name;
          value.config.system.build.toplevel =
            make "nixos-system-${name}" "${whole} ${concatStringsSep " " (map (unit config) (numbers units))}";
        };
    in
    {
      nixosConfigurations = listToAttrs (map host (numbers hosts));
    };
}
