# What scripts/kafka.sh and scripts/spark.sh share; they read it. It starts nothing by itself.
# shellcheck shell=sh

fail() {
    printf "$(basename "$0"): %s\n" "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

need_java() { has java || fail 'java is not on PATH; on Debian and Ubuntu: apt-get install default-jre-headless'; }

# fetch_jars DIR GROUP ARTIFACT VERSION [OPTION...]: with all that it needs at run time, once; options are those of copy-dependencies
fetch_jars() {
    jars_dir=$1 group=$2 artifact=$3 artifact_version=$4
    shift 4
    if [ -e "$jars_dir/.complete" ]; then return; fi
    mkdir -p "$jars_dir"
    if has flock && [ -z "${fetches:-}" ]; then # several servers may start at the same time
        fetches=yes
        (flock 9 && fetch_jars "$jars_dir" "$group" "$artifact" "$artifact_version" "$@") 9>"$jars_dir/.lock"
        return
    fi
    has mvn || fail 'mvn fetches the jars, and is not on PATH; on Debian and Ubuntu: apt-get install maven'
    pom=$(mktemp -d)
    cat >"$pom/pom.xml" <<EOF
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headwater</groupId><artifactId>jars</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$artifact_version</version></dependency>
  </dependencies>
</project>
EOF
    mvn -q -B -f "$pom/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "$@" "-DoutputDirectory=$jars_dir" >&2 ||
        fail "mvn could not fetch $artifact $artifact_version; its message is above"
    rm -rf "$pom"
    touch "$jars_dir/.complete"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# answers PORT: does something listen there?
answers() {
    python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 0.2).close()' "$1" 2>/dev/null
}

# runs FILE: does the process run whose id is in the file?
runs() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# launch FILE LOG COMMAND...: writes the process id; in a session of its own, since a Ctrl-C in the terminal is not meant for it
launch() {
    id_file=$1 log_file=$2
    shift 2
    setsid "$@" >>"$log_file" 2>&1 </dev/null &
    echo $! >"$id_file"
}

# end FILE SECONDS: the process whose id is in the file, by force after so long
end() {
    if runs "$1"; then
        kill "$(cat "$1")"
        waited=0
        while runs "$1"; do
            if [ $waited -eq $(($2 * 10)) ]; then kill -9 "$(cat "$1")"; fi
            waited=$((waited + 1))
            sleep 0.1
        done
    fi
    rm -f "$1"
}
