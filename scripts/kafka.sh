#!/bin/sh
# A real broker of Apache Kafka, for tests: one node (KRaft) on 127.0.0.1, with its data, port and process id in the folder DIR.
#
#     scripts/kafka.sh DIR start      prints host:port once it answers; DIR/more.properties adds to its settings
#     scripts/kafka.sh DIR restart    the same port and data
#     scripts/kafka.sh DIR stop
#     scripts/kafka.sh jars           only fetch the jars
#
# Needs Java 17 or newer, and mvn to fetch the jars once, into $HEADWATER_KAFKA_JARS (default build/kafka under the checkout).
set -eu

version=4.3.1
root=$(cd "$(dirname "$0")/.." && pwd)
jars=${HEADWATER_KAFKA_JARS:-$root/build/kafka}/$version

fail() {
    printf 'kafka.sh: %s\n' "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

fetch_jars() {
    if [ -e "$jars/.complete" ]; then return; fi
    has mvn || fail 'mvn fetches the jars, and is not on PATH; on Debian and Ubuntu: apt-get install maven'
    mkdir -p "$jars"
    pom=$(mktemp -d)
    cat >"$pom/pom.xml" <<EOF
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headwater</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
EOF
    mvn -q -B -f "$pom/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars" >&2 ||
        fail "mvn could not fetch kafka_2.13 $version; its message is above"
    rm -rf "$pom"
    touch "$jars/.complete"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

java_runs() { java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$jars/*" "$@"; }

start() {
    has java || fail 'java is not on PATH; on Debian and Ubuntu: apt-get install default-jre-headless'
    fetch_jars
    mkdir -p "$dir"
    if running; then fail "a broker runs already, with process id $(cat "$dir/pid")"; fi
    if [ ! -e "$dir/server.properties" ]; then
        port=$(free_port) controller=$(free_port)
        cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
log.retention.check.interval.ms=1000
num.network.threads=2
num.io.threads=2
EOF
        if [ -e "$dir/more.properties" ]; then cat "$dir/more.properties" >>"$dir/server.properties"; fi
        echo "127.0.0.1:$port" >"$dir/servers"
        java_runs kafka.tools.StorageTool format -t "$(java_runs kafka.tools.StorageTool random-uuid 2>/dev/null)" \
            -c "$dir/server.properties" >>"$dir/log" 2>&1 || { tail -20 "$dir/log" >&2 && fail 'the storage could not be prepared'; }
    fi
    # A session of its own: a Ctrl-C in the terminal is not meant for it.
    setsid java -Xmx512m -Xms256m -XX:+UseSerialGC -cp "$jars/*" kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    waited=0
    until answers; do
        running || { tail -20 "$dir/log" >&2 && fail 'the broker ended; its last words are above'; }
        [ $waited -lt 600 ] || fail "the broker does not answer after a minute; see $dir/log"
        waited=$((waited + 1))
        sleep 0.1
    done
    cat "$dir/servers"
}

answers() {
    python3 - "$(cat "$dir/servers")" <<'EOF'
import socket, sys
host, port = sys.argv[1].split(":")
try:
    socket.create_connection((host, int(port)), 0.2).close()
except OSError:
    sys.exit(1)
EOF
}

running() { [ -e "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

stop() {
    if running; then
        pid=$(cat "$dir/pid")
        kill "$pid"
        waited=0
        while kill -0 "$pid" 2>/dev/null; do
            if [ $waited -eq 150 ]; then kill -9 "$pid"; fi
            waited=$((waited + 1))
            sleep 0.1
        done
    fi
    rm -f "$dir/pid"
}

if [ "${1:-}" = jars ]; then
    fetch_jars
    exit
fi
[ $# -eq 2 ] || fail 'usage: scripts/kafka.sh DIR start|stop|restart, or scripts/kafka.sh jars'
mkdir -p "$1"
dir=$(cd "$1" && pwd)
case $2 in
start) start ;;
stop) stop ;;
restart) stop && start ;;
*) fail "there is no '$2'; give start, stop or restart" ;;
esac
