//! Definitions as JSON, in the shape BuildKit's `frontend.convertllb` answer has
//! in the golden cases: ops and source map as protobuf JSON (zero values left
//! out, 64-bit numbers as text, bytes in base64), metadata as plain JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::pb::{self, file_action, op, user_opt};
use crate::{Definition, DefinitionError, OpDigest};

impl Definition {
    /// `{"def": {digest: op}, "metadata": {digest: metadata}, "source": ...}`.
    pub fn to_json(&self) -> Result<Value, DefinitionError> {
        let mut def = Map::new();
        for bytes in &self.def {
            let digest = OpDigest::of(bytes);
            let op = pb::Op::decode(bytes.as_slice())
                .map_err(|source| DefinitionError::MalformedOp { digest, source })?;
            def.insert(digest.to_string(), op_json(&op));
        }
        let metadata: Map<String, Value> = self
            .metadata
            .iter()
            .map(|(digest, metadata)| (digest.to_string(), metadata_json(metadata, &PLAIN)))
            .collect();
        let source = self.source.as_ref().map_or_else(|| json!({}), source_json);
        Ok(json!({"def": def, "metadata": metadata, "source": source}))
    }

    /// [`Self::to_json`] as text: sorted keys, one blank per level, final newline.
    pub fn to_json_text(&self) -> Result<String, DefinitionError> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        // A `Value` has text keys only and a `Vec` takes every write.
        let written = serde::Serialize::serialize(&self.to_json()?, &mut serializer);
        debug_assert!(written.is_ok());
        text.push(b'\n');
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// An object that leaves zero values out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.put(key, value.into())
    }

    fn wide(self, key: &str, value: i64) -> Self {
        if value == 0 {
            return self;
        }
        self.put(key, value.to_string().into())
    }

    fn number(self, key: &str, value: impl Into<i64>) -> Self {
        let value = value.into();
        if value == 0 {
            return self;
        }
        self.put(key, value.into())
    }

    fn flag(self, key: &str, value: bool) -> Self {
        if !value {
            return self;
        }
        self.put(key, true.into())
    }

    fn list<T>(self, key: &str, values: &[T], item: impl FnMut(&T) -> Value) -> Self {
        if values.is_empty() {
            return self;
        }
        self.put(key, values.iter().map(item).collect())
    }

    fn texts(self, key: &str, values: &[String]) -> Self {
        self.list(key, values, |value| value.as_str().into())
    }

    fn message<T>(self, key: &str, value: Option<&T>, item: impl FnOnce(&T) -> Value) -> Self {
        match value {
            Some(value) => self.put(key, item(value)),
            None => self,
        }
    }

    fn map<T>(self, key: &str, values: &BTreeMap<String, T>, item: impl Fn(&T) -> Value) -> Self {
        if values.is_empty() {
            return self;
        }
        let object: Map<String, Value> = values.iter().map(|(k, v)| (k.clone(), item(v))).collect();
        self.put(key, object.into())
    }

    /// An enumeration by name; 0 is left out, an unknown number stays a number.
    fn name(self, key: &str, value: i32, names: &[&str]) -> Self {
        if value == 0 {
            return self;
        }
        let name = usize::try_from(value).ok().and_then(|at| names.get(at));
        self.put(key, name.map_or_else(|| value.into(), |&name| name.into()))
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn op_json(op: &pb::Op) -> Value {
    let fields = Fields::default()
        .list("inputs", &op.inputs, |input| {
            Fields::default()
                .text("digest", &input.digest)
                .wide("index", input.index)
                .done()
        })
        .message("platform", op.platform.as_ref(), |p| {
            Fields::default()
                .text("Architecture", &p.architecture)
                .text("OS", &p.os)
                .text("Variant", &p.variant)
                .text("OSVersion", &p.os_version)
                .texts("OSFeatures", &p.os_features)
                .done()
        })
        .message("constraints", op.constraints.as_ref(), |c| {
            Fields::default().texts("filter", &c.filter).done()
        });
    let fields = match &op.op {
        None => fields,
        Some(op::Kind::Exec(exec)) => fields.put("exec", exec_json(exec)),
        Some(op::Kind::Source(source)) => fields.put(
            "source",
            Fields::default()
                .text("identifier", &source.identifier)
                .map("attrs", &source.attrs, |v| v.as_str().into())
                .done(),
        ),
        Some(op::Kind::File(file)) => fields.put(
            "file",
            Fields::default()
                .list("actions", &file.actions, file_action_json)
                .done(),
        ),
        Some(op::Kind::Build(build)) => fields.put("build", build_json(build)),
        Some(op::Kind::Closure(closure)) => fields.put("closure", closure_json(closure)),
        Some(op::Kind::Merge(merge)) => fields.put(
            "merge",
            Fields::default()
                .list("inputs", &merge.inputs, |i| input_json(i.input))
                .done(),
        ),
        Some(op::Kind::Diff(diff)) => fields.put(
            "diff",
            Fields::default()
                .message("lower", diff.lower.as_ref(), |i| input_json(i.input))
                .message("upper", diff.upper.as_ref(), |i| input_json(i.input))
                .done(),
        ),
        Some(op::Kind::Passthrough(pass)) => fields.put(
            "passthrough",
            Fields::default()
                .text("id", &pass.id)
                .list("outputs", &pass.outputs, |o| o.to_string().into())
                .done(),
        ),
    };
    fields.done()
}

fn closure_json(closure: &pb::ClosureOp) -> Value {
    Fields::default()
        .wide("base", closure.base)
        .wide("source", closure.source)
        .texts("paths", &closure.paths)
        .text("dest", &closure.dest)
        .message("owner", closure.owner.as_ref(), owner_json)
        .number("mode", closure.mode)
        .text("modeStr", &closure.mode_str)
        .texts("excludePatterns", &closure.exclude_patterns)
        .done()
}

fn input_json(input: i64) -> Value {
    Fields::default().wide("input", input).done()
}

fn build_json(build: &pb::BuildOp) -> Value {
    Fields::default()
        .wide("builder", build.builder)
        .map("inputs", &build.inputs, |i| input_json(i.input))
        .message("def", build.def.as_deref(), definition_json)
        .map("attrs", &build.attrs, |v| v.as_str().into())
        .done()
}

fn exec_json(exec: &pb::ExecOp) -> Value {
    Fields::default()
        .message("meta", exec.meta.as_ref(), meta_json)
        .list("mounts", &exec.mounts, mount_json)
        .name("network", exec.network, &["UNSET", "HOST", "NONE"])
        .name("security", exec.security, &["SANDBOX", "INSECURE"])
        .list("secretenv", &exec.secretenv, |secret| {
            Fields::default()
                .text("ID", &secret.id)
                .text("name", &secret.name)
                .flag("optional", secret.optional)
                .done()
        })
        .list("cdiDevices", &exec.cdi_devices, |device| {
            Fields::default()
                .text("name", &device.name)
                .flag("optional", device.optional)
                .done()
        })
        .done()
}

fn meta_json(meta: &pb::Meta) -> Value {
    Fields::default()
        .texts("args", &meta.args)
        .texts("env", &meta.env)
        .text("cwd", &meta.cwd)
        .text("user", &meta.user)
        .message("proxyEnv", meta.proxy_env.as_ref(), |proxy| {
            Fields::default()
                .text("httpProxy", &proxy.http_proxy)
                .text("httpsProxy", &proxy.https_proxy)
                .text("ftpProxy", &proxy.ftp_proxy)
                .text("noProxy", &proxy.no_proxy)
                .text("allProxy", &proxy.all_proxy)
                .done()
        })
        .list("extraHosts", &meta.extra_hosts, |host| {
            Fields::default()
                .text("Host", &host.host)
                .text("IP", &host.ip)
                .done()
        })
        .text("hostname", &meta.hostname)
        .list("ulimit", &meta.ulimit, |limit| {
            Fields::default()
                .text("Name", &limit.name)
                .wide("Soft", limit.soft)
                .wide("Hard", limit.hard)
                .done()
        })
        .text("cgroupParent", &meta.cgroup_parent)
        .flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive)
        .list("validExitCodes", &meta.valid_exit_codes, |&code| code.into())
        .done()
}

