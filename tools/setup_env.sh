#!/usr/bin/env bash
# Make the virtual environment $1 and install the locked packages and this project in it.
#
# PYTHON          the interpreter to use (default python3; 3.11 or newer)
# PIP_FIND_LINKS  a folder of wheels; where set (or configured for pip), PyTorch is taken from there.
#                 Otherwise it comes, on Linux, from PyTorch's own CPU index, because the one on PyPI
#                 brings CUDA.
set -euo pipefail
venv=${1:-.venv}
py=${PYTHON:-python3}
uv_version=0.13.9
torch_cpu_index=https://download.pytorch.org/whl/cpu

say() { echo "setup: $*"; }

"$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  say "$py is missing or older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2
  exit 1
}

make_venv() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
  say "making $venv with $("$py" --version)"
  rm -rf "$venv"
  "$py" -m venv "$venv" && return 0
  rm -rf "$venv"
  say "the venv module of $py is incomplete; using virtualenv from PyPI"
  local boot
  boot=$(mktemp -d)
  if "$py" -m pip install -q --target "$boot" virtualenv; then
    PYTHONPATH="$boot" "$py" -m virtualenv -q "$venv" && rm -rf "$boot" && return 0
  fi
  rm -rf "$boot"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing python3-venv with apt-get"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv \
      && "$py" -m venv "$venv" && return 0
  fi
  say "cannot make a virtual environment: install your system's python3-venv package" >&2
  return 1
}
make_venv

bin=$venv/bin
pip() { "$bin/python" -m pip --disable-pip-version-check "$@"; }

find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(pip config get global.find-links 2>/dev/null || true)}}
uv_flags=() pip_flags=()
if [ -n "$find_links" ]; then
  say "PyTorch from ${find_links}"
elif [ "$(uname -s)" = Linux ]; then
  say "PyTorch without CUDA from $torch_cpu_index"
  uv_flags=(--torch-backend cpu)
  pip_flags=(--extra-index-url "$torch_cpu_index")
fi

# uv installs the same lock many times faster; pip does it where uv cannot be had.
say "installing requirements.lock"
if pip install -q "uv==$uv_version" && UV_FIND_LINKS="$find_links" \
  "$bin/uv" pip install -q --compile-bytecode --python "$bin/python" "${uv_flags[@]}" -r requirements.lock; then
  :
else
  say "uv did not succeed (its message is above); installing with pip, which takes minutes"
  pip install -q "${pip_flags[@]}" -r requirements.lock
fi
pip install -q --no-deps --no-build-isolation -e .
pip check >/dev/null || { pip check; exit 1; }
"$bin/python" -c 'import sys, torch
print(f"setup: ready, Python {sys.version.split()[0]}, torch {torch.__version__}")'
