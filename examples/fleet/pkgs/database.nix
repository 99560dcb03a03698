# The database, on db1.   database [check | serve | store WORD]
{
  program,
  libdisk,
  libtext,
}:
program {
  name = "database";
  text = ''
    . ${libtext}/lib/text.sh
    . ${libdisk}/lib/disk.sh
    say database "keeps its data in $(data_file)"
    case "$*" in
      serve) exec sleep infinity ;;
      "store "*) echo "$2" > "$(data_file)" ;;
    esac
  '';
}
