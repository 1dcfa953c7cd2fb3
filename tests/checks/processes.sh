# Several processes on one store.
# Part of tests/end-to-end.

different_steps_run_together() {
    local one two started number=$RANDOM
    one=$(printf 'FROM busybox\nRUN sleep 2 && echo A%s\n' "$number" | context)
    two=$(printf 'FROM busybox\nRUN sleep 2 && echo B%s\n' "$number" | context)
    started=$(now_ms)
    build -q "$one" &
    local first=$!
    build -q "$two"
    wait "$first"
    [ $(($(now_ms) - started)) -lt 3000 ] || die "it took $(($(now_ms) - started)) ms"
}

equal_steps_run_once() {
    local folder
    folder=$(printf 'FROM busybox\nRUN sleep 1 && date +%%s%%N >/when && echo %s\n' "$RANDOM" | context)
    build -q -t once:1 "$folder" &
    local first=$!
    build -q -t once:2 "$folder"
    wait "$first"
    equal "$(distil run once:1 cat /when)" "$(distil run once:2 cat /when)" "time of the step"
}

waiter_takes_over() {
    local folder mark started runner
    mark=$(marker)
    # The first to run it sleeps for ever, the second finds the file of the first and does not.
    mkdir -p "$HOME/shared"
    folder=$(printf 'FROM busybox\nRUN sleep 3 && date +%%s%%N >/when && : %s\n' "$mark" | context)
    start "$DISTIL" build -q -t waiter:1 "$folder"
    runner=$PID
    within 2000 runs "sleep 3 && date .*$mark"
    build -q -t waiter:2 "$folder" &
    local waiter=$!
    sleep 0.5
    kill -9 "$runner"
    started=$(now_ms)
    wait "$waiter" || die "the waiter failed"
    [ $(($(now_ms) - started)) -lt 4500 ] || die "it took $(($(now_ms) - started)) ms"
    distil run waiter:2 cat /when
    [ -z "$(distil images -q waiter:1)" ] || die "the killed build has an image"
}

new_store_at_once() {
    local folder number jobs=() code=0 job
    export DISTIL_ROOT=$HOME/at-once
    folder=$(context <<'END'
FROM busybox
ARG N
COPY Dockerfile /
RUN echo $N >/n
END
    )
    for number in 1 2 3 4 5 6; do
        build -q -t "once:$number" --build-arg N="$number" "$folder" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || code=1; done
    [ $code -eq 0 ] || die "a build failed"
    for number in 1 2 3 4 5 6; do equal "$(distil run "once:$number" cat /n)" "$number"; done
    equal "$(distil images -q | sort -u | wc -l)" 6 images
    no_orphans
    distil reset --force
}

prune_harms_nothing() {
    local folder stop=$HOME/stop
    rm -f "$stop"
    folder=$(context <<'END'
FROM busybox AS a
ARG N
RUN echo $N >/a && sleep 0.2
RUN cat /a >/aa
FROM busybox AS b
ARG N
COPY Dockerfile /b
RUN echo $N >>/b && sleep 0.1
FROM busybox
COPY --from=a /a /aa /
COPY --from=b /b /
RUN sleep 0.1 && cat /a /aa /b
END
    )
    (
        # shellcheck disable=SC2030
        until [ -e "$stop" ]; do
            distil prune --all --force >/dev/null || say failed >"$stop.failed"
            distil du >/dev/null || say failed >"$stop.failed"
        done
    ) &
    local pruner=$! number code=0
    for number in 1 2 3 4 5 6; do
        build -q -t "pruned:$number" --build-arg N="$RANDOM-$number" "$folder" || code=1
        distil run "pruned:$number" cat /a /aa /b >/dev/null || code=1
    done
    touch "$stop"
    wait "$pruner"
    [ $code -eq 0 ] || die "a build failed"
    [ ! -e "$stop.failed" ] || die "prune failed"
    rm -f "$stop"
    for number in 1 2 3 4 5 6; do distil run "pruned:$number" cat /a /aa /b >/dev/null; done
    no_orphans
}
