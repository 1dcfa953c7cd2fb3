//! USER: whether it can be resolved, and whether Kubernetes can tell that it is not root.

use distil_rootfs::users::{self, UserError};

use super::id;
use super::image::Image;
use crate::{AuditError, Severity, printable_text};

impl Image<'_, '_> {
    pub(super) fn check_user(&mut self) -> Result<(), AuditError> {
        let user = self.config().config.user.as_str();
        let shown = printable_text(user);
        let unknown = match users::identity(self.subject.tree, user) {
            Ok(who) => {
                let name = user.split(':').next().unwrap_or_default();
                if !name.is_empty() && name != "root" && !name.bytes().all(|byte| byte.is_ascii_digit()) {
                    let message = format!(
                        "`USER {shown}` is a name: a cluster that demands `runAsNonRoot` cannot tell that it is not \
                         root, and refuses the image"
                    );
                    let fix = format!("write the number: `USER {}:{}`", who.uid, who.gid);
                    let mut finding = self.about_config(id::USER_NOT_NUMERIC, "USER", message).fix(fix);
                    finding.severity = Severity::Note;
                    self.report(finding);
                }
                return Ok(());
            }
            Err(UserError::Tree(error)) => return Err(error.into()),
            Err(error) => error,
        };
        let what = match unknown {
            UserError::UnknownUser { name } => format!(
                "`/etc/passwd` of the image has no user `{}`",
                printable_text(&name)
            ),
            UserError::UnknownGroup { name } => format!(
                "`/etc/group` of the image has no group `{}`",
                printable_text(&name)
            ),
            other => other.to_string(),
        };
        let message = format!("`USER {shown}` cannot be resolved: {what}");
        let fix = "write a number, such as `USER 65532:65532`, or add the account";
        let finding = self.about_config(id::USER_UNKNOWN, "USER", message).fix(fix);
        self.report(finding);
        Ok(())
    }
}
