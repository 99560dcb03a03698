# db1: the database and its backup.
{ packages }:
{
  packages = [
    packages.database
    packages.backup
  ];
  services.database.program = "${packages.database}/bin/database";
  motd = "db1 of the fleet";
}
