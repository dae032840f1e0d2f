#!/usr/bin/env bash
# Fetch data sets and pretrained weights: ./get_data.sh --list
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$here/.venv/bin/python"
[ -x "$python" ] || python="$(command -v python3)" || { echo "error: no environment yet: make setup" >&2; exit 2; }
PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m common.get_data "$@"
