//! Messages go through a socket or a buffer and come out the same.

use std::os::fd::AsFd;

use super::*;

fn spec() -> ProcessSpec {
    let root = Mount::Overlay {
        lower: vec!["/a".into(), "/b\u{e9}".into()],
        upper: Some("/u".into()),
        work: Some("/w".into()),
        userxattr: true,
    };
    let mut spec = ProcessSpec::new(root, vec![OsString::from_vec(vec![0xff, b'x'])]);
    spec.env = vec!["A=1".into()];
    spec.user = "app:1".into();
    spec.hosts = Some(vec![1, 2, 3]);
    spec.network = Network::None;
    spec.security = Security::Insecure;
    spec.terminal = Some(TerminalSize::default());
    spec.init = true;
    spec.read_only = true;
    spec.rlimits = vec![Rlimit {
        resource: 7,
        soft: 1,
        hard: u64::MAX,
    }];
    let bind = || Mount::Bind {
        path: "/x".into(),
        readonly: true,
    };
    let sources = [
        MountSource::Bind {
            path: "/h".into(),
            readonly: true,
        },
        MountSource::Tree {
            mount: bind(),
            subpath: "s".into(),
            readonly: false,
        },
        MountSource::Tmpfs(TmpfsOptions {
            size: Some(9),
            mode: Some(0o700),
            uid: 3,
            gid: 4,
            noexec: true,
        }),
        MountSource::File {
            content: vec![0; 300_000],
            uid: 1,
            gid: 2,
            mode: 0o400,
            executable: true,
        },
    ];
    spec.mounts = sources
        .map(|source| ProcessMount {
            target: "/t".into(),
            source,
        })
        .into();
    spec
}

#[test]
fn a_plan_arrives_whole_with_its_descriptors() {
    let (near, far) = UnixStream::pair().unwrap();
    let message = Plan::encode(&spec(), &[7; 16]);
    let sender = std::thread::spawn(move || {
        let (read, write) = sys::pipe().unwrap();
        sys::send_with_descriptors(&near, &message, &[read.as_fd(), write.as_fd()]).unwrap();
    });
    let plan = Plan::receive(&far).unwrap();
    sender.join().unwrap();
    assert_eq!(plan.spec, spec());
    assert_eq!((plan.filter, plan.streams.len()), (vec![7; 16], 2));
}

#[test]
fn damaged_messages_are_errors() {
    let message = Plan::encode(&spec(), &[]);
    for length in (8..message.len()).step_by(97) {
        assert!(read_spec(&mut Reader(&message[8..length.min(600)])).is_err());
    }
    assert!(Report::decode(&[200]).is_err());
    assert!(Report::decode(&[3, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
}

#[test]
fn reports_arrive_unchanged() {
    let (program, detail) = ("p".to_owned(), "d".to_owned());
    let reports = [
        Report::Terminal,
        Report::Ended(ExitStatus::Code(3)),
        Report::Ended(ExitStatus::Signal(9)),
        Report::Setup {
            step: "s".into(),
            errno: 28,
        },
        Report::User(UserError::UnknownUser("u".into())),
        Report::User(UserError::Unreadable {
            path: "/p".into(),
            reason: "r".into(),
        }),
        Report::Start(StartError::NoCommand),
        Report::Start(StartError::Format {
            program: program.clone(),
            detail: detail.clone(),
        }),
        Report::Start(StartError::MissingInterpreter {
            program,
            interpreter: detail,
        }),
    ];
    for report in reports {
        let decoded = Report::decode(&report.encode()[8..]).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{report:?}"));
    }
}
