#!/usr/bin/env bash
# Installs what Lianke needs on Debian or Ubuntu and is missing. It never creates, starts or touches a database server of
# the system: lianke runs private ones from the installed programs (docs/architecture.md). Running it again does nothing.
#
#   deploy/setup.sh [--with-browser] [--with-servers] [--with-node]
#
#   --with-browser   also Chromium and Chinese fonts, for the tests in a real browser
#   --with-servers   also Java and Maven, for the tests against Elasticsearch (make test-servers)
#   --with-node      also Node and npm, for the tests with providers' and SDKs' own JavaScript
set -euo pipefail

packages=()
missing=()

# want PROGRAM PACKAGE: the package is missing unless the program is there.
want() {
    command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

has_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null 2>&1
}

browser=false servers=false node=false
for arg in "$@"; do
    case "$arg" in
        --with-browser) browser=true ;;
        --with-servers) servers=true ;;
        --with-node) node=true ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done

has_postgres || packages+=(postgresql)
want redis-server redis-server
want git git
want make make
if $browser; then
    want chromium chromium
    [ -n "$(compgen -G '/usr/share/fonts/opentype/noto/NotoSansCJK*')" ] || packages+=(fonts-noto-cjk)
fi
if $node; then
    want node nodejs
    want npm npm
fi
if $servers; then
    want java default-jre-headless
    want mvn maven
    want unzip unzip
    want curl curl
fi

if ! command -v go >/dev/null 2>&1; then
    missing+=("Go 1.26 or newer: https://go.dev/dl/ (Debian's own is older)")
fi

if [ ${#packages[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: this is not Debian or Ubuntu; please install: ${packages[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "setup: missing: ${packages[*]}. Run as root:" >&2
        printf '  mkdir -p /etc/postgresql-common\n  echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf   # if the file does not exist\n' >&2
        printf '  apt-get update && apt-get install -y --no-install-recommends %s\n' "${packages[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${packages[*]}"
    policy=/usr/sbin/policy-rc.d made_policy=false made_conf=false
    conf=/etc/postgresql-common/createcluster.conf
    cleanup() {
        if $made_policy; then rm -f "$policy"; fi
    }
    trap cleanup EXIT
    # No system cluster is created …
    if [ ! -e "$conf" ]; then
        mkdir -p "$(dirname "$conf")"
        echo "create_main_cluster = false" >"$conf"
        made_conf=true
    elif ! grep -Eq '^[[:space:]]*create_main_cluster[[:space:]]*=[[:space:]]*(false|no|off|0)' "$conf"; then
        # … also where the file says otherwise: for the time of this installation only.
        cp -p "$conf" "$conf.lianke"
        cleanup() {
            if $made_policy; then rm -f "$policy"; fi
            mv -f "$conf.lianke" "$conf"
        }
        echo "create_main_cluster = false" >>"$conf"
    fi
    # … and no service is started by the packages.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=true
    fi
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    options=(-y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300)
    if ! { apt-get update && apt-get install "${options[@]}" "${packages[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "setup: apt-get failed; the lines above are the end of $log" >&2
        exit 1
    fi
    rm -f "$log"
    # The redis package enables its service for the next boot; ours is private.
    case " ${packages[*]} " in
        *" redis-server "*)
            if command -v systemctl >/dev/null 2>&1; then systemctl disable --quiet redis-server >/dev/null 2>&1 || true; fi ;;
    esac
    if $made_conf; then echo "setup: $conf now says create_main_cluster = false"; fi
fi

if [ ${#missing[@]} -gt 0 ]; then
    printf 'setup: please install %s\n' "${missing[@]}" >&2
    exit 1
fi
