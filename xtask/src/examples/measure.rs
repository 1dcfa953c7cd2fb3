//! One example: built cold and after a change, by distil and buildah, run, audited and compared.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::builders::{Build, Buildah, Distil, Order};
use super::report::{Peer, Row, Timed};
use super::service::{tag, try_out};
use super::spec::{DISTROLESS, Example, SINGLE, bytes};
use super::{Failure, note};

/// Words of a RUN step that installs what a program depends on.
const INSTALLS: &[&str] = &[
    "apt-get install",
    "npm ci",
    "npm install",
    "pip install",
    "go mod download",
    "cargo fetch",
    "dependency:",
];

/// Builds and tries every Dockerfile of an example; what does not hold goes to `faults`.
///
/// # Errors
/// Only what ends the whole run: a signal, or a store or disk that fails. What an example does wrong is a fault.
pub(super) fn measure(
    distil: &Distil,
    buildah: Option<&Buildah>,
    example: &Example,
    work: &Path,
    faults: &mut Vec<String>,
) -> Result<Vec<Row>, Failure> {
    let context = work.join("context");
    let _ = std::fs::remove_dir_all(&context);
    copy(&example.folder, &context)?;
    let mut bases = BTreeSet::new();
    for dockerfile in &example.dockerfiles {
        for order in orders(example, dockerfile, &context) {
            bases.extend(distil.bases(&order.borrow())?);
        }
    }
    let mut rows = Vec::new();
    for dockerfile in &example.dockerfiles {
        let one = One {
            distil,
            buildah,
            example,
            dockerfile,
            context: &context,
        };
        match one.row(faults) {
            Ok(row) => rows.push(row),
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(failure) => faults.push(format!("{} {dockerfile}: {failure}", example.name)),
        }
    }
    facts(distil, example, &mut rows)?;
    for dockerfile in example.dockerfiles.iter().filter(|_| buildah.is_some()) {
        let one = One {
            distil,
            buildah,
            example,
            dockerfile,
            context: &context,
        };
        if let Some(row) = rows.iter_mut().find(|row| row.dockerfile == *dockerfile) {
            row.buildah = one.peer(&bases, patience(&row.cold))?;
        }
    }
    judge(example, &rows, faults)?;
    Ok(rows)
}

/// How long another builder may take for what took distil so long.
fn patience(own: &Timed) -> Duration {
    Duration::from_secs(60) + Duration::from_secs_f64(own.seconds.max(0.0)) * 5
}

/// What is built of a Dockerfile: its last stage, or each of its targets.
struct OwnedOrder<'a> {
    context: &'a Path,
    dockerfile: &'a str,
    target: Option<&'a str>,
    tag: String,
}

impl OwnedOrder<'_> {
    fn borrow(&self) -> Order<'_> {
        Order {
            context: self.context,
            dockerfile: self.dockerfile,
            target: self.target,
            tag: &self.tag,
        }
    }
}

fn orders<'a>(example: &'a Example, dockerfile: &'a str, context: &'a Path) -> Vec<OwnedOrder<'a>> {
    let order = |target: Option<&'a str>| OwnedOrder {
        context,
        dockerfile,
        target,
        tag: tag(example, dockerfile, target),
    };
    let targets = example.targets(dockerfile);
    if targets.is_empty() {
        vec![order(None)]
    } else {
        targets
            .iter()
            .map(|target| order(Some(target.as_str())))
            .collect()
    }
}

struct One<'a> {
    distil: &'a Distil,
    buildah: Option<&'a Buildah>,
    example: &'a Example,
    dockerfile: &'a str,
    context: &'a Path,
}

