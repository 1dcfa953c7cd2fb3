//! Names of steps, as progress shows them: `[build 2/4] RUN make`.

use distil_dockerfile::expand::Expander;
use distil_llb::EnvList;
use distil_oci::Platform;

use super::Lowering;
use super::stages::StageId;

impl Lowering<'_> {
    /// Puts stage and number before a step's text, and counts the step. Stages
    /// without numbered steps leave the text alone.
    pub(super) fn step_name(&mut self, id: StageId, text: &str, platform: Option<&Platform>) -> String {
        let stage = &mut self.stages[id.0];
        if stage.step_total == 0 {
            return text.to_owned();
        }
        stage.step_index += 1;
        let mut name = "[".to_owned();
        if self.options.multi_platform
            && let Some(platform) = platform
        {
            name.push_str(&platform.to_string());
            name.push_str(&cross_target(platform, &stage.state.env));
            name.push(' ');
        }
        if !stage.label.is_empty() {
            name.push_str(&stage.label);
            name.push(' ');
        }
        let total = stage.step_total.to_string();
        name.push_str(&format!(
            "{:>width$}/{total}] ",
            stage.step_index,
            width = total.len()
        ));
        if stage.in_trigger {
            name.push_str("ONBUILD ");
        }
        name + text
    }
}

/// The text of an instruction with its name in capitals and variables expanded;
/// as typed when they cannot be.
pub(super) fn command_text(
    expander: Expander,
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> String {
    let expanded = match expander.expand(text, &|name: &str| lookup(name)) {
        Ok(expansion) => expansion.text,
        Err(_) => text.to_owned(),
    };
    match expanded.split_once(' ') {
        Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
        None => expanded.to_uppercase(),
    }
}

/// `->arm64` where the stage builds for another platform than it runs on, by the
/// TARGET arguments that it declares.
fn cross_target(platform: &Platform, env: &EnvList) -> String {
    let Some(mut target) = declared_target(env) else {
        return String::new();
    };
    if target.os.is_empty() {
        target.os.clone_from(&platform.os);
    }
    if target.architecture.is_empty() {
        target.architecture.clone_from(&platform.architecture);
    }
    let target = target.normalized();
    if target.os != platform.os {
        return format!("->{target}");
    }
    if target.architecture == platform.architecture {
        return String::new();
    }
    match target.variant.as_str() {
        "" => format!("->{}", target.architecture),
        variant => format!("->{}/{variant}", target.architecture),
    }
}

fn declared_target(env: &EnvList) -> Option<Platform> {
    let mut target = Platform::default();
    let mut found = false;
    for (key, value) in env.iter() {
        match key {
            "TARGETPLATFORM" => match value.parse() {
                Ok(platform) => return Some(platform),
                Err(_) => continue,
            },
            "TARGETOS" => target.os = value.to_owned(),
            "TARGETARCH" => target.architecture = value.to_owned(),
            "TARGETVARIANT" => target.variant = value.to_owned(),
            _ => continue,
        }
        found = true;
    }
    found.then_some(target)
}
