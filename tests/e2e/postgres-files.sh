#!/usr/bin/env bash
# postgres-files.sh FOLDER: lays the machine's PostgreSQL server out as the root of an image, under the
# paths that it knows itself by, with the libraries that it loads.
set -euo pipefail
shopt -s inherit_errexit nullglob
root=$1

programs=(/usr/lib/postgresql/*/bin/postgres)
[ ${#programs[@]} -gt 0 ] || { echo "postgres-files: PostgreSQL's server is not installed" >&2; exit 1; }
bin=$(dirname "${programs[-1]}")
version=$(basename "$(dirname "$bin")")

# take FILE…: files and the libraries that they load, links followed, under the same paths.
take() {
    local file library
    for file; do
        for library in "$file" $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*'); do
            [ -e "$root$library" ] || install -D -m755 "$(realpath -e "$library")" "$root$library"
        done
    done
}

# initdb and psql call a shell.
take "$bin"/{postgres,initdb,psql} /bin/{sh,sed} /usr/lib/postgresql/"$version"/lib/{plpgsql,dict_snowball,libpqwalreceiver}.so
mkdir -p "$root/usr/share/postgresql" "$root"/{etc,run/postgresql,tmp,data}
cp -a "/usr/share/postgresql/$version" "$root/usr/share/postgresql/"
cp -rL /usr/share/zoneinfo "$root/usr/share/zoneinfo"
ln -s "$bin" "$root/pg"
chmod 1777 "$root/tmp" "$root/run/postgresql" "$root/data"
echo 'postgres:x:26:26::/data:/bin/sh' >"$root/etc/passwd"
echo 'postgres:x:26:' >"$root/etc/group"
