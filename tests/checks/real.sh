# The real thing: packages, package managers and other container tools.
# Part of tests/end-to-end.

bytes() { distil inspect "$1" | grep -m 1 -o '"Size": *[0-9]*' | grep -o '[0-9]*'; }

go_calculator() {
    local example=$WORK/examples/go-calculator image digest
    unset DISTIL_IMAGE_LAYOUT
    build -t calculator --metadata-file "$HOME/go.json" "$example"
    build -t calculator-single -f "$example/Dockerfile.single" "$example"
    # On a base that distil assembles: accounts, certificates and time zones beside the program.
    build -t calculator-distroless --bases packages -f "$example/Dockerfile.distroless" --metadata-file "$HOME/distroless.json" "$example"
    has "$(cat "$HOME/distroless.json")" "gcr.io/distroless/static-debian12:nonroot"
    distil images
    for image in calculator calculator-single calculator-distroless; do
        has "$(printf '2 * 100\n5 / 2\n' | distil run -i "$image" 2>&1)" "200" "2.5"
    done
    [ "$(bytes calculator-distroless)" -le 5000000 ] || die "calculator-distroless has $(bytes calculator-distroless) bytes"
    [ "$(bytes calculator)" -le 2000000 ] || die "calculator has $(bytes calculator) bytes"
    # What Debian installs for golang-go today is a little less than 1 GB.
    [ "$(bytes calculator-single)" -gt 900000000 ] || die "calculator-single has $(bytes calculator-single) bytes"
    distil save --format oci-dir -o "$HOME/go.oci" calculator
    image=$(blobs_of "$HOME/go.oci/index.json" | head -n 1)
    equal "$(blobs_of "$HOME/go.oci/blobs/sha256/$image" | wc -l)" 2 "config and layers of calculator"
    rm -rf "$HOME/go.oci"
    # Root and the ordinary user each built it cold, in a store of their own.
    SOURCE_DATE_EPOCH=1700000000 build --metadata-file "$HOME/go.json" "$example"
    digest=$(grep -o '"containerimage.digest": *"[^"]*"' "$HOME/go.json")
    if [ -e "$WORK/go-digest" ]; then
        equal "$digest" "$(cat "$WORK/go-digest")" "digest of the other user's build"
    else
        say "$digest" >"$WORK/go-digest"
    fi
}

# An authority and a server of this test alone: $1 is its folder; the port is in PORT, its process in PID, the paths
# that it was asked for in $1/asked.
tls_server() {
    mkdir -p "$1"
    (
        cd "$1"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 \
            -subj "/O=distil tests/CN=Test authority"
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=localhost
        printf 'subjectAltName = DNS:localhost, IP:127.0.0.1\n' >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names
    ) 2>/dev/null
    chmod 644 "$1/ca.pem"
    cat >"$1/server.py" <<'END'
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("asked", "a") as asked:
            asked.write(self.path + "\n")
        self.send_error(404)
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass
server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open("port", "w") as port:
    port.write(str(server.server_port))
server.serve_forever()
END
    (cd "$1" && exec python3 server.py) &
    PID=$!
    within 5000 test -s "$1/port"
    PORT=$(cat "$1/port")
}

