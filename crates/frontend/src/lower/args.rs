//! Arguments before the first FROM, and those that the builder predefines.

use std::collections::BTreeMap;

use distil_dockerfile::expand::Expansion;
use distil_dockerfile::{Diagnostic, Stage, Word};
use distil_llb::{EnvList, pb};
use distil_oci::Platform;

use super::{Lowering, Result};

impl Lowering<'_> {
    /// The predefined arguments, then every global ARG.
    pub(super) fn global_args(&mut self) -> Result<()> {
        self.global_args = self.declared_args(&self.build_args)?;
        Ok(())
    }

    /// The predefined arguments, then every global ARG with its value from `given` or its default.
    pub(super) fn declared_args(&self, given: &BTreeMap<String, String>) -> Result<EnvList> {
        let mut args = self.predefined_args();
        for instruction in &self.dockerfile.meta_args {
            for arg in &instruction.args {
                let value = match (given.get(&arg.key.value), &arg.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.expand_with(&args, default)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    args.set(&arg.key.value, &value);
                }
            }
        }
        Ok(args)
    }

    pub(super) fn predefined_args(&self) -> EnvList {
        let last = self
            .dockerfile
            .stages
            .last()
            .and_then(|stage| stage.name.as_ref());
        let given = self.options.target.as_deref().filter(|target| !target.is_empty());
        let stage = given
            .or(last.map(|name| name.value.as_str()))
            .unwrap_or("default");
        let (build, target) = (&self.options.build_platform, &self.target_platform);
        let without_version = Platform {
            os_version: String::new(),
            os_features: Vec::new(),
            ..build.clone()
        };
        let values = [
            ("BUILDPLATFORM", without_version.to_string()),
            ("BUILDOS", build.os.clone()),
            ("BUILDOSVERSION", build.os_version.clone()),
            ("BUILDARCH", build.architecture.clone()),
            ("BUILDVARIANT", build.variant.clone()),
            ("TARGETPLATFORM", target.to_string()),
            ("TARGETOS", target.os.clone()),
            ("TARGETOSVERSION", target.os_version.clone()),
            ("TARGETARCH", target.architecture.clone()),
            ("TARGETVARIANT", target.variant.clone()),
            ("TARGETSTAGE", stage.to_owned()),
        ];
        let mut args = EnvList::default();
        for (key, value) in values {
            let value = self.build_args.get(key).cloned().unwrap_or(value);
            args.set(key, &value);
        }
        args
    }

    /// Expands a word of a FROM, which sees global arguments only.
    pub(super) fn expand_from(&self, stage: &Stage, word: &Word) -> Result<Expansion> {
        let expansion = self.expansion(&self.global_args, word)?;
        self.lint_from_args(stage, &expansion);
        Ok(expansion)
    }

    pub(super) fn expand_with(&self, env: &EnvList, word: &Word) -> Result<String> {
        self.expansion(env, word).map(|expansion| expansion.text)
    }

    pub(super) fn expansion(&self, env: &EnvList, word: &Word) -> Result<Expansion> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        self.expander()
            .expand(&word.value, &lookup)
            .map_err(|error| Diagnostic::new(error.to_string(), word.span))
    }

    /// Proxies among the build arguments, in either case of their names.
    pub(super) fn proxy_env(&self) -> Option<pb::ProxyEnv> {
        let mut proxy = pb::ProxyEnv::default();
        let mut found = false;
        for (key, value) in &self.build_args {
            let field = match key.to_ascii_lowercase().as_str() {
                "http_proxy" => &mut proxy.http_proxy,
                "https_proxy" => &mut proxy.https_proxy,
                "ftp_proxy" => &mut proxy.ftp_proxy,
                "no_proxy" => &mut proxy.no_proxy,
                "all_proxy" => &mut proxy.all_proxy,
                _ => continue,
            };
            field.clone_from(value);
            found = true;
        }
        found.then_some(proxy)
    }
}
