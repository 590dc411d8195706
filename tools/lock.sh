#!/usr/bin/env bash
# Write requirements.lock, the full closure of requirements.in for Python 3.11, and check that
# the same lock resolves for 3.12 and 3.13.
#
# PyTorch is locked without the "+cpu" of its wheel, so that the line also holds where the wheel
# has another suffix; the installation decides where the wheel comes from (tools/setup_env.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${1:-.venv/bin}/uv
find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
export UV_FIND_LINKS=$find_links
flags=()
[ -n "$find_links" ] || flags=(--torch-backend cpu)
new=$(mktemp)
trap 'rm -f "$new"' EXIT
"$uv" pip compile -q "${flags[@]}" --python-version 3.11 --no-header --no-annotate \
  --output-file "$new" requirements.in
{
  echo "# Made by tools/lock.sh from requirements.in; do not edit."
  sed -E 's/^(torch==[0-9.]+)\+cpu$/\1/; /^--/d' "$new"
} > requirements.lock
echo "requirements.lock: $(grep -c == requirements.lock) packages"
for version in 3.12 3.13; do
  # A folder of wheels for one Python need not have the others, so PyPI answers here.
  UV_FIND_LINKS='' "$uv" pip compile -q --python-version "$version" \
    --python-platform x86_64-unknown-linux-gnu requirements.lock > /dev/null
  echo "requirements.lock: resolves for Python $version"
done
