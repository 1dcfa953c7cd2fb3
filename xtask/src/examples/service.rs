//! The images of an example are started and asked.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Failure;
use super::builders::Distil;
use super::process::{self, Running};
use super::spec::{Ask, DISTROLESS, Example, Serve, Talk, Target};

const START: Duration = Duration::from_secs(120);
const TALK: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);
/// A service that is asked to end has this long.
const END: Duration = Duration::from_secs(5);
const RUNS: usize = 3;

/// The name of an image of this run.
pub(super) fn tag(example: &Example, dockerfile: &str, target: Option<&str>) -> String {
    let kind = dockerfile.strip_prefix("Dockerfile.").unwrap_or("multi-stage");
    match target {
        Some(target) => format!("examples/{}-{target}:{kind}", example.name),
        None => format!("examples/{}:{kind}", example.name),
    }
}

/// Tries the images of a Dockerfile and gives the median start-up time: until a service answers, or until a program
/// that reads its input ends. What must be distroless runs as uid 65532 with a read-only root.
pub(super) fn try_out(distil: &Distil, example: &Example, dockerfile: &str) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for round in 0..RUNS {
        times.push(match (&example.spec.talk, &example.spec.serve) {
            (Some(talk), _) => talk_once(distil, example, dockerfile, talk)?,
            (None, Some(serve)) => serve_once(distil, example, dockerfile, serve, round == 0)?,
            (None, None) => Duration::ZERO,
        });
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn confined(dockerfile: &str) -> Vec<String> {
    if Example::is_distroless(dockerfile) {
        ["-u", "65532:65532", "--read-only"].map(str::to_owned).to_vec()
    } else {
        Vec::new()
    }
}

fn talk_once(distil: &Distil, example: &Example, dockerfile: &str, talk: &Talk) -> Result<Duration, Failure> {
    let image = tag(example, dockerfile, None);
    let mut command = distil.command(["run", "-i", "--rm"]);
    command.args(confined(dockerfile)).arg(&image).args(&talk.args);
    let begin = Instant::now();
    let ended = process::run(command, &talk.input, TALK)?;
    let took = begin.elapsed();
    if !ended.status.success() {
        return Err(Failure::new(format!("`{image}` ended with {}", ended.status)).with_output(&ended.output));
    }
    let mut rest = ended.output.as_str();
    for answer in &talk.answers {
        match rest.split_once(answer.as_str()) {
            Some((_, after)) => rest = after,
            None => {
                return Err(
                    Failure::new(format!("`{image}` does not answer `{answer}`")).with_output(&ended.output)
                );
            }
        }
    }
    Ok(took)
}

fn serve_once(
    distil: &Distil,
    example: &Example,
    dockerfile: &str,
    serve: &Serve,
    ask: bool,
) -> Result<Duration, Failure> {
    let parts = example.spec.variants.get(dockerfile);
    let mut before = Vec::new();
    for name in parts.map_or(&[][..], |parts| &parts.beside) {
        before.push(start_target(distil, example, DISTROLESS, name)?);
    }
    let (last, earlier) = match example.targets(dockerfile).split_last() {
        Some((last, earlier)) => (Some(last), earlier),
        None => (None, &[][..]),
    };
    for name in earlier {
        before.push(start_target(distil, example, dockerfile, name)?);
    }
    free(serve.port)?;
    let mut command = distil.command(["run", "--rm"]);
    command.args(confined(dockerfile));
    options(
        &mut command,
        &serve.env.iter().collect::<Vec<_>>(),
        &serve.tmpfs,
        &[],
        Some(serve.port),
    );
    if let Some(target) = last.and_then(|name| example.spec.targets.get(name)) {
        options(
            &mut command,
            &target.env.iter().collect::<Vec<_>>(),
            &target.tmpfs,
            &target.volumes,
            None,
        );
    }
    command.arg(tag(example, dockerfile, last.map(String::as_str)));
    let begin = Instant::now();
    let mut running = Running::start(command, "")?;
    let client = Client::new(serve.port);
    until(&mut running, || client.is_healthy(&serve.health))?;
    let took = begin.elapsed();
    let answers = if ask { client.ask_all(&serve.asks) } else { Ok(()) };
    let ended = running.stop();
    answers.map_err(|failure| failure.with_output(&running.read_output()))?;
    // The last one that was started is the first to go.
    while let Some(mut service) = before.pop() {
        service.stop();
    }
    for volume in example.spec.targets.values().flat_map(|target| &target.volumes) {
        let name = volume.split(':').next().unwrap_or_default();
        distil.output(["volume", "rm", "--force", name])?;
    }
    if ended > END {
        return Err(Failure::new(format!(
            "`{}` took {:.1} s to end after SIGTERM",
            tag(example, dockerfile, last.map(String::as_str)),
            ended.as_secs_f64()
        )));
    }
    Ok(took)
}

fn start_target(
    distil: &Distil,
    example: &Example,
    dockerfile: &str,
    name: &str,
) -> Result<Running, Failure> {
    let default = Target::default();
    let target = example.spec.targets.get(name).unwrap_or(&default);
    let mut command = distil.command(["run", "--rm"]);
    command.args(confined(dockerfile));
    options(
        &mut command,
        &target.env.iter().collect::<Vec<_>>(),
        &target.tmpfs,
        &target.volumes,
        None,
    );
    command.arg(tag(example, dockerfile, Some(name)));
    if let Some(port) = target.port {
        free(port)?;
    }
    let mut running = Running::start(command, "")?;
    if let Some(port) = target.port {
        until(&mut running, || {
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), ANSWER).is_ok()
        })?;
    }
    Ok(running)
}

