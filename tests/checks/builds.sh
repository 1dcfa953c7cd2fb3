# Builds that work, and their images.
# Part of tests/end-to-end.

busybox_calculator() {
    mkdir -p "$1"
    cat >"$1/calculator.sh" <<'END'
#!/bin/sh
while read -r left sign right; do
    awk -v l="$left" -v s="$sign" -v r="$right" 'BEGIN { print s == "*" ? l * r : l / r }'
done
END
    cat >"$1/Dockerfile" <<'END'
FROM busybox AS build
WORKDIR /src
COPY . .
RUN mkdir -p /out/bin && cp calculator.sh /out/bin/calculator && chmod 755 /out/bin/calculator && date >/out/built

FROM busybox
COPY --from=build /out /
ENTRYPOINT ["/bin/calculator"]
END
    chmod -R a+rX "$1"
}

builds_and_runs() {
    busybox_calculator "$HOME/calculator"
    build -t calculator "$HOME/calculator"
    equal "$(printf '2 * 100\n5 / 2\n' | distil run -i calculator)" "200
2.5" answers
    has "$(distil images)" "REPOSITORY" "calculator   latest"
    equal "$(distil images --format '{{.Repository}}' calculator)" calculator
}

cached_builds_need_nothing() {
    local trace=$HOME/trace text
    text=$(build -t calculator "$HOME/calculator" 2>&1)
    has "$text" "RUN mkdir -p /out/bin" CACHED
    as strace -f -qq -e trace=network,unshare,clone,clone3,setns,fork,vfork,execve -o "$trace" \
        "$DISTIL" build -q -t calculator "$HOME/calculator"
    ! grep -E 'socket\(|connect\(|unshare\(|setns\(|CLONE_NEW' "$trace" || die "it did more than read the cache"
    ! grep 'execve(' "$trace" | grep -v "execve(\"$DISTIL\"\|execve(\"/proc/self/exe\", \[\"distil-upkeep\"" ||
        die "it started other programs"
}

standard_input() {
    printf 'FROM busybox\nRUN echo %s >/from-stdin\n' "$RANDOM$RANDOM" >"$HOME/stdin.Dockerfile"
    build -t stdin -f - "$HOME/calculator" <"$HOME/stdin.Dockerfile"
    build -t stdin - <"$HOME/stdin.Dockerfile"
    printf 'FROM busybox\nRUN echo %s >/piped\n' "$RANDOM$RANDOM" | build -t stdin -f - "$HOME/calculator"
    distil run stdin cat /piped
}

images_travel() {
    distil save -o "$HOME/calculator.tar" calculator
    distil save --format oci-dir -o "$HOME/calculator.oci" calculator
    distil rmi calculator
    [ -z "$(distil images -q calculator)" ] || die "it is still there"
    distil load -i "$HOME/calculator.tar"
    equal "$(printf '6 * 7\n' | distil run -i calculator)" 42 answer
    distil rmi calculator
    distil load -i "$HOME/calculator.oci"
    equal "$(printf '6 * 7\n' | distil run -i calculator)" 42 answer
    distil history calculator >/dev/null
    distil inspect calculator >/dev/null
    distil tag calculator other:1
    distil rmi -f calculator other:1
    distil image prune --all --force
    equal "$(distil images -q)" "" images
    rm -rf "$HOME/calculator.tar" "$HOME/calculator.oci"
}

# Owners that only subordinate ids can have, and directories that nobody may read.
foreign_owners() {
    local folder
    folder=$(context <<'END'
FROM busybox
RUN mkdir -p /a/b && echo secret >/a/b/c && chown -R 1000:1000 /a && chmod 000 /a/b && touch /etc/x
RUN rm -rf /etc/x && mkdir /closed && chmod 0 /closed
END
    )
    build -t owners "$folder"
    distil run -u 1000 owners true
    distil rmi owners
    distil prune --all --force
    equal "$(ls "$DISTIL_ROOT/snapshots")" "" snapshots
    no_orphans
}

reset_leaves_nothing() {
    build -t calculator "$HOME/calculator"
    distil reset --force
    [ ! -e "$DISTIL_ROOT" ] || die "left: $(find "$DISTIL_ROOT")"
    within 5000 ended "^distil-upkeep $DISTIL_ROOT"
    [ ! -e "$DISTIL_ROOT" ] || die "it is back: $(find "$DISTIL_ROOT")"
    build -q -t calculator "$HOME/calculator"
}

same_digest() {
    export SOURCE_DATE_EPOCH=1700000000
    local first second folder
    folder=$(context <<'END'
FROM busybox AS build
WORKDIR /src
COPY . .
RUN mkdir -p /out/etc && cp Dockerfile /out/app && date +%N >/dev/null && chown 5:5 /out/etc

FROM busybox
COPY --from=build /out /
RUN echo made >/made && ln -s /made /link
ENTRYPOINT ["/app"]
END
    )
    build --no-cache -t repeat --metadata-file "$HOME/first.json" "$folder"
    sleep 1.1
    DISTIL_ROOT=$HOME/another-store build -t repeat --metadata-file "$HOME/second.json" "$folder"
    DISTIL_ROOT=$HOME/another-store distil reset --force
    first=$(grep -o '"containerimage.digest": *"[^"]*"' "$HOME/first.json")
    second=$(grep -o '"containerimage.digest": *"[^"]*"' "$HOME/second.json")
    [ "$first" ] || die "no digest in $(cat "$HOME/first.json")"
    equal "$second" "$first" "digest of the second build"
    # Root and the ordinary user agree too.
    if [ -e "$WORK/same-digest" ]; then
        equal "$first" "$(cat "$WORK/same-digest")" "digest of the other user's build"
    else
        say "$first" >"$WORK/same-digest"
    fi
}
