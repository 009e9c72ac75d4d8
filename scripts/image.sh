#!/usr/bin/env bash
# The container image: image.sh BINARY NAME [LIMIT]
#
# Packs a copy of BINARY, stripped, and says how many bytes a node pulls; fails above LIMIT megabytes.
# Builds the image NAME where a container engine answers; elsewhere only the size is checked. Wanted
# from the environment: TIDEGATE_PYTHON, whose certifi has the authorities: those of this machine may
# include some that nobody else should trust.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
name=$2
limit=${3:-}

context=$(mktemp -d "target/image-XXXXXX")
trap 'rm -rf "$context"' EXIT
strip -o "$context/tidegate" "$binary"
chmod 755 "$context/tidegate"
install -m644 "$("$TIDEGATE_PYTHON" -m certifi)" "$context/ca-certificates.crt"

if [ "$(ldd "$context/tidegate" 2>&1 | grep -c '=>')" != 0 ]; then
    echo "image: $binary loads libraries; nothing else is in the image" >&2
    exit 1
fi

# A registry keeps layers as gzip makes them by default.
bytes=$(tar -C "$context" -c . | gzip | wc -c)
echo "image: $((bytes / 100000 / 10)).$((bytes / 100000 % 10)) MB compressed"
if [ -n "$limit" ] && [ "$bytes" -gt $((limit * 1000000)) ]; then
    echo "image: more than $limit MB" >&2
    exit 1
fi

if DOCKER_HOST=$(scripts/engine.sh host); then
    export DOCKER_HOST DOCKER_BUILDKIT=0
    version=$("$context/tidegate" --version | cut -d' ' -f2)
    docker build --quiet --file Dockerfile --build-arg VERSION="$version" --tag "$name" "$context" \
        >"$context.log" 2>&1 || { cat "$context.log" >&2; rm -f "$context.log"; exit 1; }
    rm -f "$context.log"
    echo "image: built $name"
else
    echo "image: $name was not built"
fi
