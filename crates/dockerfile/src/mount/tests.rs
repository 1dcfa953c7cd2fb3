use super::{Mount, MountKind, Sharing, bytes};
use crate::ast::Command;
use crate::parse;

/// Resolves the mount of a RUN; `$X` becomes `value`.
fn resolve(flag: &str) -> Result<Mount, String> {
    let text = format!("FROM a\nRUN --mount={flag} true\n");
    let file = parse(text.as_bytes()).map_err(|errors| errors[0].to_string())?;
    let Command::Run(run) = &file.stages[0].instructions[0].command else {
        panic!("a RUN")
    };
    let mut expand = |word: &str| Ok(word.replace("$X", "value"));
    run.mounts[0].resolve(&mut expand).map_err(|error| error.message)
}

#[test]
fn fields_and_defaults() {
    let mount = |kind| Mount {
        kind,
        ..Mount::default()
    };
    let bind = Mount {
        readonly: true,
        ..mount(MountKind::Bind)
    };
    for (flag, expected) in [
        (
            "target=/t",
            Mount {
                target: "/t".into(),
                ..bind.clone()
            },
        ),
        (
            "TYPE=Bind,Dst=/t,src=$X,rw",
            Mount {
                target: "/t".into(),
                source: "value".into(),
                readonly: false,
                ..bind.clone()
            },
        ),
        (
            "type=cache,target=/c,id=$X,sharing=LOCKED,mode=0755,uid=1,gid=2,ro",
            Mount {
                target: "/c".into(),
                id: "value".into(),
                sharing: Some(Sharing::Locked),
                mode: Some(0o755),
                uid: Some(1),
                gid: Some(2),
                readonly: true,
                ..mount(MountKind::Cache)
            },
        ),
        (
            "type=tmpfs,target=/t,size=1.5k",
            Mount {
                target: "/t".into(),
                size: 1536,
                ..mount(MountKind::Tmpfs)
            },
        ),
        (
            "type=secret,id=s,env=,required=1",
            Mount {
                id: "s".into(),
                env: Some(String::new()),
                required: true,
                readonly: true,
                ..mount(MountKind::Secret)
            },
        ),
        (
            "type=ssh,required,readwrite=true",
            Mount {
                required: true,
                ..mount(MountKind::Ssh)
            },
        ),
        (
            "from=stage,source=/a,readonly=false",
            Mount {
                from: "stage".into(),
                source: "/a".into(),
                readonly: false,
                ..bind.clone()
            },
        ),
    ] {
        assert_eq!(resolve(flag), Ok(expected), "{flag}");
    }
}

#[test]
fn refusals() {
    for (flag, expected) in [
        ("type=volume", "`type` cannot be `volume`"),
        ("targett=/c", "a mount has no field `targett`"),
        ("nosuch", "a mount has no field `nosuch`"),
        ("target", "`target` lacks its value"),
        (
            "required,type=secret,id=x",
            "a mount of type `bind` has no `required`",
        ),
        ("size=1,type=tmpfs", "a mount of type `bind` has no `size`"),
        ("type=tmpfs,size=big", "`size` cannot be `big`"),
        ("type=bind,mode=0755", "a mount of type `bind` has no `mode`"),
        ("type=tmpfs,gid=1", "a mount of type `tmpfs` has no `gid`"),
        ("type=cache,mode=8", "`mode` cannot be `8`"),
        ("type=cache,uid=+1", "`uid` cannot be `+1`"),
        ("type=cache,sharing=none", "`sharing` cannot be `none`"),
        (
            "sharing=shared",
            "a mount of type `bind` has no `sharing`, only a cache has",
        ),
        ("rw=maybe", "`rw` cannot be `maybe`"),
        ("type=secret,from=s,id=x", "a secret mount has no `from`"),
        ("type=secret", "a secret mount needs an `id` or a `target`"),
        (
            "type=secret,source=a,id=b",
            "a secret mount cannot have both `source` and `id`",
        ),
    ] {
        assert_eq!(resolve(flag), Err(expected.to_owned()), "{flag}");
    }
}

#[test]
fn the_error_of_a_variable_is_passed_on() {
    let file = parse(b"FROM a\nRUN --mount=target=$X true\n").expect("valid");
    let Command::Run(run) = &file.stages[0].instructions[0].command else {
        panic!("a RUN")
    };
    let error = crate::Diagnostic::new("no", run.mounts[0].span);
    assert_eq!(
        run.mounts[0].resolve(&mut |_| Err(error.clone())),
        Err(error.clone())
    );
}

#[test]
fn sizes() {
    for (text, expected) in [
        ("0", Some(0)),
        ("32", Some(32)),
        ("32b", Some(32)),
        ("32k", Some(32 << 10)),
        ("32KB", Some(32 << 10)),
        ("32KiB", Some(32 << 10)),
        ("32 m", Some(32 << 20)),
        ("2.5g", Some(5 << 29)),
        ("1t", Some(1 << 40)),
        ("1p", Some(1 << 50)),
        ("", None),
        ("k", None),
        ("-1", None),
        ("1x", None),
        ("1kk", None),
        ("1bb", None),
        ("1ké", None),
        ("é1", None),
    ] {
        assert_eq!(bytes(text), expected, "{text}");
    }
}