fn options(
    command: &mut std::process::Command,
    env: &[(&String, &String)],
    tmpfs: &[String],
    volumes: &[String],
    port: Option<u16>,
) {
    for (name, value) in env {
        command.arg("-e").arg(format!("{name}={value}"));
    }
    for path in tmpfs {
        command.args(["--tmpfs", path]);
    }
    for volume in volumes {
        command.args(["-v", volume]);
    }
    if let Some(port) = port {
        command.arg("-e").arg(format!("PORT={port}"));
    }
}

/// Waits until `ready`, as long as the program runs.
fn until(running: &mut Running, ready: impl Fn() -> bool) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        if ready() {
            return Ok(());
        }
        let problem = if let Some(status) = running.has_ended()? {
            format!("it ended with {status} before it answered")
        } else if process::interrupted() {
            running.stop();
            return Err(Failure::interrupted());
        } else if begin.elapsed() > START {
            running.stop();
            format!("it does not answer after {} s", START.as_secs())
        } else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        return Err(Failure::new(problem).with_output(&running.read_output()));
    }
}

/// An example's port must be free: another program would be asked otherwise.
fn free(port: u16) -> Result<(), Failure> {
    // A program that has just ended may still hold it for a moment.
    let begin = Instant::now();
    loop {
        match TcpListener::bind(("0.0.0.0", port)) {
            Ok(_) => return Ok(()),
            Err(error) if begin.elapsed() > Duration::from_secs(3) => {
                return Err(Failure::new(format!(
                    "port {port}, which the example uses, cannot be had: {error}; end the program that listens there (`ss -ltnp`)"
                )));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

struct Client {
    agent: ureq::Agent,
    port: u16,
}

impl Client {
    fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(ANSWER))
            .build();
        Self {
            agent: config.into(),
            port,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn is_healthy(&self, path: &str) -> bool {
        self.agent
            .get(self.url(path))
            .call()
            .is_ok_and(|answer| answer.status().as_u16() == 200)
    }

    fn ask_all(&self, asks: &[Ask]) -> Result<(), Failure> {
        asks.iter().try_for_each(|ask| self.ask(ask))
    }

    fn ask(&self, ask: &Ask) -> Result<(), Failure> {
        let (method, path) = [
            ("GET", &ask.get),
            ("POST", &ask.post),
            ("PUT", &ask.put),
            ("PATCH", &ask.patch),
            ("DELETE", &ask.delete),
        ]
        .into_iter()
        .find_map(|(method, path)| path.as_ref().map(|path| (method, path)))
        .ok_or_else(|| Failure::new("an entry of `asks` has no method".to_owned()))?;
        let what = format!("{method} {path}");
        let broken = |error: ureq::Error| Failure::new(format!("{what}: {error}"));
        let body = ask.json.as_deref().unwrap_or_default();
        let mut answer = match method {
            "GET" => self.agent.get(self.url(path)).call(),
            "DELETE" => self.agent.delete(self.url(path)).call(),
            "POST" => self
                .agent
                .post(self.url(path))
                .content_type("application/json")
                .send(body),
            "PUT" => self
                .agent
                .put(self.url(path))
                .content_type("application/json")
                .send(body),
            _ => self
                .agent
                .patch(self.url(path))
                .content_type("application/json")
                .send(body),
        }
        .map_err(broken)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(broken)?;
        let expected = ask
            .status
            .map_or((200..300).contains(&status), |expected| status == expected);
        if !expected {
            return Err(Failure::new(format!("{what} answers {status}: {text}")));
        }
        match &ask.says {
            Some(says) if !text.contains(says.as_str()) => {
                Err(Failure::new(format!("{what} does not say `{says}`: {text}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let error = free(port).expect_err("it is taken").to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("in use"),
            "{error}"
        );
        drop(listener);
        free(port).expect("it is free now");
    }
}
