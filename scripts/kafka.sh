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
# shellcheck source=scripts/java_servers.sh
. "$root/scripts/java_servers.sh"

fetch() { fetch_jars "$jars" org.apache.kafka kafka_2.13 "$version"; }

java_runs() { java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$jars/*" "$@"; }

start() {
    need_java
    fetch
    mkdir -p "$dir"
    if runs "$dir/pid"; then fail "a broker runs already, with process id $(cat "$dir/pid")"; fi
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
    launch "$dir/pid" "$dir/log" java -Xmx512m -Xms256m -XX:+UseSerialGC -cp "$jars/*" kafka.Kafka "$dir/server.properties"
    waited=0
    until answers "$(sed 's/.*://' "$dir/servers")"; do
        runs "$dir/pid" || { tail -20 "$dir/log" >&2 && fail 'the broker ended; its last words are above'; }
        [ $waited -lt 600 ] || fail "the broker does not answer after a minute; see $dir/log"
        waited=$((waited + 1))
        sleep 0.1
    done
    cat "$dir/servers"
}

if [ "${1:-}" = jars ]; then
    fetch
    exit
fi
[ $# -eq 2 ] || fail 'usage: scripts/kafka.sh DIR start|stop|restart, or scripts/kafka.sh jars'
mkdir -p "$1"
dir=$(cd "$1" && pwd)
case $2 in
start) start ;;
stop) end "$dir/pid" 15 ;;
restart) end "$dir/pid" 15 && start ;;
*) fail "there is no '$2'; give start, stop or restart" ;;
esac
