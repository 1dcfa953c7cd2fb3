use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    ClosureCopy, Constraints, EnvList, Exec, FileAction, Graph, Mount, MountKind, Owner, OwnerId, State, caps,
};

fn platform() -> pb::Platform {
    pb::Platform {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..pb::Platform::default()
    }
}

fn image(graph: &mut Graph) -> State {
    let source = pb::SourceOp {
        identifier: "docker-image://docker.io/library/busybox:latest".to_owned(),
        ..pb::SourceOp::default()
    };
    let edge = graph.source(
        source,
        Constraints::named("FROM busybox").needs(caps::SOURCE_IMAGE),
    );
    State::new(Some(edge))
}

fn mkdir(path: &str) -> FileAction {
    FileAction::Mkdir {
        mkdir: pb::FileActionMkDir {
            path: path.to_owned(),
            mode: 0o755,
            timestamp: -1,
            ..pb::FileActionMkDir::default()
        },
        owner: Some(Owner::parse("app:5")),
    }
}

fn execs(graph: &LoadedGraph) -> Vec<&pb::ExecOp> {
    let kinds = graph.nodes().iter().map(|node| &node.kind);
    kinds
        .filter_map(|kind| match kind {
            Kind::Exec(exec) => Some(exec),
            _ => None,
        })
        .collect()
}

#[test]
fn an_empty_result_is_an_empty_definition() {
    let definition = Graph::default().definition(None, &platform());
    assert_eq!(definition, Definition::default());
    assert_eq!(definition.result().unwrap(), None);
    assert_eq!(definition.load().unwrap().nodes(), []);
    let json = definition.to_json().unwrap();
    assert_eq!(json, serde_json::json!({"def": {}, "metadata": {}, "source": {}}));
}

#[test]
fn the_one_of_is_written_last_and_constraints_always() {
    let op = pb::Op {
        op: Some(Kind::Source(pb::SourceOp {
            identifier: "x".to_owned(),
            ..pb::SourceOp::default()
        })),
        platform: None,
        constraints: Some(pb::WorkerConstraints::default()),
        ..pb::Op::default()
    };
    let bytes = op.encode_to_vec();
    assert_eq!(bytes, [0x5a, 0, 0x1a, 3, 0x0a, 1, b'x']);
    assert_eq!(bytes.len(), op.encoded_len());
    assert_eq!(pb::Op::decode(bytes.as_slice()).unwrap(), op);
}

#[test]
fn mounts_are_sorted_and_equal_inputs_share_a_slot() {
    let mut graph = Graph::default();
    let state = image(&mut graph);
    let mount = |target: &str| Mount {
        target: target.to_owned(),
        source: state.output,
        selector: String::new(),
        kind: MountKind::Bind,
        readonly: true,
    };
    let exec = Exec {
        args: vec!["true".to_owned()],
        mounts: vec![mount("/z"), mount("/a")],
        ..Exec::default()
    };
    let edge = graph.exec(&state, exec, Constraints::named("RUN true"));
    let loaded = graph.definition(Some(edge), &platform()).load().unwrap();
    let [exec] = execs(&loaded)[..] else {
        panic!("one exec")
    };
    let mounts: Vec<_> = exec
        .mounts
        .iter()
        .map(|m| (m.dest.as_str(), m.input, m.output))
        .collect();
    assert_eq!(mounts, [("/", 0, 0), ("/a", 0, -1), ("/z", 0, -1)]);
    assert_eq!(loaded.nodes()[1].inputs.len(), 1);
    assert_eq!(loaded.nodes()[1].display_name(), "RUN true");
}

#[test]
fn file_actions_work_on_each_other() {
    let mut graph = Graph::default();
    let state = image(&mut graph);
    let edge = graph.file(
        state.output,
        vec![mkdir("/a"), mkdir("/b")],
        Constraints::default(),
    );
    let loaded = graph.definition(Some(edge), &platform()).load().unwrap();
    let node = &loaded.nodes()[1];
    let Kind::File(file) = &node.kind else {
        panic!("a file op")
    };
    let wired: Vec<_> = file.actions.iter().map(|a| (a.input, a.output)).collect();
    assert_eq!(wired, [(0, -1), (1, 0)]);
    assert_eq!(node.display_name(), "mkdir /a, mkdir /b");
    assert_eq!(node.platform, None);
}

