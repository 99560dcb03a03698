# Users and groups with the options that services set, and what NixOS demands of a user.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  names = option (types.listOf types.str) [ ];
  flag = option types.bool false;
  number = option (types.nullOr types.int) null;

  user = types.submodule (
    { name, ... }:
    {
      options = {
        name = option types.str name;
        description = option types.singleLineStr "";
        uid = number;
        isSystemUser = flag;
        isNormalUser = flag;
        group = option types.str "";
        extraGroups = names;
        home = option types.path "/var/empty";
        homeMode = option (types.strMatching "[0-7]{1,5}") "700";
        createHome = flag;
        linger = flag;
        packages = option (types.listOf types.package) [ ];
        shell = option (types.nullOr (types.either types.package types.path)) null;
        useDefaultShell = flag;
        autoSubUidGidRange = flag;
        openssh.authorizedKeys.keys = names;
      };
    }
  );
  group = types.submodule (
    { name, ... }:
    {
      options = {
        name = option types.str name;
        gid = number;
        members = names;
      };
    }
  );
  # NixOS has a table of the numbers of well-known users: nobody looks at them here.
  numbers = types.attrsOf types.int;
  known = [
    "caddy"
    "docker"
    "kvm"
    "podman"
    "postgres"
    "systemd-journal"
  ];
in
{
  options = {
    ids = {
      uids = option numbers { };
      gids = option numbers { };
    };
    users = {
      users = option (types.attrsOf user) { };
      groups = option (types.attrsOf group) { };
      mutableUsers = option types.bool true;
    };
  };
  config = {
    ids = {
      uids = lib.genAttrs known (_: 1);
      gids = lib.genAttrs known (_: 1);
    };
    users = {
      users.root = {
        uid = 0;
        group = "root";
        home = "/root";
      };
      groups = {
        kvm = { };
        root.gid = 0;
      };
    };
    assertions = lib.concatLists (
      lib.mapAttrsToList (name: one: [
        {
          assertion = one.uid != null || one.isSystemUser != one.isNormalUser;
          message = "users.users.${name}: exactly one of isSystemUser and isNormalUser must be set";
        }
        {
          assertion = one.group != "" && config.users.groups ? ${one.group};
          message = "users.users.${name}: its group is unset or does not exist";
        }
      ]) config.users.users
    );
  };
}
