#!/usr/bin/env bash
# Make the branch `reader`: the last commit with the readers' notebooks of FOLDER in place of the chapters. It is what
# the launch buttons of the pages open. The working tree and its branch stay as they are.
#
#   tools/reader_branch.sh FOLDER      (after: make book; FOLDER is _build/html/reader)
set -euo pipefail
folder=$1
index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT
export GIT_INDEX_FILE=$index/index
git read-tree HEAD
add() { git update-index --add --cacheinfo "$1,$(git hash-object -w --stdin),$2"; }
for file in "$folder"/*.ipynb; do
  add 100644 "notebooks/$(basename "$file")" < "$file"
done
# Binder runs this: plain Markdown reads right without MyST only
printf '#!/bin/sh\njupyter labextension disable jupyterlab-myst\n' | add 100755 postBuild
commit=$(git commit-tree "$(git write-tree)" -p HEAD -m "Readers' notebooks of $(git rev-parse --short HEAD)")
git update-ref refs/heads/reader "$commit"
echo "branch reader: $commit"
