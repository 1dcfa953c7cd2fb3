# Running distil as somebody, and judging what came of it.
# Part of tests/end-to-end.

# Whose checks run: AS is what comes before a command.
become() {
    WHO=$1
    AS=()
    if [ "$WHO" = user ] && [ "$(id -u)" -eq 0 ]; then
        AS=(setpriv --reuid "$USERNAME" --regid "$USERNAME" --init-groups)
    fi
    export HOME=$WORK/$WHO
    export DISTIL_ROOT=$HOME/store
    mkdir -p "$HOME"
    chmod 755 "$HOME"
    [ ${#AS[@]} -eq 0 ] || chown "$USERNAME:" "$HOME"
}

as() { "${AS[@]}" "$@"; }
distil() { "${AS[@]}" "$DISTIL" "$@"; }
build() { distil build --progress plain "$@"; }

# Starts a program in the background as the leader of a process group of its own; its id is in PID.
start() {
    (exec "${AS[@]}" setsid "$@") &
    PID=$!
}

say() { printf '%s\n' "$*"; }
die() { say "$*" && exit 1; }

# A folder with a Dockerfile from standard input; prints its path.
context() {
    local folder
    folder=$(mktemp -d "$HOME/context.XXXXXX")
    cat >"$folder/Dockerfile"
    chmod -R a+rX "$folder"
    say "$folder"
}

# The text of the first argument has all others.
has() {
    local text=$1 wanted
    shift
    for wanted; do
        case $text in
        *"$wanted"*) ;;
        *) die "not found: $wanted
in: $text" ;;
        esac
    done
}

equal() { [ "$1" = "$2" ] || die "${3:-value}: \`$1\` is not \`$2\`"; }

# The build fails with exit code 1 and says all of this: fails FOLDER WANTED... [-- ARGUMENT...]
fails() {
    local folder=$1 wanted=() text code
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        wanted+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    code=0
    text=$(build "$@" "$folder" 2>&1) || code=$?
    equal "$code" 1 "exit code of a build that says $text"
    has "$text" "ERROR: " "${wanted[@]}"
    case $text in *panicked*) die "it panicked: $text" ;; esac
}

now_ms() { say $(($(date +%s%N) / 1000000)); }

# Calls the rest until it succeeds; fails after so many milliseconds.
within() {
    local end=$(($(now_ms) + $1)) took=$(now_ms)
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || die "still not after $(($(now_ms) - took)) ms: $*"
        sleep 0.02
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }
runs() { pgrep -f "$1" >/dev/null; }
ended() { ! pgrep -f "$1" >/dev/null; }
is_there() { [ -e "$1" ]; }

# A number that no other process has among its arguments.
marker() { say "$((RANDOM % 90000 + 10000))$((RANDOM % 9000 + 1000))"; }

# Nothing under the test's folder is mounted in this mount namespace.
no_mounts() {
    if grep -F "$WORK/$WHO" /proc/self/mounts; then die "a mount stays"; fi
}

# The store has no directory without a row, no row without a directory, and nothing temporary.
no_orphans() {
    distil prune --force >/dev/null || die "prune failed"
    local on_disk known
    on_disk=$(ls "$DISTIL_ROOT/snapshots" | sort)
    if command -v sqlite3 >/dev/null; then
        known=$(as sqlite3 "$DISTIL_ROOT/distil.db" 'SELECT id FROM layers' | sort)
        equal "$on_disk" "$known" "snapshots"
        on_disk=$(ls "$DISTIL_ROOT/blobs/sha256" | sort)
        known=$(as sqlite3 "$DISTIL_ROOT/distil.db" 'SELECT lower(hex(digest)) FROM blobs' | sort)
        equal "$on_disk" "$known" "blobs"
    fi
    equal "$(ls -A "$DISTIL_ROOT/tmp")" "" "temporary files"
    equal "$(ls -A "$DISTIL_ROOT/leases")" "" "leases"
}

# Runs one check, a function that ends the shell when something is wrong.
check() {
    local name="$1 ($WHO)" started log code
    shift
    case $name in *"$ONLY"*) ;; *) return ;; esac
    started=$(now_ms)
    log=$WORK/log
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    code=$?
    if [ $code -eq 0 ]; then
        PASSED=$((PASSED + 1))
        say "ok    $name, $(($(now_ms) - started)) ms"
    else
        FAILED=$((FAILED + 1))
        say "FAIL  $name"
        tail -n 40 "$log" | sed 's/^/      | /'
    fi
}

skip() { case "$1 ($WHO)" in *"$ONLY"*) say "skip  $1 ($WHO): $2" ;; esac }
