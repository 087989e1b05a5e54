# Sourced by the launch scripts and .ci/run. `setup_venv EXTRAS` installs this
# package with EXTRAS (such as test,dev) into .venv in the root of the
# repository, at the versions of constraints.txt. An up-to-date .venv is not
# changed. Errors are one line. Sets ROOT, VENV_PYTHON and RQ_JAX_SETUP_SECONDS.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
VENV_PYTHON="$VENV/bin/python"
SETUP_LOG="$VENV/setup.log"
# shellcheck disable=SC2034  # test.sh and .ci/run use it.
TEST_EXTRAS=quickstart,test,dev

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Prints the Python to use: $PYTHON if set, else python3 if it is recent enough,
# else the newest on the path.
find_python() {
  local candidate candidates=(python3 python3.13 python3.12 python3.11)
  [[ -z "${PYTHON:-}" ]] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    # Runs it, because a pyenv shim exists even if its Python does not.
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "Python >= 3.11 is missing (tried ${candidates[*]})." \
    "Install it, or set PYTHON to its path."
}

# Prints the Python of .venv if it is set up, else the one on the path, which
# must have JAX.
installed_python() {
  local python=python
  [[ ! -x "$VENV_PYTHON" ]] || python="$VENV_PYTHON"
  "$python" -c 'import importlib.util, sys
sys.exit(importlib.util.find_spec("jax") is None)' >/dev/null 2>&1 \
    || die "$python has no JAX. Run: pip install -e '.[quickstart]'"
  printf '%s\n' "$python"
}

# Prints a hash of everything except the extras that decides the contents of
# .venv. It includes the path, because a moved environment does not work.
fingerprint() {
  { echo "$ROOT"; "$1" -VV; cat "$ROOT/setup.py" "$ROOT/constraints.txt"; } \
    | sha256sum | cut -d' ' -f1
}

# Whether all of EXTRAS were installed at FINGERPRINT.
is_current() {
  local extra
  for extra in ${1//,/ }; do
    [[ "$(cat "$VENV/installed/$extra" 2>/dev/null)" == "$2" ]] || return 1
  done
}

# Makes an empty .venv, unless there is a working one of the same Python.
create_venv() {
  local words
  if [[ "$("$VENV_PYTHON" -VV 2>/dev/null)" == "$("$1" -VV)" ]] \
      && "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; then
    return
  fi
  "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 \
    || die 'python3-venv is missing. Run: apt install python3-venv'
  words="$("$1" -m venv --clear "$VENV" 2>&1)" \
    || die "$VENV cannot be created: ${words##*$'\n'}"
}

# Downloads all packages, and first pip's own tools, which the builds need. It
# uses `pip download`, because `pip wheel` would leave a build folder in the
# clone. The only dependency without a wheel is built when it is installed.
download() {
  # shellcheck disable=SC2015  # `die` also follows the first command.
  "$VENV_PYTHON" -m pip install -c "$ROOT/constraints.txt" \
    pip setuptools wheel >>"$SETUP_LOG" 2>&1 \
    && "$VENV_PYTHON" -m pip download -d "$VENV/wheels" \
      -c "$ROOT/constraints.txt" --no-build-isolation \
      "${ROOT}[$1]" >>"$SETUP_LOG" 2>&1 \
    || die 'pip cannot download the packages. Check the network, and see' \
      "$SETUP_LOG."
}

# Installs the downloaded packages without the network, and this package in
# place.
install() {
  "$VENV_PYTHON" -m pip install --no-index --find-links "$VENV/wheels" \
    -c "$ROOT/constraints.txt" --no-build-isolation \
    -e "${ROOT}[$1]" >>"$SETUP_LOG" 2>&1 \
    || die "pip cannot install the packages. See $SETUP_LOG."
  rm -r "$VENV/wheels"
}

# Prints the seconds from $1 to now, both in nanoseconds, to a tenth.
seconds_since() {
  local tenths=$((($(date +%s%N) - $1) / 100000000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

setup_venv() {
  local extras="$1" extra python stamp start fetched installed
  python="$(find_python)" || exit
  stamp="$(fingerprint "$python")"
  export RQ_JAX_SETUP_SECONDS='{"download": 0, "install": 0}'
  if is_current "$extras" "$stamp"; then
    return
  fi
  echo "Setting up .venv with $("$python" -V); this takes a minute or two."
  create_venv "$python"
  start="$(date +%s%N)"
  download "$extras"
  fetched="$(seconds_since "$start")"
  echo "Downloaded the packages in $fetched s, installing them ..."
  start="$(date +%s%N)"
  install "$extras"
  installed="$(seconds_since "$start")"
  echo "Installed in $installed s."
  mkdir -p "$VENV/installed"
  for extra in ${extras//,/ }; do
    echo "$stamp" >"$VENV/installed/$extra"
  done
  RQ_JAX_SETUP_SECONDS="{\"download\": $fetched, \"install\": $installed}"
}
