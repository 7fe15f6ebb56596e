#!/bin/sh
# uv with pip's settings, which it does not read itself: envs/uv.sh BIN pip install ...
# BIN is the folder of the environment's programs.
set -eu
bin=$1
shift

setting() { # every value that pip's files and variables give a key, variables first
    "$bin/python" -m pip config list | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p"
}
listed() { # the same on one line, parted by $2
    setting "$1" | tr -s ' ' '\n' | awk '!seen[$0]++' | paste -s -d "$2" -
}

find_links=$(listed find-links ,)
extra=$(listed extra-index-url ' ')
index=$(setting index-url | head -n 1)
cert=$(setting cert | head -n 1)
[ -z "$find_links" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$find_links}"
[ -z "$extra" ] || export UV_EXTRA_INDEX_URL="${UV_EXTRA_INDEX_URL:-$extra}"
[ -z "$index" ] || export UV_INDEX_URL="${UV_INDEX_URL:-$index}"
[ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}" # as pip chooses
export VIRTUAL_ENV="${bin%/bin}"
exec "$bin/uv" "$@"
