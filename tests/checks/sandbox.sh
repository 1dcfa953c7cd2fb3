# What a process of RUN sees, and what it leaves.
# Part of tests/end-to-end.

sandbox_facts() {
    local folder text
    folder=$(context <<'END'
FROM busybox
RUN grep -E '^(CapBnd|Seccomp):' /proc/self/status && hostname
RUN for flag in -m -U -n -p; do unshare $flag true 2>&1; done; mount -t tmpfs none /mnt 2>&1; true
RUN --network=none echo "devices: $(ls /sys/class/net 2>/dev/null || sed -n 's/ *\([^ ]*\):.*/\1/p' /proc/net/dev)"
RUN echo app:x:1234:1234::/:/bin/sh >>/etc/passwd && printf 'app:x:1234:\nextra:x:77:app\n' >>/etc/group
USER app
RUN id
USER 4321:8765
RUN id
END
    )
    text=$(build --no-cache "$folder" 2>&1) || die "$text"
    has "$text" "00000000a80425fb" "buildkitsandbox" "uid=1234(app) gid=1234(app) groups=77(extra),1234(app)" \
        "uid=4321 gid=8765"
    say "$text" | grep -Eq 'Seccomp:[[:space:]]+2' || die "no seccomp filter: $text"
    equal "$(say "$text" | grep -c 'unshare(.*Operation not permitted')" 4 "refused calls of unshare"
    has "$text" "mount: permission denied"
    say "$text" | grep -Eq 'devices: lo$' || die "more than lo: $(say "$text" | grep devices:)"
}

# What Docker's profile refuses, asked for by a program of our own.
refused_calls() {
    local folder text
    folder=$(context <<'END'
FROM busybox
COPY calls /calls
RUN ["/calls"]
END
    )
    cat >"$folder/calls.c" <<'END'
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void call(const char *name, long number, long a, long b, long c) {
    errno = 0;
    long result = syscall(number, a, b, c, 0, 0);
    printf("%s: %s\n", name, result == -1 && errno == EPERM ? "EPERM" : strerror(errno));
}
int main(void) {
    char attributes[128] = {0};
    call("keyctl", SYS_keyctl, 0, -3, 0);
    call("unshare", SYS_unshare, 0x10000000, 0, 0);
    call("mount", SYS_mount, (long)"none", (long)"/mnt", (long)"tmpfs");
    call("bpf", SYS_bpf, 0, (long)attributes, sizeof attributes);
    return 0;
}
END
    cc -static -O0 -o "$folder/calls" "$folder/calls.c"
    chmod a+rx "$folder/calls"
    text=$(build "$folder" 2>&1) || die "$text"
    has "$text" "keyctl: EPERM" "unshare: EPERM" "mount: EPERM" "bpf: EPERM"
}

blobs_of() { grep -o '"digest": *"sha256:[0-9a-f]*"' "$1" | grep -o '[0-9a-f]\{64\}'; }

no_trace_in_the_layer() {
    local folder
    folder=$(context <<'END'
FROM busybox
RUN cat /etc/hosts /etc/resolv.conf >/dev/null; hostname; true
END
    )
    build -t trace --add-host db=10.0.0.5 "$folder"
    distil save --format oci-dir -o "$HOME/trace.oci" trace
    local manifest layer
    manifest=$(blobs_of "$HOME/trace.oci/index.json" | head -n 1)
    layer=$(blobs_of "$HOME/trace.oci/blobs/sha256/$manifest" | tail -n 1)
    equal "$(tar -tzf "$HOME/trace.oci/blobs/sha256/$layer")" "" "entries of the layer"
    rm -rf "$HOME/trace.oci"
}
