# Builds and programs that end before their end.
# Part of tests/end-to-end.

# A step that ignores signals and leaves the process tree; MARK tells its processes.
stubborn() {
    MARK=$(marker)
    FOLDER=$(context <<END
FROM busybox
RUN trap '' INT TERM HUP; echo begun; (setsid sh -c "trap '' INT TERM HUP; sleep $MARK" &); (setsid sleep $MARK &); sleep $MARK
END
    )
    start "$DISTIL" build --progress plain "$FOLDER"
    within 5000 eval '[ "$(pgrep -fc "^sleep $MARK")" -ge 3 ]'
}

# After a build that was ended at TIME.
nothing_is_left() {
    local folder
    while ! gone "$PID" || runs "sleep $MARK"; do
        [ $(($(now_ms) - TIME)) -lt 1000 ] || die "after 1 s there is still: $(pgrep -fa "sleep $MARK|$FOLDER")"
        sleep 0.01
    done
    say "it took $(($(now_ms) - TIME)) ms"
    wait "$PID" && die "exit code 0"
    no_mounts
    folder=$(printf 'FROM busybox\nRUN echo after %s\n' "$MARK" | context)
    build -q "$folder"
    no_orphans
}

# end HOW: to `distil` alone, to the whole process group, or to everything of distil.
ends_at_once() {
    stubborn
    TIME=$(now_ms)
    kill "-$1" -- "${2-}$PID"
    nothing_is_left
}

inner_is_killed() {
    stubborn
    TIME=$(now_ms)
    kill -9 "$(pgrep -P "$PID" | head -n 1)"
    nothing_is_left
}

killed_run() {
    MARK=$(marker)
    FOLDER=$(printf 'FROM busybox\n' | context)
    build -q -t plain "$FOLDER"
    start "$DISTIL" run --entrypoint sh plain -c "trap '' INT TERM HUP; (setsid sleep $MARK &); sleep $MARK"
    within 5000 eval '[ "$(pgrep -fc "^sleep $MARK")" -ge 2 ]'
    TIME=$(now_ms)
    kill -9 "$PID"
    nothing_is_left
}

# A program of `distil run` that cleans up on a signal, with processes of its own.
stopped_run() {
    MARK=$(marker)
    FOLDER=$(printf 'FROM busybox\n' | context)
    build -q -t plain "$FOLDER"
    start "$DISTIL" run --read-only -u 65532 --entrypoint sh plain \
        -c "(setsid sleep $MARK &); trap 'exit 5' INT TERM; sleep $MARK & wait"
    within 5000 eval '[ "$(pgrep -fc "^sleep $MARK")" -ge 2 ]'
    TIME=$(now_ms)
    kill "-$1" -- "${2-}$PID"
    nothing_is_left
}

# A volume has the owners that the image has, outside as well.
volumes_keep_owners() {
    local folder place script
    folder=$(context <<'END'
FROM busybox
RUN mkdir /data && echo kept >/data/file && chown -R 70:71 /data && chmod 0700 /data
VOLUME /data
END
    )
    build -q -t service "$folder"
    script='cat /data/file; echo more >/data/more; stat -c "%u:%g %a" /data /data/more'
    equal "$(distil run --read-only -u 70:71 -v db:/data service sh -c "$script")" "kept
70:71 700
70:71 644" "the volume"
    equal "$(distil run -v db:/elsewhere service stat -c %u:%g /elsewhere/more)" 70:71 "owner in the next run"
    place=$(distil volume ls --format '{{.Mountpoint}}')
    if [ "$WHO" = root ]; then
        equal "$(stat -c %u "$place")" 70 "owner outside"
    elif [ "$(id -u)" -eq 0 ]; then
        equal "$(stat -c %u "$place")" $((SUBORDINATE + 69)) "owner outside"
    fi
    has "$(distil du)" "Volumes:      10B (1, removed"
    distil prune --force
    equal "$(distil volume rm db)" db
    equal "$(distil volume ls -q)" "" "volumes"
    # One without a name goes with its program.
    equal "$(distil run --read-only -u 70:71 service sh -c 'echo x >/data/x; ls /data')" "file
x"
    no_orphans
}

descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        say "$child"
        descendants "$child"
    done
}

