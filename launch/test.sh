#!/usr/bin/env bash
# Runs the tests on the CPU.
#
#   bash launch/test.sh                    all of them
#   bash launch/test.sh tests/models -x    a part; arguments go to pytest
#   bash launch/test.sh -n 2 --cov         all, with coverage; takes half as
#                                          long again
#
# Needs Python >= 3.11 (PYTHON=/path/to/python chooses one) and a network the
# first time; sets up .venv. Paths are relative to the root of the repository.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

setup_venv "$TEST_EXTRAS"
cd "$ROOT"
if (($# == 0)); then
  # Compiling takes most of the time, and keeps one core busy: two at a time.
  set -- -n 2 --dist=loadfile
fi
exec "$VENV_PYTHON" -m pytest "$@"
