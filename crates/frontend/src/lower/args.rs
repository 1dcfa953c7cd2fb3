//! Arguments before the first FROM, and those that the builder predefines.

use distil_dockerfile::{Diagnostic, Word};
use distil_llb::{EnvList, pb};
use distil_oci::Platform;

use super::{Lowering, Result};

impl Lowering<'_> {
    /// The predefined arguments, then every global ARG.
    pub(super) fn global_args(&mut self) -> Result<()> {
        self.predefined_args();
        for instruction in &self.dockerfile.meta_args {
            for arg in &instruction.args {
                let value = match (self.build_args.get(&arg.key.value), &arg.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.expand_global(default)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.global_args.set(&arg.key.value, &value);
                }
            }
        }
        Ok(())
    }

    fn predefined_args(&mut self) {
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
        for (key, value) in values {
            let value = self.build_args.get(key).cloned().unwrap_or(value);
            self.global_args.set(key, &value);
        }
    }

    /// Expands a word that sees global arguments only.
    pub(super) fn expand_global(&self, word: &Word) -> Result<String> {
        self.expand_with(&self.global_args, word)
    }

    pub(super) fn expand_with(&self, env: &EnvList, word: &Word) -> Result<String> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        match self.expander().expand(&word.value, &lookup) {
            Ok(expansion) => Ok(expansion.text),
            Err(error) => Err(Diagnostic::new(error.to_string(), word.span)),
        }
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
