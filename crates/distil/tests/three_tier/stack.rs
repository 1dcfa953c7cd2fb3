//! The three programs of the example, started by `distil run` side by side.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::http::ask;
use crate::images::Images;

/// Longer than anything takes, also on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Database,
    Back,
    Front,
}

impl Part {
    pub(crate) const ALL: [Part; 3] = [Part::Database, Part::Back, Part::Front];

    pub(crate) fn target(self) -> &'static str {
        match self {
            Part::Database => "database",
            Part::Back => "back",
            Part::Front => "front",
        }
    }

    pub(crate) fn image(self) -> &'static str {
        match self {
            Part::Database => "three-tier-database",
            Part::Back => "three-tier-back",
            Part::Front => "three-tier-front",
        }
    }
}

pub(crate) struct Ports {
    pub(crate) database: u16,
    pub(crate) back: u16,
    pub(crate) front: u16,
}

impl Ports {
    /// Three that nobody listens on.
    fn free() -> Ports {
        let listeners = [(); 3].map(|()| TcpListener::bind("0.0.0.0:0").unwrap());
        let [database, back, front] = listeners.each_ref().map(|one| one.local_addr().unwrap().port());
        Ports {
            database,
            back,
            front,
        }
    }
}

/// The programs that run, their ports, and the folder with the data.
pub(crate) struct Stack<'a> {
    images: &'a Images,
    folder: tempfile::TempDir,
    pub(crate) ports: Ports,
    running: Vec<(Part, Child)>,
}

