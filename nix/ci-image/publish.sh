#!/usr/bin/env bash
# Publishes the CI image to a registry, with skopeo and without docker, and only where it is another image.
#
# As a job (any image with Nix that may read the flake; nothing else is needed):
#
#   script:
#     - nix run .#ci-image.publish
#
# Takes from the environment (GitLab sets all that begin with CI_):
#   PIPELINEGEN_IMAGE_REPOSITORY  where to, without a tag; default $CI_REGISTRY_IMAGE/pipelinegen-ci
#   CI_REGISTRY, CI_REGISTRY_USER, CI_REGISTRY_PASSWORD
#                                 the registry's host (with its port) and the login; no user: no login
#   CI_COMMIT_SHA                 becomes a tag, always
#   CI_COMMIT_REF_SLUG            becomes a tag, unless it begins with `latest`
#   CI_COMMIT_BRANCH, CI_DEFAULT_BRANCH
#                                 where they are equal, the tag `latest` is moved too
#   PIPELINEGEN_IMAGE_TAG_SUFFIX  put behind every tag, such as -aarch64: a second system's image
#   PIPELINEGEN_IMAGE_REPORT      folder for the reports; default ci-image-report
#   PIPELINEGEN_IMAGE_TLS_VERIFY  false for a registry that speaks plain HTTP; default true
#   PIPELINEGEN_IMAGE_TRIES, PIPELINEGEN_IMAGE_WAIT
#                                 how often each step is tried (5), seconds before the second try (2, then doubled)
# Set by the Nix package, which makes this script a program:
#   PIPELINEGEN_IMAGE_STREAM      program that writes the image as a docker-archive to its stdout
#   PIPELINEGEN_IMAGE_SIZE        the program of size.sh
#
# Leaves in the report's folder:
#   image.env    PIPELINEGEN_IMAGE=REPOSITORY@sha256:… and PIPELINEGEN_IMAGE_DIGEST=sha256:…; for artifacts:reports:dotenv
#   layers.txt   the layers by compressed size
#   closure.txt  the store paths by size
# Exit codes: 0 published or there already, 1 above the size budget, 2 a setting is missing, 4 the login is refused,
# 75 the registry does not answer.
set -euo pipefail

say() { printf 'ci-image: %s\n' "$*" >&2; }

fail() {
  local code=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$code"
}