fn mount_json(mount: &pb::Mount) -> Value {
    let types = ["BIND", "SECRET", "SSH", "CACHE", "TMPFS"];
    Fields::default()
        .wide("input", mount.input)
        .text("selector", &mount.selector)
        .text("dest", &mount.dest)
        .wide("output", mount.output)
        .flag("readonly", mount.readonly)
        .name("mountType", mount.mount_type, &types)
        .message("TmpfsOpt", mount.tmpfs_opt.as_ref(), |tmpfs| {
            Fields::default().wide("size", tmpfs.size).done()
        })
        .message("cacheOpt", mount.cache_opt.as_ref(), |cache| {
            Fields::default()
                .text("ID", &cache.id)
                .name("sharing", cache.sharing, &["SHARED", "PRIVATE", "LOCKED"])
                .done()
        })
        .message("secretOpt", mount.secret_opt.as_ref(), |secret| {
            Fields::default()
                .text("ID", &secret.id)
                .number("uid", secret.uid)
                .number("gid", secret.gid)
                .number("mode", secret.mode)
                .flag("optional", secret.optional)
                .done()
        })
        .message("SSHOpt", mount.ssh_opt.as_ref(), |ssh| {
            Fields::default()
                .text("ID", &ssh.id)
                .number("uid", ssh.uid)
                .number("gid", ssh.gid)
                .number("mode", ssh.mode)
                .flag("optional", ssh.optional)
                .done()
        })
        .text("resultID", &mount.result_id)
        .name("contentCache", mount.content_cache, &["DEFAULT", "ON", "OFF"])
        .done()
}

