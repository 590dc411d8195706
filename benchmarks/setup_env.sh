#!/usr/bin/env bash
# Make the benchmark's environment $2 with the tools of the project's own environment $1 (made by `make setup`).
#
# PIP_FIND_LINKS  a folder of wheels; where set (or configured for pip), PyTorch is taken from there, otherwise on
#                 Linux from PyTorch's own CPU index.
# A peer that cannot be installed is named here; the benchmark then gives the reason in its table.
set -euo pipefail
cd "$(dirname "$0")/.."
main=$1 venv=$2
l2l=learn2learn-0.2.0

say() { echo "bench: $*"; }

[ -x "$main/bin/uv" ] || { say "$main/bin/uv is missing; run 'make distclean setup' with the network up" >&2; exit 1; }

UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$("$main/bin/python" -m pip config get global.find-links 2>/dev/null || true)}}
export UV_FIND_LINKS
flags=()
[ -n "$UV_FIND_LINKS" ] || [ "$(uname -s)" != Linux ] || flags=(--torch-backend cpu)
install() { "$main/bin/uv" pip install -q --python "$venv/bin/python" -c requirements.lock "${flags[@]}" "$@"; }

say "making $venv"
"$main/bin/uv" venv -q --clear --python "$main/bin/python" "$venv"
install -e ".[data]"
while read -r peer; do
  install "$peer" || say "$peer cannot be installed (the reason is above)"
done < <(grep -v '^#' benchmarks/requirements.txt)

# Only the files that its MAML needs: the package's own __init__ imports gym, torchvision and more.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if "$main/bin/python" -m pip download -q --no-deps --no-binary :all: -d "$work" "${l2l/-/==}"; then
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  tar xzf "$work/$l2l.tar.gz" -C "$site" --strip-components 1 \
    "$l2l"/learn2learn/{_version.py,algorithms/base_learner.py,algorithms/maml.py,utils/__init__.py}
else
  say "learn2learn cannot be downloaded (the reason is above)"
fi
say "ready: $("$venv/bin/python" --version)"
