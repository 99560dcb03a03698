# What is stored in the database is in its backup.
{ packages }:
''
  export FLEET_DATA=$PWD
  ${packages.database}/bin/database store word
  ${packages.backup}/bin/backup
  cp database.backup $out
  test "$(cat $out)" = word
''
