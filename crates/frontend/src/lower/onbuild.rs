//! ONBUILD triggers of a base, run first in the stage that is built on it.

use std::borrow::Cow;

use distil_dockerfile::{Command, Diagnostic, Span, parse_trigger};

use super::stages::{StageId, Step};
use super::{Lowering, Result};

impl Lowering<'_> {
    /// Puts the triggers of the stage's base before its own steps, once. Returns
    /// whether one of them reads from a stage, so that more may be needed.
    pub(super) fn take_triggers(&mut self, id: StageId) -> Result<bool> {
        let stage = &mut self.stages[id.0];
        let triggers = match stage.base {
            None => std::mem::take(&mut stage.image.config.on_build),
            Some(_) if stage.triggers_taken => return Ok(false),
            Some(base) => {
                stage.triggers_taken = true;
                let steps = self.stages[base.0].steps.iter();
                steps
                    .filter_map(|step| match &step.instruction.command {
                        Command::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
                        _ => None,
                    })
                    .collect()
            }
        };
        let span = self.stages[id.0].span.unwrap_or_default();
        let mut steps = Vec::with_capacity(triggers.len());
        let mut reads_stage = false;
        for trigger in &triggers {
            let instruction =
                parse_trigger(trigger).map_err(|errors| trigger_error(trigger, span, &errors))?;
            let step = Step {
                instruction: Cow::Owned(instruction),
                sources: Vec::new(),
                is_trigger: true,
                span,
            };
            let step = self.add_sources(id, step)?;
            reads_stage |= !step.sources.is_empty();
            steps.push(step);
        }
        let stage = &mut self.stages[id.0];
        stage.step_total += steps.len();
        stage.steps.splice(0..0, steps);
        Ok(reads_stage)
    }
}

fn trigger_error(trigger: &str, span: Span, errors: &[Diagnostic]) -> Diagnostic {
    let reason = errors
        .first()
        .map_or("it is not an instruction", |error| error.message.as_str());
    Diagnostic::new(
        format!("the ONBUILD trigger `{trigger}` of the base is refused: {reason}"),
        span,
    )
}
