#!/usr/bin/env bash
# Runs a command beside a PostgreSQL, a Redis and an Elasticsearch that are started for it on loopback ports, and ends
# them by pid afterwards. `make test-servers` uses it: the same suites as on the embedded stack, over TCP, plus the ones
# that need Elasticsearch.
#
#   deploy/test/servers.sh COMMAND [ARG…]
#
# The command finds LIANKE_TEST_DATABASE_URL, LIANKE_TEST_REDIS_URL and LIANKE_TEST_ELASTICSEARCH_URL. Elasticsearch comes
# from the Maven registry, once, into ${XDG_CACHE_HOME:-~/.cache}/lianke.
set -euo pipefail

ES_VERSION=8.19.7

[ $# -gt 0 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

work=$(mktemp -d /tmp/lianke-servers-XXXXXX)
chmod 711 "$work"
pids=()
postgres=

# say and die go to standard error: standard output belongs to the command.
say() { echo "servers: $*" >&2; }
die() { say "$*"; exit 1; }

cleanup() {
    local pid i
    # INT is PostgreSQL's fast shutdown; the others take TERM.
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    [ -z "$postgres" ] || kill -INT "$postgres" 2>/dev/null || true
    for pid in "${pids[@]}"; do
        for i in $(seq 200); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$i" -lt 150 ] || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1
        done
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# as USER COMMAND…: PostgreSQL and Elasticsearch refuse to run as root.
as() {
    local user=$1
    shift
    if [ "$(id -u)" -ne 0 ]; then exec "$@"; fi
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"
}

user_of() { if id -u "$1" >/dev/null 2>&1; then echo "$1"; else echo nobody; fi; }

give() { if [ "$(id -u)" -eq 0 ]; then chown -R "$1" "$2"; fi; }

# free_port FROM: the first port from there on that nobody listens on.
free_port() {
    local p=$1
    while (: </dev/tcp/127.0.0.1/"$p") 2>/dev/null; do p=$((p + 1)); done
    echo "$p"
}

# wait_for SECONDS PID LOG COMMAND…: until the command succeeds; fails when the process ends or time is up.
wait_for() {
    local limit=$(($1 * 5)) pid=$2 log=$3 i
    shift 3
    for i in $(seq "$limit"); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "the server ended, see above"; }
        sleep 0.2
    done
    tail -n 20 "$log" >&2
    die "the server does not answer, see above"
}

start_postgres() {
    local bin user port dir=$work/postgres
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)
    [ -n "$bin" ] || bin=$(dirname "$(command -v initdb)") || die "PostgreSQL is not installed: run deploy/setup.sh"
    user=$(user_of postgres)
    port=$(free_port 55500)
    mkdir "$dir" "$work/pgsock"
    give "$user" "$dir"
    give "$user" "$work/pgsock"
    (cd / && as "$user" "$bin/initdb" -D "$dir" -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth=trust --no-sync --no-instructions) >"$work/postgres.log" 2>&1 ||
        { cat "$work/postgres.log" >&2; die "initdb failed"; }
    (cd / && as "$user" "$bin/postgres" -D "$dir" -p "$port" -k "$work/pgsock" -c listen_addresses=127.0.0.1 \
        -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=256MB \
        -c max_locks_per_transaction=256 -c jit=off -c max_wal_size=8GB -c timezone=UTC) >>"$work/postgres.log" 2>&1 </dev/null &
    pids+=($!)
    postgres=$!
    wait_for 60 $! "$work/postgres.log" "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" -U postgres
    export LIANKE_TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
    say "PostgreSQL $("$bin/postgres" --version | grep -o '[0-9][0-9.]*' | head -n 1) on port $port"
}

start_redis() {
    local port
    command -v redis-server >/dev/null || die "redis-server is not installed: run deploy/setup.sh"
    port=$(free_port 56500)
    mkdir "$work/redis"
    give "$(user_of redis)" "$work/redis"
    (cd / && as "$(user_of redis)" redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$work/redis") \
        >"$work/redis.log" 2>&1 </dev/null &
    pids+=($!)
    wait_for 30 $! "$work/redis.log" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port && printf 'PING\r\n' >&3 && read -t 2 -r line <&3 && [[ \$line == +PONG* ]]"
    export LIANKE_TEST_REDIS_URL="redis://127.0.0.1:$port/0"
    say "Redis on port $port"
}

start_elasticsearch() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/lianke zip home java port user=nobody
    command -v mvn >/dev/null && command -v java >/dev/null && command -v unzip >/dev/null ||
        die "java, mvn or unzip is missing: run deploy/setup.sh --with-servers"
    zip=$cache/elasticsearch-$ES_VERSION.zip
    if [ ! -s "$zip" ]; then
        say "getting Elasticsearch $ES_VERSION from the Maven registry (about 100 MB, once)"
        mkdir -p "$cache"
        (cd "$work" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
            -Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ES_VERSION:zip -DoutputDirectory="$work/get") >"$work/mvn.log" 2>&1 </dev/null ||
            { tail -n 20 "$work/mvn.log" >&2; die "Elasticsearch cannot be fetched"; }
        mv "$work/get/elasticsearch-$ES_VERSION.zip" "$zip.$$"
        mv "$zip.$$" "$zip"
    fi
    unzip -q "$zip" -d "$work/es"
    home=$work/es/elasticsearch-$ES_VERSION
    port=$(free_port 59500)
    mkdir -p "$work/es/data" "$work/es/logs" "$work/es/tmp"
    cat >"$home/config/elasticsearch.yml" <<YML
cluster.name: lianke-test
discovery.type: single-node
network.host: 127.0.0.1
http.port: $port
transport.port: $(free_port 59700)
path.data: $work/es/data
path.logs: $work/es/logs
node.store.allow_mmap: false
xpack.security.enabled: false
xpack.ml.enabled: false
YML
    give "$user" "$work/es"
    java=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
    (cd / && export ES_JAVA_HOME=$java ES_JAVA_OPTS="-Xms512m -Xmx512m" ES_TMPDIR=$work/es/tmp HOME=$work/es &&
        as "$user" "$home/bin/elasticsearch") >"$work/es.log" 2>&1 </dev/null &
    pids+=($!)
    wait_for 180 $! "$work/es.log" curl -fsS --max-time 5 "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow&timeout=4s"
    export LIANKE_TEST_ELASTICSEARCH_URL="http://127.0.0.1:$port"
    say "Elasticsearch $ES_VERSION on port $port"
}

start_postgres
start_redis
start_elasticsearch

"$@"