impl One<'_> {
    fn row(&self, faults: &mut Vec<String>) -> Result<Row, Failure> {
        let name = &self.example.name;
        let dockerfile = self.dockerfile;
        self.distil.forget()?;
        let cold = self.build(|order| self.distil.build(order))?;
        note(&format!("{name} {dockerfile}: built in {}", cold.timed()));
        self.build_beside()?;
        let started = try_out(self.distil, self.example, dockerfile)?;
        if Example::is_distroless(dockerfile) {
            self.audit(faults)?;
        }
        let again = self.after_change(|order| self.distil.build(order))?;
        note(&format!(
            "{name} {dockerfile}: after a change in {}",
            again.timed()
        ));
        for step in reinstalled(&again.log).iter().filter(|_| dockerfile != SINGLE) {
            faults.push(format!("{name} {dockerfile}: runs again after a change: {step}"));
        }
        // So that the image is that of the source.
        self.build(|order| self.distil.build(order))?;
        Ok(Row {
            dockerfile: dockerfile.to_owned(),
            cold: cold.timed(),
            change: again.timed(),
            start_seconds: started.as_secs_f64(),
            ..Row::default()
        })
    }

    /// Builds all images of the Dockerfile, one after the other.
    fn build(&self, build: impl Fn(&Order<'_>) -> Result<Build, Failure>) -> Result<Build, Failure> {
        let mut all: Option<Build> = None;
        for order in orders(self.example, self.dockerfile, self.context) {
            let one = build(&order.borrow())?;
            all = Some(match all {
                None => one,
                Some(before) => before.and(&one),
            });
        }
        all.ok_or_else(|| Failure::new(format!("{} gives no image", self.dockerfile)))
    }

    /// Builds what must run beside the image; it is measured as a part of its own Dockerfile.
    fn build_beside(&self) -> Result<(), Failure> {
        let parts = self.example.spec.variants.get(self.dockerfile);
        for target in parts.map_or(&[][..], |parts| &parts.beside) {
            self.distil.build(&Order {
                context: self.context,
                dockerfile: DISTROLESS,
                target: Some(target),
                tag: &tag(self.example, DISTROLESS, Some(target)),
            })?;
        }
        Ok(())
    }

    /// Builds again with the edit of `[change]`, which is undone after it.
    fn after_change(&self, build: impl Fn(&Order<'_>) -> Result<Build, Failure>) -> Result<Build, Failure> {
        let change = &self.example.spec.change;
        let path = self.context.join(&change.file);
        let fail = |error: std::io::Error| Failure::file(&path, &error);
        let text = std::fs::read_to_string(&path).map_err(fail)?;
        if !text.contains(&change.find) {
            return Err(Failure::new(format!(
                "{}: `{}` of [change] is not in it",
                change.file.display(),
                change.find
            )));
        }
        std::fs::write(&path, text.replacen(&change.find, &change.replace, 1)).map_err(fail)?;
        let built = self.build(build);
        std::fs::write(&path, text).map_err(fail)?;
        built
    }

    fn audit(&self, faults: &mut Vec<String>) -> Result<(), Failure> {
        for order in orders(self.example, self.dockerfile, self.context) {
            match self
                .distil
                .output(["audit", "--policy", "distroless", &order.tag])
            {
                Err(failure) if failure.is_interrupt() => return Err(failure),
                Err(failure) => faults.push(format!("{}: {failure}", order.tag)),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// The same builds by buildah; why not, where it cannot.
    fn peer(&self, bases: &BTreeSet<String>, limit: Duration) -> Result<Option<Peer>, Failure> {
        let Some(buildah) = self.buildah else {
            return Ok(None);
        };
        for base in bases {
            buildah.bring(self.distil, base)?;
        }
        buildah.forget()?;
        let both = self
            .build(|order| buildah.build(order, true, limit))
            .and_then(|cold| {
                Ok((
                    cold,
                    self.after_change(|order| buildah.build(order, false, limit))?,
                ))
            });
        match both {
            Ok((cold, again)) => {
                note(&format!(
                    "{} {}: buildah {}, after a change {}",
                    self.example.name,
                    self.dockerfile,
                    cold.timed(),
                    again.timed()
                ));
                Ok(Some(Peer::Built {
                    cold: cold.timed(),
                    change: again.timed(),
                }))
            }
            Err(failure) if failure.is_interrupt() => Err(failure),
            Err(failure) => {
                let reason = failure.reason();
                note(&format!(
                    "{} {}: buildah cannot: {reason}",
                    self.example.name, self.dockerfile
                ));
                Ok(Some(Peer::Refused { reason }))
            }
        }
    }
}

impl Build {
    fn timed(&self) -> Timed {
        Timed {
            seconds: self.seconds,
            downloads: self.downloads,
        }
    }

    fn and(mut self, next: &Build) -> Build {
        self.seconds += next.seconds;
        self.downloads.bytes += next.downloads.bytes;
        self.downloads.seconds += next.downloads.seconds;
        self.log += &next.log;
        self
    }
}

/// The steps of a log in distil's plain form that install dependencies and were not cached.
fn reinstalled(log: &str) -> Vec<&str> {
    let cached = |id: &str| log.lines().any(|line| line.strip_prefix(id) == Some(" CACHED"));
    log.lines()
        .filter(|line| line.contains("] RUN ") && INSTALLS.iter().any(|word| line.contains(word)))
        .filter(|line| {
            line.split_once(' ')
                .is_some_and(|(id, _)| id.starts_with('#') && !cached(id))
        })
        .collect()
}

/// Fills in what `distil compare` says of the images; several images of one Dockerfile count together.
fn facts(distil: &Distil, example: &Example, rows: &mut [Row]) -> Result<(), Failure> {
    for row in rows {
        let dockerfile = row.dockerfile.clone();
        let mut command = vec!["compare".to_owned(), "--format=json".to_owned()];
        command.extend(
            orders(example, &dockerfile, &example.folder)
                .into_iter()
                .map(|order| order.tag),
        );
        let text = distil.output(command)?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!("`distil compare` gave no JSON: {error}")).with_output(&text)
        })?;
        let sum = |name: &str| -> u64 {
            json["Rows"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|row| row["Name"] == name)
                .flat_map(|row| row["Values"].as_array().into_iter().flatten())
                .filter_map(serde_json::Value::as_u64)
                .sum()
        };
        row.size = sum("Size");
        row.compressed = sum("Compressed");
        row.layers = sum("Layers");
        row.files = sum("Files");
        row.packages = sum("Packages");
        row.shells = sum("Shells");
        row.package_managers = sum("PackageManagers");
        row.network_tools = sum("NetworkTools");
        row.audit_errors = sum("AuditErrors");
    }
    Ok(())
}

/// What must hold for every example; see docs/examples.md.
fn judge(example: &Example, rows: &[Row], faults: &mut Vec<String>) -> Result<(), Failure> {
    let name = &example.name;
    let single = rows
        .iter()
        .find(|row| row.dockerfile == SINGLE)
        .map(|row| row.size);
    for row in rows {
        let what = format!("{name} {}", row.dockerfile);
        if let Some(limit) = example.spec.limits.get(&row.dockerfile)
            && row.size > bytes(limit)?
        {
            faults.push(format!("{what}: {} bytes, more than {limit}", row.size));
        }
        if row.dockerfile != SINGLE && row.change.seconds * 3.0 > row.cold.seconds {
            faults.push(format!(
                "{what}: after a change {:.1} s, more than a third of the first {:.1} s",
                row.change.seconds, row.cold.seconds
            ));
        }
        if !Example::is_distroless(&row.dockerfile) {
            continue;
        }
        for (count, tools) in [
            (row.shells, "shells"),
            (row.package_managers, "package managers"),
            (row.network_tools, "network tools"),
        ] {
            if count > 0 {
                faults.push(format!("{what}: {count} {tools}"));
            }
        }
        if let Some(single) = single
            && row.size * 3 > single
        {
            faults.push(format!(
                "{what}: {} bytes, more than a third of {single}",
                row.size
            ));
        }
    }
    Ok(())
}

/// Copies a folder with its modes, without what a package manager on this machine has put there.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::file(from, &error);
    std::fs::create_dir_all(to).map_err(fail)?;
    for entry in std::fs::read_dir(from).map_err(fail)?.flatten() {
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(fail)?;
        if ["node_modules", "target", "dist", "__pycache__"]
            .iter()
            .any(|name| entry.file_name() == *name)
        {
            continue;
        }
        if kind.is_dir() {
            copy(&source, &dest)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &dest).map_err(|error| Failure::file(&source, &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::reinstalled;

    #[test]
    fn only_steps_that_ran_again_and_install_something() {
        let log = "#4 [build 2/5] RUN apt-get update && apt-get install -y npm\n#4 CACHED\n\n\
                   #5 [build 3/5] RUN npm ci\n#5 0.3 added 60 packages\n#5 DONE 2.1s\n\n\
                   #15 [build 4/5] RUN npm run build\n#15 DONE 0.1s\n";
        assert_eq!(reinstalled(log), ["#5 [build 3/5] RUN npm ci"]);
        assert!(reinstalled(&log.replace("#5 DONE 2.1s", "#5 CACHED")).is_empty());
    }
}