#[test]
fn a_closure_names_its_base_and_its_source() {
    let mut graph = Graph::default();
    let state = image(&mut graph);
    let source = graph.file(None, vec![mkdir("/a")], Constraints::default());
    let copy = ClosureCopy {
        paths: vec!["/bin/x".to_owned()],
        dest: "/".to_owned(),
        owner: Some(Owner::parse("app")),
        mode: -1,
        ..ClosureCopy::default()
    };
    let edge = graph.closure(state.output, source, copy, Constraints::default());
    let definition = graph.definition(Some(edge), &platform());
    let again = Definition::decode(&definition.encode()).unwrap();
    assert_eq!(again, definition);
    let loaded = again.load().unwrap();
    let node = loaded.nodes().last().unwrap();
    let Kind::Closure(closure) = &node.kind else {
        panic!("a closure")
    };
    assert_eq!((closure.base, closure.source, node.inputs.len()), (0, 1, 2));
    assert_eq!(node.display_name(), "closure of /bin/x /");
    assert!(node.metadata.caps.contains_key(caps::FILE_CLOSURE));
    for (base, source, paths, says) in [
        (0, 2, 1, "an input it does not have"),
        (-2, 1, 1, "an input it does not have"),
        (0, -1, 1, "an input it does not have"),
        (0, 1, 0, "has no path"),
    ] {
        let closure = pb::ClosureOp {
            base,
            source,
            paths: closure.paths[..paths].to_vec(),
            ..closure.clone()
        };
        let wrong = check_kind(&Kind::Closure(closure), 2).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
}

#[test]
fn merges_of_one_filesystem_need_no_op() {
    let mut graph = Graph::default();
    let state = image(&mut graph);
    assert_eq!(
        graph.merge(&[None, state.output], Constraints::default()),
        state.output
    );
    assert_eq!(graph.merge(&[None, None], Constraints::default()), None);
}

#[test]
fn owners() {
    let id = |number| OwnerId::Id(number);
    let name = |text: &str| OwnerId::Name(text.to_owned());
    for (text, user, group) in [
        ("5", id(5), None),
        ("root:staff", id(0), Some(name("staff"))),
        ("app:", name("app"), Some(id(0))),
        ("1:2:3", id(1), Some(name("2:3"))),
        ("2147483648", name("2147483648"), None),
        ("-1", id(u32::MAX), None),
    ] {
        assert_eq!(Owner::parse(text), Owner { user, group }, "{text}");
    }
}

#[test]
fn a_variable_that_is_set_again_moves_to_the_end() {
    let mut env = EnvList::default();
    for (key, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
        env.set(key, value);
    }
    assert_eq!(env.to_strings(), ["B=2", "A=3"]);
    env.unset("B");
    assert_eq!((env.get("A"), env.get("B")), (Some("3"), None));
}

/// One valid definition with every kind of op that a Dockerfile makes.
fn sample() -> Definition {
    let mut graph = Graph::default();
    let state = image(&mut graph);
    let file = graph.file(state.output, vec![mkdir("/a")], Constraints::named("WORKDIR /a"));
    let lone = graph.file(None, vec![mkdir("/l")], Constraints::default());
    let merged = graph.merge(&[Some(file), Some(lone)], Constraints::default());
    let exec = Exec {
        args: vec!["true".to_owned()],
        ..Exec::default()
    };
    let edge = graph.exec(&State::new(merged), exec, Constraints::default());
    graph.definition(Some(edge), &platform())
}

#[test]
fn broken_definitions_are_refused() {
    let sample = sample();
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut broken = sample.clone();
        change(&mut broken.def);
        broken.load().unwrap_err().to_string()
    };
    assert!(
        with(&|def| def.truncate(1)).contains("terminal") || with(&|def| def.truncate(1)).contains("inputs")
    );
    assert!(with(&|def| drop(def.remove(0))).contains("does not hold"));
    assert!(with(&|def| def[0] = vec![0xff]).contains("malformed op"));
    assert!(with(&|def| def.insert(0, pb::Op::default().encode_to_vec())).contains("no operation"));
    let idle = pb::Op {
        op: Some(Kind::Exec(pb::ExecOp::default())),
        ..pb::Op::default()
    };
    assert!(with(&|def| def.insert(0, idle.encode_to_vec())).contains("no process"));
    assert!(matches!(
        Definition::decode(&[0xff]),
        Err(DefinitionError::Malformed(_))
    ));
}

#[test]
fn order_does_not_matter_for_loading() {
    let mut shuffled = sample();
    let last = shuffled.def.len() - 1;
    shuffled.def[..last].reverse();
    let (a, b) = (sample().load().unwrap(), shuffled.load().unwrap());
    assert_eq!(a.nodes().len(), b.nodes().len());
    for node in b.nodes() {
        assert!(node.inputs.iter().all(|input| b.get(input.op).is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives, decoding and loading end with an answer.
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(definition) = Definition::decode(&bytes) {
            let _ = definition.load();
            let _ = definition.to_json();
        }
    }

    /// A flipped byte in a valid definition is refused or still a checked graph.
    #[test]
    fn damaged_definitions_are_answered(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = sample().encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(definition) = Definition::decode(&bytes)
            && let Ok(graph) = definition.load()
        {
            for node in graph.nodes() {
                prop_assert!(node.inputs.iter().all(|input| graph.get(input.op).is_some()));
                let _ = node.display_name();
            }
        }
    }

    #[test]
    fn encoding_is_stable(keys in proptest::collection::vec("[a-z]{1,4}", 0..6)) {
        let build = |keys: &[String]| {
            let mut graph = Graph::default();
            let attrs = keys.iter().map(|key| (key.clone(), "v".to_owned())).collect();
            let source = pb::SourceOp { identifier: "local://x".to_owned(), attrs };
            let edge = graph.source(source, Constraints::default());
            graph.definition(Some(edge), &platform()).encode()
        };
        let mut reversed = keys.clone();
        reversed.reverse();
        prop_assert_eq!(build(&keys), build(&reversed));
    }
}
