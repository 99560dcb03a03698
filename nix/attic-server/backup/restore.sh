#!/usr/bin/env bash
# Put a kept dump in the place of Attic's database.
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=dump.sh
. "$here/dump.sh"
# shellcheck source=offsite.sh
. "$here/offsite.sh"
# shellcheck source=database.sh
. "$here/database.sh"

usage() {
  cat <<EOT
attic-restore --list
attic-restore (--latest | --file FILE | --offsite NAME | --offsite latest) [--identity FILE] [--database NAME] [--yes]

  --list           the dumps here and off-site, the newest first
  --latest         the newest dump here
  --file FILE      this dump; FILE.age is decrypted first
  --offsite NAME   a copy of the second bucket, as --list names it, or the newest one
  --identity FILE  secret key of age for an encrypted copy
  --database NAME  instead of ${ATTIC_DATABASE:-atticd}
  --yes            also where the database has content; it is kept as NAME_before_TIME

The dump is restored into a database of its own and checked. Only then is atticd stopped, the names are changed, and
atticd is started. If it does not come up, everything is put back.
EOT
}

action='' choice='' yes='' database=${ATTIC_DATABASE:-atticd}
choose() {
  [ -z "$action" ] || die "choose one of --list, --latest, --file and --offsite"
  action=$1 choice=${2:-}
}
while [ $# -gt 0 ]; do
  case $1 in
  --file | --offsite | --identity | --database) [ $# -ge 2 ] || die "$1 wants a value" ;;
  esac
  case $1 in
  --list) choose list ;;
  --latest) choose latest ;;
  --file) choose file "$2" && shift ;;
  --offsite) choose offsite "$2" && shift ;;
  --identity) export ATTIC_AGE_IDENTITY=$2 && shift ;;
  --database) database=$2 && shift ;;
  --yes) yes=1 ;;
  --help) usage && exit 0 ;;
  *) usage >&2 && die "unknown: $1" ;;
  esac
  shift
done
[ -n "$action" ] || { usage >&2 && exit 2; }
plain_name "$database"
plain_name "$ATTIC_ROLE"

if [ "$action" = list ]; then
  kept_names | tac | sed 's/$/ here/'
  if [ -n "$ATTIC_OFFSITE" ]; then
    load_offsite_secrets
    files=$(offsite_files) || die "the copies off-site cannot be listed"
    offsite_names <<<"$files" | tac | sed 's/$/ off-site/'
  fi
  exit 0
fi

new=${database}_restoring before='' stopped='' swapped=''

put_back() {
  say "putting everything back as it was"
  server stop || true
  if [ "$swapped" = both ]; then
    rename_databases "$database" "$new" "$before" "$database" || say "error: $before could not get its name $database back"
  else
    rename_databases "$database" "$new" || say "error: $database could not be put away"
  fi
  swapped=''
}

finish() {
  local status=$?
  trap - EXIT
  [ -z "$swapped" ] || put_back
  [ -z "$stopped" ] || server start || say "error: atticd does not start"
  rm -rf -- "$work"
  [ "$status" = 0 ] || drop_database "$new" || true
  exit "$status"
}

one_at_a_time
# Not in /tmp, which may be memory. What a killed run left behind is in the way of nobody.
rm -rf -- "$ATTIC_BACKUP_FOLDER"/.work.*
work=$(mktemp -d "$ATTIC_BACKUP_FOLDER/.work.XXXXXX")
trap finish EXIT

case $action in
latest)
  choice=$(kept_names | tail -n 1)
  [ -n "$choice" ] || die "no dump is kept in $ATTIC_BACKUP_FOLDER (--offsite latest takes the copy of the second bucket)"
  as_manifest_says "$ATTIC_BACKUP_FOLDER" "$choice" || die "$choice is damaged; --list names the others"
  dump=$ATTIC_BACKUP_FOLDER/$choice.sql.zst
  ;;
file)
  dump=$choice
  [ -r "$dump" ] || die "cannot read $dump"
  if [[ $dump == *.age ]]; then
    open_dump "$dump" "$work/dump" || exit 1
    dump=$work/dump
  fi
  ;;
offsite)
  [ -n "$ATTIC_OFFSITE" ] || die "no second bucket is configured"
  load_offsite_secrets
  files=$(again offsite_files) || die "the copies off-site cannot be listed"
  [ "$choice" != latest ] || choice=$(offsite_names <<<"$files" | tail -n 1)
  offsite_names <<<"$files" | grep -qxF -- "$choice" || die "there is no such copy off-site: ${choice:-there is none at all}"
  offsite_fetch "$choice" "$work" || die "$choice cannot be used; --list names the others"
  dump=$work/$choice.sql.zst
  ;;
esac
tables=$(inspect_dump "$dump") || die "nothing has been changed"
made=$(date --utc --reference="$dump" +'%Y-%m-%d %H:%M:%S')
[[ -z $(time_of "$choice") ]] || made=$(date --utc --date="@$(time_of "$choice")" +'%Y-%m-%d %H:%M:%S')

# One that was killed within this second may have taken the name.
until before=${database}_before_$(date --utc +%Y%m%dt%H%M%S) && ! database_exists "$before"; do sleep 1; done

exists=''
if database_exists "$database"; then
  exists=1
  content=$(content_of "$database") || die "cannot look into the database $database; nothing has been changed"
  if [ "${content%% *}" != 0 ] && [ -z "$yes" ]; then
    die "the database $database has ${content%% *} caches and ${content##* } paths; --yes replaces it (it is kept as $before)"
  fi
fi

say "restoring the dump of $made UTC into $new"
fill_database "$new" "$dump" || die "nothing has been changed"
check_database "$new" "$tables" || die "nothing has been changed"
forget_holders "$new" || die "nothing has been changed"

stopped=1
server stop || die "atticd cannot be stopped; nothing has been changed"
if [ -n "$exists" ]; then
  rename_databases "$database" "$before" "$new" "$database" || die "somebody does not leave the database $database"
  swapped=both
else
  rename_databases "$new" "$database" || die "the restored database cannot get its name"
  swapped=one
fi
if ! server start || ! server_is_well; then die "atticd does not come up with the restored database"; fi
stopped='' swapped=''

say "restored: $tables"
[ -z "$exists" ] || say "what was there before is the database $before; when all is well, as the user postgres: dropdb $before"
say "made on $made UTC. Paths pushed later must be pushed again; objects in the bucket that only they used are orphans"
say "now run attic-verify-storage: it finds what the bucket no longer has, so that pushing it again heals it"