impl<'a> Stack<'a> {
    /// Nothing runs yet.
    pub(crate) fn new(images: &'a Images) -> Stack<'a> {
        let folder = tempfile::Builder::new()
            .prefix("distil-three-")
            .tempdir()
            .unwrap();
        let stack = Stack {
            images,
            folder,
            ports: Ports::free(),
            running: Vec::new(),
        };
        fs::create_dir(stack.data()).unwrap();
        stack.give_data_to(65532);
        stack
    }

    /// All three run, and answer.
    pub(crate) fn start(images: &'a Images) -> Stack<'a> {
        let mut stack = Stack::new(images);
        for part in Part::ALL {
            stack.start_part(part, &[]);
        }
        stack.wait_until_well();
        stack
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn give_data_to(&self, user: u32) {
        std::os::unix::fs::chown(self.data(), Some(user), Some(user)).unwrap();
    }

    /// The API, through the front.
    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}/api/todos", self.ports.front)
    }

    pub(crate) fn back_health(&self) -> String {
        format!("http://127.0.0.1:{}/health", self.ports.back)
    }

    fn command(&self, part: Part, variables: &[&str]) -> Command {
        let mut command = self.images.distil();
        command.args(["run", "--rm", "--read-only"]);
        let Ports {
            database,
            back,
            front,
        } = &self.ports;
        let own = match part {
            Part::Database => {
                command
                    .arg("-v")
                    .arg(format!("{}:/var/lib/mysql", self.data().display()));
                format!("PORT={database} MARIADB_DATABASE=todos MARIADB_USER=todos MARIADB_PASSWORD=s3cret")
            }
            Part::Back => {
                command.args(["--tmpfs", "/tmp"]);
                format!("PORT={back} DATABASE_PORT={database} DATABASE_PASSWORD=s3cret")
            }
            Part::Front => format!("PORT={front} BACK_URL=http://127.0.0.1:{back}"),
        };
        for variable in own.split(' ').chain(variables.iter().copied()) {
            command.args(["-e", variable]);
        }
        // By this its processes are found.
        command.args(["-e", &self.mark(), part.image()]);
        command
    }

    fn mark(&self) -> String {
        format!("THREE_TIER_TEST={}", self.folder.path().display())
    }

    /// Starts a program with more variables than it needs anyway.
    pub(crate) fn start_part(&mut self, part: Part, variables: &[&str]) {
        let log = File::create(self.log_file(part)).unwrap();
        let child = self
            .command(part, variables)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push((part, child));
    }

    fn log_file(&self, part: Part) -> PathBuf {
        self.folder.path().join(format!("{}.log", part.target()))
    }

    /// What a program has written since it was last started.
    pub(crate) fn log(&self, part: Part) -> String {
        fs::read_to_string(self.log_file(part)).unwrap()
    }

    /// Waits until the front, the back and the database answer.
    pub(crate) fn wait_until_well(&self) {
        let begin = Instant::now();
        while !matches!(ask("GET", &self.api(), None), Ok((200, _))) {
            if begin.elapsed() > LIMIT {
                let logs = Part::ALL.map(|part| self.log(part)).join("\n\n");
                panic!("the three do not answer within {LIMIT:?}:\n{logs}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let (status, told) = ask("GET", &self.back_health(), None).unwrap();
        assert_eq!(status, 200, "{told}");
    }

    /// Sends a signal to `distil run`, as a terminal does, and waits for its end; the exit code.
    pub(crate) fn stop(&mut self, part: Part, signal: Signal) -> Option<i32> {
        let child = self.child(part);
        rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
        self.wait(part)
    }

    /// Kills `distil run`, and with it all that it started.
    pub(crate) fn kill(&mut self, part: Part) {
        assert_eq!(self.stop(part, Signal::KILL), None);
    }

    /// Waits for the end of a program; its exit code.
    pub(crate) fn wait(&mut self, part: Part) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child(part).try_wait().unwrap() {
                self.running.retain(|(running, _)| *running != part);
                return status.code();
            }
            assert!(
                begin.elapsed() < LIMIT,
                "{part:?} does not end:\n{}",
                self.log(part)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn child(&mut self, part: Part) -> &mut Child {
        let found = self.running.iter_mut().find(|(running, _)| *running == part);
        &mut found.unwrap().1
    }

    /// Starts a program that must end by itself with code 1; what it told.
    pub(crate) fn fails(&mut self, part: Part, variables: &[&str]) -> String {
        self.start_part(part, variables);
        let code = self.wait(part);
        assert_eq!(code, Some(1), "{}", self.log(part));
        self.log(part)
    }

    /// The same while another of its kind goes on.
    pub(crate) fn fails_beside(&self, part: Part, variables: &[&str]) -> String {
        let output = self.command(part, variables).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        told
    }

    pub(crate) fn server_runs(&self) -> bool {
        !processes(&self.server_words()).is_empty()
    }

    /// Kills mariadbd itself.
    pub(crate) fn kill_server(&self) {
        let server = processes(&self.server_words());
        assert_eq!(server.len(), 1, "{server:?}");
        rustix::process::kill_process(server[0], Signal::KILL).unwrap();
    }

    /// Words that are all in the command line of this stack's mariadbd alone.
    fn server_words(&self) -> Vec<String> {
        vec![
            "/usr/sbin/mariadbd".into(),
            format!("--port={}", self.ports.database),
        ]
    }

    /// Ends what still runs, and checks that nothing is left.
    pub(crate) fn end(mut self) {
        while let Some(part) = self.running.last().map(|(part, _)| *part) {
            let code = self.stop(part, Signal::TERM);
            assert!(
                matches!(code, Some(0 | 143)),
                "{part:?}: {code:?}\n{}",
                self.log(part)
            );
        }
        assert!(!self.server_runs());
        assert!(processes(&[self.mark()]).is_empty());
        for port in [self.ports.database, self.ports.back, self.ports.front] {
            TcpListener::bind(("0.0.0.0", port)).unwrap();
        }
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Processes in whose command line or environment all `words` are.
fn processes(words: &[String]) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let facts = ["cmdline", "environ"].map(|name| fs::read(entry.path().join(name)).unwrap_or_default());
        let text = String::from_utf8_lossy(&facts.concat()).into_owned();
        if words.iter().all(|word| text.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