# Behind a server with an authority of its own every tool's request arrives with `--host-ca` and none without; the
# step fails in both cases, for the server has nothing. (Node.js takes localhost for ::1.)
host_authorities() {
    local tls=$WORK/tls folder tool with without line
    unset DISTIL_IMAGE_LAYOUT
    tls_server "$tls"
    trap 'kill $PID' EXIT
    folder=$(mktemp -d "$HOME/context.XXXXXX")
    cat >"$folder/settings.xml" <<END
<settings><mirrors><mirror><id>all</id><mirrorOf>*</mirrorOf><url>https://localhost:$PORT/mvn</url></mirror></mirrors></settings>
END
    cat >"$folder/Dockerfile" <<END
FROM debian:bookworm AS tools
RUN apt-get update -q && apt-get install -yq --no-install-recommends \\
    curl wget git python3-pip npm golang-go cargo maven default-jdk-headless
FROM tools
ARG RUN
COPY settings.xml /
RUN : \$RUN; curl -s https://localhost:$PORT/curl; true
RUN : \$RUN; wget -qO- https://localhost:$PORT/wget; true
RUN : \$RUN; git ls-remote https://localhost:$PORT/git; true
RUN : \$RUN; pip download --no-deps --retries 0 --index-url https://localhost:$PORT/pip/ x; true
RUN : \$RUN; npm view x --fetch-retries=0 --registry https://127.0.0.1:$PORT/npm/; true
RUN : \$RUN; mkdir /go && cd /go && go mod init x && GOPROXY=https://localhost:$PORT/go GONOSUMDB=* go get example.test/x@v1.0.0; true
RUN : \$RUN; cargo init -q --vcs none --name x /cargo && cd /cargo && \\
    printf 'x = { git = "https://localhost:$PORT/cargo" }\\n' >>Cargo.toml && CARGO_NET_RETRY=0 cargo fetch; true
RUN : \$RUN; mvn -q -B -s /settings.xml dependency:get -Dartifact=x:x:1; true
RUN : \$RUN; echo "deb [trusted=yes] https://localhost:$PORT/apt ./" >/apt.list && \\
    apt-get update -q -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::sourcelist=/apt.list; true
RUN : \$RUN; printf 'public class F { public static void main(String[] a) throws Exception { new java.net.URL("https://localhost:$PORT/java").openStream(); } }' >F.java && java F.java; true
END
    : >"$tls/asked"
    build --bases packages --build-arg RUN=without "$folder"
    without=$(cat "$tls/asked")
    equal "$without" "" "what arrived without --host-ca"
    build --bases packages --build-arg RUN=with --host-ca="$tls/ca.pem" -t lent "$folder"
    with=$(cat "$tls/asked")
    for tool in curl wget git pip npm go cargo mvn apt java; do
        has "$with" "/$tool"
    done
    # Nothing of the authority is in the store, and the same build without it is cached.
    while read -r line; do
        if [ ${#line} -eq 64 ] && grep -rqF -- "$line" "$DISTIL_ROOT"; then die "the store has $line"; fi
    done <"$tls/ca.pem"
    equal "$(build --bases packages --build-arg RUN=with -t lent "$folder" 2>&1 | grep -c ' CACHED$')" 13 "cached steps"
}

# `--host-ca` changes neither the bundle that `update-ca-certificates` makes nor Java's `cacerts`, in which only the
# times of the entries are those of the build.
same_bundles() {
    local folder way
    unset DISTIL_IMAGE_LAYOUT
    folder=$(context <<'END'
FROM debian:bookworm AS b
RUN apt-get update -q && apt-get install -yq --no-install-recommends ca-certificates curl default-jdk
FROM scratch
COPY --from=b /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/java/cacerts /
END
    )
    build --bases packages --no-cache --host-ca -o "$HOME/with" "$folder"
    build --bases packages --no-cache -o "$HOME/without" "$folder"
    for way in with without; do
        python3 - "$HOME/$way/cacerts" <<'END'
import struct, sys
store = bytearray(open(sys.argv[1], "rb").read())
at = 12
for _ in range(struct.unpack(">I", store[8:12])[0]):
    at += 6 + struct.unpack(">H", store[at + 4:at + 6])[0]
    store[at:at + 8] = bytes(8)
    at += 10 + struct.unpack(">H", store[at + 8:at + 10])[0]
    at += 4 + struct.unpack(">I", store[at:at + 4])[0]
# What follows is a checksum over all of it.
open(sys.argv[1], "wb").write(store[:at])
END
    done
    [ "$(wc -c <"$HOME/with/cacerts")" -gt 100000 ] || die "the keystore is almost empty"
    cmp "$HOME/with/ca-certificates.crt" "$HOME/without/ca-certificates.crt"
    cmp "$HOME/with/cacerts" "$HOME/without/cacerts"
}

# Ctrl-C in the middle of `examples/run` ends everything that it has started and removes what it has made.
examples_are_stopped() {
    local work=$HOME/examples code=0
    unset DISTIL_IMAGE_LAYOUT
    as mkdir "$work"
    cd "$WORK" || exit
    start "$WORK/xtask" examples --distil "$DISTIL" --work "$work" --out "$HOME/tables" go-calculator
    within 180000 runs " build .*$work/.*/Dockerfile.single"
    sleep 2
    kill -INT "$PID"
    within 60000 gone "$PID"
    wait "$PID" || code=$?
    equal "$code" 130 "exit code"
    ended "$work/" || die "still running: $(pgrep -fa "$work/")"
    equal "$(ls -A "$work")" "" "what stays"
    if grep -F "$work" /proc/self/mounts; then die "a mount stays"; fi
}

# One image of each family with the program that it is to run.
elsewhere() {
    local programs=$WORK/programs
    cp -r "$SOURCE/crates/distil/tests/distroless/programs" "$programs"
    command -v go >/dev/null && (cd "$programs" && CGO_ENABLED=0 GO111MODULE=off go build -o go static.go) \
        && say "static-debian12 /programs/go go"
    command -v gcc >/dev/null && gcc -o "$programs/dynamic" "$programs/dynamic.c" \
        && say "base-debian13 /programs/dynamic c"
    command -v g++ >/dev/null && g++ -fopenmp -o "$programs/dynamic-cc" "$programs/dynamic.cc" \
        && say "cc-debian12 /programs/dynamic-cc c++"
    say "python3-debian13 /programs/check.py python"
    if command -v javac >/dev/null; then
        javac --release 17 -d "$programs/classes" "$programs/Check.java"
        jar --create --file "$programs/check.jar" --main-class Check -C "$programs/classes" .
        say "java17-debian12 /programs/check.jar java"
    fi
    say "nodejs20-debian13 /programs/check.js node"
}

# Distroless images, loaded and run by another tool as their own user: $1 are options of its `run`, the rest is
# the tool.
runs_elsewhere() {
    local options=$1 image program word
    shift
    unset DISTIL_IMAGE_LAYOUT
    [ -e "$WORK/elsewhere" ] || elsewhere >"$WORK/elsewhere"
    while read -r image program word; do
        distil base build -q "$image:nonroot"
        distil save -o "$HOME/image.tar" "distil/$image:nonroot"
        "$@" load -i "$HOME/image.tar"
        # shellcheck disable=SC2086
        has "$("$@" run --rm --network none $options -v "$WORK/programs:/programs:ro" "distil/$image:nonroot" \
            "$program" 2>&1)" "$word is well"
        "$@" rmi "distil/$image:nonroot"
        rm "$HOME/image.tar"
    done <"$WORK/elsewhere"
}

in_podman() {
    # Its own limits of files and processes may be higher than this process may set.
    runs_elsewhere "--ulimit nofile=1024:1024 --ulimit nproc=1000:1000" podman --root "$HOME/podman" --runroot "$HOME/podman-run" --cgroup-manager cgroupfs
}

in_docker() {
    local folder=$HOME/docker socket=$HOME/docker/socket
    mkdir -p "$folder"
    start dockerd --host "unix://$socket" --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/pid" --bridge none --iptables=false --ip6tables=false >"$folder/log" 2>&1
    trap 'kill "$PID"; wait "$PID"' EXIT
    if ! within 30000 docker_answers "$socket"; then
        tail -n 5 "$folder/log"
        die "dockerd does not start"
    fi
    runs_elsewhere "" docker --host "unix://$socket"
}
docker_answers() { docker --host "unix://$1" version >/dev/null 2>&1; }

# One of the archives that distil may choose answers.
archive_answers() {
    local urls url
    urls=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^#' | grep -o 'http[^ ]*')
    for url in ${DISTIL_MIRROR-} $urls http://ftp.debian.org/debian; do
        curl -fsI -m 10 -o /dev/null "${url%/}/dists/bookworm/InRelease" && return
    done
    return 1
}