# A Java that a step deletes, moves or copies while authorities are lent to it leaves nothing of them.
java_goes_whole() {
    local folder step
    cp "$SOURCE/crates/distil/tests/cli/authority.pem" "$HOME/authority.pem"
    chmod 644 "$HOME/authority.pem"
    for step in "rm -r /usr/lib/jvm/java" "mv /usr/lib/jvm/java /opt" "cp -a /usr/lib/jvm/java /opt" \
        "cd /usr/lib/jvm && rm java/lib/security/cacerts; rmdir java/lib/security java/lib java ../jvm || true"; do
        folder=$(context <<END
FROM busybox AS java
RUN mkdir -p /opt /usr/lib/jvm/java/lib/security && touch /usr/lib/jvm/java/lib/security/cacerts
FROM java
RUN $step
END
        )
        build -q --no-cache --host-ca="$HOME/authority.pem" -t with "$folder"
        build -q --no-cache -t without "$folder"
        equal "$(distil run with find / -xdev | sort)" "$(distil run without find / -xdev | sort)" "files after \`$step\`"
    done
    if as grep -rqF "$(sed -n 3p "$HOME/authority.pem")" "$DISTIL_ROOT/snapshots"; then die "a layer has the authority"; fi
}

# Ctrl-C in the middle of real downloads, into cache mounts: nothing goes on, and the next build uses them.
# $1 is an example, the rest are pieces of its steps.
downloads_are_stopped() {
    local folder=$WORK/examples/$1 step delay
    shift
    unset DISTIL_IMAGE_LAYOUT
    # The registries of npm and Maven may be reached through a proxy with an authority of its own.
    export DISTIL_HOST_CA=true
    for step; do
        for delay in 0.7 0.3 0.1; do
            ! stopped_in "$folder" "$step" "$delay" || continue 2
            # A fast registry: the step had ended.
            distil prune --all --force
        done
        die "it was too late: $(tail -n 3 "$HOME/log")"
    done
    build --bases packages -t stopped "$folder"
    no_orphans
}

# Ctrl-C so many seconds after step $2 began; 1 when it was too late.
stopped_in() {
    local children child
    start "$DISTIL" build --progress plain --bases packages "$1" >"$HOME/log" 2>&1
    within 600000 grep -qF -- "$2" "$HOME/log"
    sleep "$3"
    children=$(descendants "$PID")
    TIME=$(now_ms)
    kill -INT -- "-$PID"
    for child in "$PID" $children; do
        while ! gone "$child"; do
            [ $(($(now_ms) - TIME)) -lt 5000 ] || die "after 5 s there is still $child"
            sleep 0.01
        done
    done
    no_mounts
    ! wait "$PID" && [ "$children" ]
}

# An ordinary user without subordinate ids is told what is missing, and what mends it.
without_ids() {
    local folder code=0 file
    folder=$(printf 'FROM busybox\nRUN echo %s\n' "$(marker)" | context)
    for file in /etc/subuid /etc/subgid; do sed -i "s/^$USERNAME:/#&/" "$file"; done
    (fails "$folder" /etc/subuid /etc/subgid "usermod --add-subuids" "distil doctor") || code=1
    for file in /etc/subuid /etc/subgid; do sed -i "s/^#\($USERNAME:\)/\1/" "$file"; done
    return $code
}

killed_at_random() {
    local folder number times=10
    [ -z "$ALL" ] || times=50
    folder=$(context <<'END'
FROM busybox AS a
ARG N
RUN echo $N >/a && dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null
COPY . /context
FROM busybox AS b
ARG N
RUN mkdir -p /d && for i in 1 2 3 4 5 6 7 8 9; do echo $N >/d/$i; done && chown -R 7:7 /d
FROM busybox
COPY --from=a /a /big /
COPY --from=b /d /d
RUN rm -rf /d/3 && echo $N >/end
END
    )
    for number in $(seq 300); do echo "$number" >"$folder/file$number"; done
    chmod -R a+rX "$folder"
    for number in $(seq "$times"); do
        start "$DISTIL" build -q -t "killed:$number" --build-arg N="$RANDOM$number" "$folder"
        sleep "0.$(printf '%03d' $((RANDOM % 500)))"
        kill -9 "$PID" 2>/dev/null || true
        wait "$PID" || true
    done
    no_mounts
    build -q -t killed:last --build-arg N=last "$folder"
    has "$(distil run killed:last ls /d)" 1 9
    no_mounts
    no_orphans
}
