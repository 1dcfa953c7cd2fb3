# Bad input, and machines that lack something.
# Part of tests/end-to-end.

bad_dockerfiles() {
    local folder
    folder=$(context </dev/null)
    fails "$folder" "Dockerfile" "no instructions"
    rm "$folder/Dockerfile"
    fails "$folder" "$folder/Dockerfile" "No such file" "-f names"
    fails "$folder/nothing" "nothing" "does not exist"
    folder=$(printf 'FROM busybox\nCOPPY a b\nRUNN x\n' | context)
    fails "$folder" "Dockerfile:2" ">>> COPPY a b" 'did you mean `COPY`?' 'did you mean `RUN`?'
    folder=$(printf 'FROM busybox AS build\nCOPY --from=built /a /b\n' | context)
    fails "$folder" "Dockerfile:2" ">>> COPY --from=built" 'built'
    folder=$(printf 'FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\nCOPY --from=a /x /\n' | context)
    fails "$folder" "Dockerfile:4" 'need each other'
    folder=$(printf 'FROM busybox AS one\nFROM busybox AS two\n' | context)
    fails "$folder" 'no stage `three`' 'one, two' -- --target three
    folder=$(printf 'FROM nothing-like-this\n' | context)
    fails "$folder" "Dockerfile:1" 'nothing-like-this' -- --bases registry
}

bad_copies() {
    local folder
    folder=$(printf 'FROM busybox\n\nCOPY missing /x\n' | context)
    fails "$folder" "Dockerfile:3" ">>> COPY missing /x" '`/missing` does not exist in the build context'
    folder=$(printf 'FROM busybox\nCOPY notes.log /x\n' | context)
    printf '# comment\n*.txt\n*.log\n' >"$folder/.dockerignore"
    echo text >"$folder/notes.log"
    fails "$folder" "Dockerfile:2" '`/notes.log` is ignored' "$folder/.dockerignore" '*.log'
    printf 'notes*\n' >"$folder/Dockerfile.dockerignore"
    fails "$folder" '`/notes.log` is ignored' "$folder/Dockerfile.dockerignore" 'notes*'
    folder=$(printf 'FROM busybox\nCOPY ../outside /\n' | context)
    touch "$HOME/outside"
    fails "$folder" "Dockerfile:2" '`/outside` does not exist' '`../outside` cannot leave the context'
    touch "$folder/outside"
    build -q "$folder"
    folder=$(printf 'FROM busybox AS a\nFROM busybox\nCOPY --from=a /missing /x\n' | context)
    fails "$folder" "Dockerfile:3" '`/missing` does not exist'
    folder=$(printf 'FROM busybox\nCOPY link /x\n' | context)
    ln -s /etc/passwd "$folder/link"
    fails "$folder" "Dockerfile:2" '`/link` is a link to `/etc/passwd`' 'links cannot leave it'
    folder=$(printf 'FROM busybox\nCOPY . /x\n' | context)
    echo '[' >"$folder/.dockerignore"
    fails "$folder" "$folder/.dockerignore" 'in pattern `[`'
    folder=$(printf 'FROM busybox\nWORKDIR /bin/sh\n' | context)
    fails "$folder" "Dockerfile:2" 'a directory is needed at `/bin'
    folder=$(printf 'FROM busybox\nCOPY --chown=nobody-here Dockerfile /x\n' | context)
    fails "$folder" "Dockerfile:2" 'no user `nobody-here`'
}

bad_steps() {
    local folder
    folder=$(printf 'FROM busybox\nRUN no-such-command --flag\n' | context)
    fails "$folder" "Dockerfile:2" 'no-such-command: not found' 'exit code: 127'
    folder=$(printf 'FROM busybox\nRUN ["no-such-command"]\n' | context)
    fails "$folder" "Dockerfile:2" 'no-such-command' 'not found'
    folder=$(printf 'FROM busybox\nRUN echo to-out; echo to-err >&2; exit 42\n' | context)
    fails "$folder" "Dockerfile:2" 'to-out' 'to-err' 'exit code: 42'
    folder=$(printf 'FROM busybox\nUSER nobody-here\nRUN true\n' | context)
    fails "$folder" "Dockerfile:3" 'nobody-here'
    folder=$(printf 'FROM busybox\nRUN sh -c "kill -9 \\$\\$"; exit $?\n' | context)
    fails "$folder" "Dockerfile:2" '137'
}

unreachable_archive() {
    local folder
    folder=$(printf 'FROM debian:trixie\nRUN true\n' | context)
    fails "$folder" "Dockerfile:1" '127.0.0.1:1' 'debian' -- --bases packages --mirror http://127.0.0.1:1/debian
}

# What was built before is still there and works.
nothing_lost() { equal "$(printf '3 * 3\n' | distil run -i calculator)" 9 answer; }

no_space() {
    local folder small=$HOME/small
    mkdir -p "$small"
    mount -t tmpfs -o size=24m,mode=777 none "$small"
    folder=$(printf 'FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=64\n' | context)
    export DISTIL_ROOT=$small/store
    fails "$folder" "Dockerfile:2" 'No space left'
    folder=$(printf 'FROM busybox\nCOPY big /\n' | context)
    dd if=/dev/zero of="$folder/big" bs=1M count=64 2>/dev/null
    fails "$folder" "Dockerfile:2" 'o space left'
    folder=$(printf 'FROM busybox\nRUN echo small\n' | context)
    build -q -t small "$folder"
    no_orphans
    distil run small true
    within 5000 ended "^distil-upkeep $DISTIL_ROOT"
    umount "$small"
}

read_only_store() {
    local folder=$HOME/read-only
    mkdir -p "$folder"
    mount -t tmpfs -o size=64m,mode=777 none "$folder"
    export DISTIL_ROOT=$folder/store
    build -q -t kept "$HOME/calculator"
    # Upkeep writes for a moment after the build.
    within 5000 ended "^distil-upkeep $DISTIL_ROOT"
    mount -o remount,ro "$folder"
    fails "$HOME/calculator" 'read-only' "$folder"
    mount -o remount,rw "$folder"
    printf '3 * 3\n' | distil run -i kept
    within 5000 ended "^distil-upkeep $DISTIL_ROOT"
    umount "$folder"
}

newer_store() {
    local before text
    export DISTIL_ROOT=$HOME/newer
    build -q -t kept "$HOME/calculator"
    within 5000 ended "^distil-upkeep $DISTIL_ROOT"
    as sh -c 'echo distil-store 9999 >"$DISTIL_ROOT/version"'
    before=$(cd "$DISTIL_ROOT" && find . -type f | sort)
    fails "$HOME/calculator" '9999' 'newer distil' '--root'
    text=$(distil images 2>&1) && die "it opened: $text"
    has "$text" 9999
    equal "$(cd "$DISTIL_ROOT" && find . -type f | sort)" "$before" "files"
    distil reset --force
    [ ! -e "$DISTIL_ROOT" ] || die "left: $(find "$DISTIL_ROOT")"
}

others_store() {
    local text
    export DISTIL_ROOT=$WORK/root/store
    text=$(distil images 2>&1) && die "it opened: $text"
    has "$text" "permission denied" "another user's store"
    fails "$HOME/calculator" "permission denied" "another user's store"
}