repository=${PIPELINEGEN_IMAGE_REPOSITORY:-${CI_REGISTRY_IMAGE:+$CI_REGISTRY_IMAGE/pipelinegen-ci}}
registry=${CI_REGISTRY:-${repository%%/*}}
stream=${PIPELINEGEN_IMAGE_STREAM:?is the program that writes the image}
size=${PIPELINEGEN_IMAGE_SIZE:?is the program that measures the image}
report=${PIPELINEGEN_IMAGE_REPORT:-ci-image-report}
suffix=${PIPELINEGEN_IMAGE_TAG_SUFFIX:-}
verify=${PIPELINEGEN_IMAGE_TLS_VERIFY:-true}
tries=${PIPELINEGEN_IMAGE_TRIES:-5}
wait=${PIPELINEGEN_IMAGE_WAIT:-2}

# Where GitLab has no registry for the project, its variables are empty, and `$CI_REGISTRY_IMAGE/NAME` begins with `/`.
case $repository in
  '' | /*) fail 2 'where to publish is not known: set PIPELINEGEN_IMAGE_REPOSITORY, or CI_REGISTRY_IMAGE' ;;
esac
[ -n "${CI_COMMIT_SHA:-}" ] || fail 2 'CI_COMMIT_SHA is not set: an image is published under its commit'

tags=("$CI_COMMIT_SHA$suffix")
# A branch of that name is not to replace the image of the default branch's jobs, on any system.
case ${CI_COMMIT_REF_SLUG:-latest} in
  latest*) ;;
  *) tags+=("$CI_COMMIT_REF_SLUG$suffix") ;;
esac
if [ -n "${CI_COMMIT_BRANCH:-}" ] && [ "$CI_COMMIT_BRANCH" = "${CI_DEFAULT_BRANCH:-}" ]; then
  tags+=("latest$suffix")
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A login lies in a file that only we can read: arguments are seen by every process of the machine.
login=(--authfile "$work/auth.json")
if [ -n "${CI_REGISTRY_USER:-}" ]; then
  (
    umask 077
    printf '%s:%s' "$CI_REGISTRY_USER" "${CI_REGISTRY_PASSWORD:-}" | base64 | tr -d '\n' |
      jq -Rs --arg registry "$registry" '{auths: {($registry): {auth: .}}}' >"$work/auth.json"
  )
else
  printf '{}' >"$work/auth.json"
fi

# Whose image it is was decided by the build: there is no signature of it for a policy to look at.
skopeo() { command skopeo --insecure-policy --tmpdir "$work" "$@"; }

# attempt COMMAND…: its stdout is in $work/out. Returns 1 where the registry says that it has no such thing.
# Tries again after everything else, since a registry's faults pass; not after a refused login.
attempt() {
  local try=1 pause=$wait
  while ! "$@" >"$work/out" 2>"$work/errors"; do
    case $(<"$work/errors") in
      *'manifest unknown'* | *'name unknown'* | *'repository name not known'*) return 1 ;;
      *unauthorized* | *'authentication required'* | *denied* | *'invalid username/password'*)
        cat "$work/errors" >&2
        fail 4 "$registry refuses the login of '${CI_REGISTRY_USER:-}', or it may not write to $repository"
        ;;
    esac
    cat "$work/errors" >&2
    [ "$try" -lt "$tries" ] || fail 75 "$registry does not do it after $tries tries"
    try=$((try + 1))
    say "trying again in $pause s ($try of $tries)"
    sleep "$pause"
    pause=$((pause * 2))
  done
}

# The digest of an image's configuration, given its manifest on stdin: what names the layers' contents, and unlike
# the manifest does not depend on how a layer was compressed.
configuration() { jq -r '.config.digest // ""'; }

say 'building the layers'
"$stream" >"$work/image.tar"
skopeo copy --quiet "docker-archive:$work/image.tar" "oci:$work/image:new"
rm "$work/image.tar"

mkdir -p "$report"
PIPELINEGEN_IMAGE_REPORT=$report "$size" "$work/image"

manifest=$(jq -r '.manifests[0].digest' "$work/image/index.json")
ours=$(configuration <"$work/image/blobs/${manifest/://}")
[ -n "$ours" ] || fail 1 'the image that was built names no configuration'

digest=
for tag in "${tags[@]}"; do
  name=$repository:$tag
  theirs=
  if attempt skopeo inspect "${login[@]}" "--tls-verify=$verify" --raw "docker://$name"; then
    theirs=$(configuration <"$work/out")
  fi
  if [ "$theirs" = "$ours" ]; then
    say "$name is this image already"
    [ -n "$digest" ] || digest=sha256:$(sha256sum <"$work/out" | cut -d ' ' -f 1)
    continue
  fi
  # The tags after the first one name the very bytes that the registry has by then.
  if [ -n "$digest" ]; then
    from=(--src-authfile "$work/auth.json" "--src-tls-verify=$verify" --preserve-digests "docker://$repository@$digest")
  else
    from=("oci:$work/image:new")
  fi
  attempt skopeo copy --quiet --digestfile "$work/digest" --dest-authfile "$work/auth.json" \
    "--dest-tls-verify=$verify" "${from[@]}" "docker://$name" || fail 75 "$registry lost $repository@$digest meanwhile"
  [ -n "$digest" ] || digest=$(<"$work/digest")
  say "$name is published"
done

printf 'PIPELINEGEN_IMAGE=%s@%s\nPIPELINEGEN_IMAGE_DIGEST=%s\n' "$repository" "$digest" "$digest" >"$report/image.env"
cat "$report/image.env"