fn file_action_json(action: &pb::FileAction) -> Value {
    use file_action::Kind;
    let fields = Fields::default()
        .wide("input", action.input)
        .wide("secondaryInput", action.secondary_input)
        .wide("output", action.output);
    match &action.action {
        None => fields,
        Some(Kind::Copy(copy)) => fields.put("copy", copy_json(copy)),
        Some(Kind::Mkfile(file)) => fields.put(
            "mkfile",
            Fields::default()
                .text("path", &file.path)
                .number("mode", file.mode)
                .text("data", &BASE64.encode(&file.data))
                .message("owner", file.owner.as_ref(), owner_json)
                .wide("timestamp", file.timestamp)
                .done(),
        ),
        Some(Kind::Mkdir(dir)) => fields.put(
            "mkdir",
            Fields::default()
                .text("path", &dir.path)
                .number("mode", dir.mode)
                .flag("makeParents", dir.make_parents)
                .message("owner", dir.owner.as_ref(), owner_json)
                .wide("timestamp", dir.timestamp)
                .done(),
        ),
        Some(Kind::Rm(rm)) => fields.put(
            "rm",
            Fields::default()
                .text("path", &rm.path)
                .flag("allowNotFound", rm.allow_not_found)
                .flag("allowWildcard", rm.allow_wildcard)
                .done(),
        ),
        Some(Kind::Symlink(link)) => fields.put(
            "symlink",
            Fields::default()
                .text("oldpath", &link.oldpath)
                .text("newpath", &link.newpath)
                .message("owner", link.owner.as_ref(), owner_json)
                .wide("timestamp", link.timestamp)
                .done(),
        ),
    }
    .done()
}

fn copy_json(copy: &pb::FileActionCopy) -> Value {
    Fields::default()
        .text("src", &copy.src)
        .text("dest", &copy.dest)
        .message("owner", copy.owner.as_ref(), owner_json)
        .number("mode", copy.mode)
        .flag("followSymlink", copy.follow_symlink)
        .flag("dirCopyContents", copy.dir_copy_contents)
        .flag(
            "attemptUnpackDockerCompatibility",
            copy.attempt_unpack_docker_compatibility,
        )
        .flag("createDestPath", copy.create_dest_path)
        .flag("allowWildcard", copy.allow_wildcard)
        .flag("allowEmptyWildcard", copy.allow_empty_wildcard)
        .wide("timestamp", copy.timestamp)
        .texts("includePatterns", &copy.include_patterns)
        .texts("excludePatterns", &copy.exclude_patterns)
        .flag(
            "alwaysReplaceExistingDestPaths",
            copy.always_replace_existing_dest_paths,
        )
        .text("modeStr", &copy.mode_str)
        .texts("requiredPaths", &copy.required_paths)
        .done()
}

fn owner_json(owner: &pb::ChownOpt) -> Value {
    Fields::default()
        .message("user", owner.user.as_ref(), user_json)
        .message("group", owner.group.as_ref(), user_json)
        .done()
}

