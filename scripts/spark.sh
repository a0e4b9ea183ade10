#!/bin/sh
# A real cluster of Apache Spark, for tests and the bench: a master, two workers with one core each, and a server of Spark Connect, on
# 127.0.0.1, with their logs and process ids in the folder DIR. HEADWATER_SPARK_WORKERS=1 starts one worker.
#
#     scripts/spark.sh DIR start [iceberg]    prints the URL of Spark Connect, sc://127.0.0.1:PORT, once it answers
#     scripts/spark.sh DIR stop
#     scripts/spark.sh install [iceberg]      only install Spark, and the jars of Delta or Iceberg
#
# Spark is the newest version, with Delta; `iceberg` is the newest that Iceberg has jars for, with Iceberg in the catalog `lake`.
#
# Needs Java 17 or newer. Spark is the package pyspark, installed once into a virtual environment of its own in $HEADWATER_SPARK (default
# build/spark under the checkout). Delta and Iceberg need mvn, which fetches their jars there once; without it the cluster has none.
# The workers run Python of $HEADWATER_SPARK_PYTHON (default .venv/bin/python of the checkout).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
installed=${HEADWATER_SPARK:-$root/build/spark}
worker_python=${HEADWATER_SPARK_PYTHON:-$root/.venv/bin/python}
# shellcheck source=scripts/java_servers.sh
. "$root/scripts/java_servers.sh"

# The versions of Spark and of the jars of a format of tables.
choose() {
    lake=${1:-delta}
    case $lake in
    delta) version=4.2.0 jars=4.4.0 group=io.delta artifact=delta-spark_4.2_2.13 ;;
    iceberg) version=4.1.4 jars=1.12.0 group=org.apache.iceberg artifact=iceberg-spark-runtime-4.1_2.13 ;;
    *) fail "there is no '$lake'; give iceberg, or nothing for delta" ;;
    esac
    home=$installed/$version lakes=$installed/$lake-$jars
}

install() {
    if [ -e "$home/.complete" ]; then return; fi
    rm -rf "$home"
    mkdir -p "$(dirname "$home")"
    if has uv; then
        uv venv --quiet --python "${PYTHON:-python3}" "$home"
        uv pip install --quiet --python "$home/bin/python" "pyspark==$version"
    else
        "${PYTHON:-python3}" -m venv "$home"
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$home/bin/python" -m pip install --quiet "pyspark==$version"
    fi
    touch "$home/.complete"
}

fetch_lakes() {
    if has mvn; then fetch_jars "$lakes" "$group" "$artifact" "$jars" "-DincludeGroupIds=$group"; fi
}

# The options of spark-submit for Delta or Iceberg, one a line; none without the jars.
lake_options() {
    if [ ! -e "$lakes/.complete" ]; then return; fi
    printf '%s\n' --jars "$(find "$lakes/" -name '*.jar' | sort | paste -sd, -)"
    case $lake in
    delta)
        printf '%s\n' --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \
            --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog
        ;;
    iceberg)
        printf '%s\n' --conf spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions \
            --conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog --conf spark.sql.catalog.lake.type=hadoop \
            --conf "spark.sql.catalog.lake.warehouse=$dir/lake" \
            --conf spark.sql.session.localRelationSizeLimit=3221225472 # a client of Spark 4.2 cannot read the default of 4.1, 3221225472b
        ;;
    esac
}

begin() { # NAME COMMAND...
    name=$1
    shift
    launch "$dir/$name.pid" "$dir/$name.log" "$@"
}

wait_for() {
    waited=0
    until grep -qs "$2" "$dir/$1.log"; do
        runs "$dir/$1.pid" || { tail -20 "$dir/$1.log" >&2 && stop && fail "the $1 of Spark ended; its last words are above"; }
        [ $waited -lt 600 ] || { stop && fail "the $1 of Spark does not start within a minute; see $dir/$1.log"; }
        waited=$((waited + 1))
        sleep 0.1
    done
}

start() {
    need_java
    install
    fetch_lakes
    if runs "$dir/connect.pid"; then fail "a cluster runs already; the process id of its Connect server is $(cat "$dir/connect.pid")"; fi
    SPARK_HOME=$(echo "$home"/lib/python3*/site-packages/pyspark)
    export SPARK_HOME SPARK_LOCAL_IP=127.0.0.1 SPARK_LOCAL_DIRS="$dir/local" PYSPARK_PYTHON="$worker_python" SPARK_DAEMON_MEMORY=256m
    export SPARK_NO_DAEMONIZE=1 SPARK_DAEMON_JAVA_OPTS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'
    mkdir -p "$dir/local"
    port=$(free_port) connect=$(free_port)
    begin master "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master --host 127.0.0.1 --port "$port" --webui-port 0
    wait_for master 'I have been elected leader'
    for number in $(seq "${HEADWATER_SPARK_WORKERS:-2}"); do
        begin "worker$number" "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --webui-port 0 \
            --cores 1 --memory 1g --work-dir "$dir/work$number" "spark://127.0.0.1:$port"
    done
    export SPARK_DAEMON_MEMORY=1g # of the Connect server
    IFS='
'
    # shellcheck disable=SC2046 # one option a line
    begin connect "$SPARK_HOME/bin/spark-submit" $(lake_options) --class org.apache.spark.sql.connect.service.SparkConnectServer \
        --master "spark://127.0.0.1:$port" --executor-memory 768m --executor-cores 1 \
        --conf spark.driver.host=127.0.0.1 --conf spark.connect.grpc.binding.address=127.0.0.1 \
        --conf "spark.connect.grpc.binding.port=$connect" --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=4 \
        --conf "spark.sql.warehouse.dir=$dir/warehouse" --conf "spark.pyspark.python=$worker_python" --conf spark.log.level=WARN \
        --conf 'spark.executor.extraJavaOptions=-XX:+UseSerialGC' --conf 'spark.driver.extraJavaOptions=-XX:+UseSerialGC' spark-internal
    unset IFS
    waited=0
    until answers "$connect"; do
        runs "$dir/connect.pid" || { tail -20 "$dir/connect.log" >&2 && stop && fail 'the Connect server ended; its last words are above'; }
        [ $waited -lt 900 ] || { stop && fail "the Connect server does not answer within 90 seconds; see $dir/connect.log"; }
        waited=$((waited + 1))
        sleep 0.1
    done
    echo "sc://127.0.0.1:$connect" | tee "$dir/url"
}

stop() {
    for name in connect worker1 worker2 master; do
        end "$dir/$name.pid" 10
    done
}

if [ "${1:-}" = install ]; then
    choose "${2:-}"
    install
    fetch_lakes
    exit
fi
[ $# -ge 2 ] || fail 'usage: scripts/spark.sh DIR start [iceberg], scripts/spark.sh DIR stop, or scripts/spark.sh install [iceberg]'
mkdir -p "$1"
dir=$(cd "$1" && pwd)
case $2 in
start) choose "${3:-}" && start ;;
stop) stop ;;
*) fail "there is no '$2'; give start or stop" ;;
esac