fn user_json(user: &pb::UserOpt) -> Value {
    match &user.user {
        None => json!({}),
        // A chosen one-of is written even when it is zero.
        Some(user_opt::User::ById(id)) => json!({"byID": id}),
        Some(user_opt::User::ByName(named)) => {
            let named = Fields::default()
                .text("name", &named.name)
                .wide("input", named.input)
                .done();
            json!({"byName": named})
        }
    }
}

/// How the two JSON forms of metadata name their fields and write wide numbers.
struct MetadataStyle {
    ignore_cache: &'static str,
    export_cache: &'static str,
    progress_group: &'static str,
    linux_resources: &'static str,
    wide_as_text: bool,
}

const PLAIN: MetadataStyle = MetadataStyle {
    ignore_cache: "ignore_cache",
    export_cache: "export_cache",
    progress_group: "progress_group",
    linux_resources: "linux_resources",
    wide_as_text: false,
};

const PROTO: MetadataStyle = MetadataStyle {
    ignore_cache: "ignoreCache",
    export_cache: "exportCache",
    progress_group: "progressGroup",
    linux_resources: "linuxResources",
    wide_as_text: true,
};

fn metadata_json(metadata: &pb::OpMetadata, style: &MetadataStyle) -> Value {
    Fields::default()
        .flag(style.ignore_cache, metadata.ignore_cache)
        .map("description", &metadata.description, |v| v.as_str().into())
        .message(style.export_cache, metadata.export_cache.as_ref(), |e| {
            Fields::default().flag("Value", e.value).done()
        })
        .map("caps", &metadata.caps, |&v| v.into())
        .message(style.progress_group, metadata.progress_group.as_ref(), |g| {
            Fields::default()
                .text("id", &g.id)
                .text("name", &g.name)
                .flag("weak", g.weak)
                .done()
        })
        .message(style.linux_resources, metadata.linux_resources.as_ref(), |r| {
            resources_json(r, style.wide_as_text)
        })
        .done()
}

fn resources_json(resources: &pb::LinuxResources, wide_as_text: bool) -> Value {
    let numbers = [
        ("memory", i128::from(resources.memory)),
        ("memorySwap", resources.memory_swap.into()),
        ("cpuShares", resources.cpu_shares.into()),
        ("cpuPeriod", resources.cpu_period.into()),
        ("cpuQuota", resources.cpu_quota.into()),
    ];
    let mut fields = Fields::default();
    for (key, value) in numbers {
        if value == 0 {
            continue;
        }
        let value = if wide_as_text {
            value.to_string().into()
        } else if let Ok(value) = i64::try_from(value) {
            value.into()
        } else {
            resources.cpu_shares.max(resources.cpu_period).into()
        };
        fields = fields.put(key, value);
    }
    fields
        .text("cpusetCpus", &resources.cpuset_cpus)
        .text("cpusetMems", &resources.cpuset_mems)
        .done()
}

fn source_json(source: &pb::Source) -> Value {
    Fields::default()
        .map("locations", &source.locations, |locations| {
            Fields::default()
                .list("locations", &locations.locations, location_json)
                .done()
        })
        .list("infos", &source.infos, |info| {
            Fields::default()
                .text("filename", &info.filename)
                .text("data", &BASE64.encode(&info.data))
                .message("definition", info.definition.as_deref(), definition_json)
                .text("language", &info.language)
                .done()
        })
        .done()
}

fn location_json(location: &pb::Location) -> Value {
    let position = |position: &pb::Position| {
        Fields::default()
            .number("line", position.line)
            .number("character", position.character)
            .done()
    };
    Fields::default()
        .number("sourceIndex", location.source_index)
        .list("ranges", &location.ranges, |range| {
            Fields::default()
                .message("start", range.start.as_ref(), position)
                .message("end", range.end.as_ref(), position)
                .done()
        })
        .done()
}

fn definition_json(definition: &pb::Definition) -> Value {
    Fields::default()
        .list("def", &definition.def, |op| BASE64.encode(op).into())
        .map("metadata", &definition.metadata, |m| metadata_json(m, &PROTO))
        .message("Source", definition.source.as_ref(), source_json)
        .done()
}
