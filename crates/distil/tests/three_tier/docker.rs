//! A Docker daemon of its own, which touches no firewall and no other daemon's state, and docker-compose.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::http::ask;
use crate::images::{EXAMPLE, Images};

pub(crate) struct Docker {
    daemon: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Docker {
    /// `None`, and told, where it cannot be started.
    pub(crate) fn start() -> Option<Docker> {
        for program in ["dockerd", "docker", "docker-compose"] {
            if let Err(error) = Command::new(program).arg("--version").output() {
                println!("skipped: `{program}`: {error}");
                return None;
            }
        }
        let folder = tempfile::Builder::new()
            .prefix("distil-docker-")
            .tempdir()
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        let log = File::create(path("log")).unwrap();
        // The settings of the machine's own daemon are none of ours.
        fs::write(path("settings.json"), "{}").unwrap();
        let daemon = Command::new("dockerd")
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-masq=false",
            ])
            .arg("--config-file")
            .arg(path("settings.json"))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", path("sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let port = TcpListener::bind("0.0.0.0:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut docker = Docker { daemon, folder, port };
        docker.wait_until_ready().then_some(docker)
    }

    fn wait_until_ready(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) && self.daemon.try_wait().unwrap().is_none() {
            if self.docker().arg("version").output().unwrap().status.success() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        println!(
            "skipped: dockerd cannot run here: {}",
            log.lines().last().unwrap_or_default()
        );
        false
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", self.folder.path());
        command
    }

    /// `distil save IMAGE | docker load`.
    pub(crate) fn load(&self, images: &Images, image: &str) {
        let mut save = images
            .distil()
            .args(["save", image])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let archive = save.stdout.take().unwrap();
        let load = self.docker().arg("load").stdin(archive).output().unwrap();
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        assert!(save.wait().unwrap().success());
        let told = String::from_utf8_lossy(&load.stdout);
        assert!(told.contains(&format!("Loaded image: {image}:latest")), "{told}");
    }

    fn compose_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command
            .arg("-f")
            .arg(format!("{EXAMPLE}/compose.yaml"))
            .args(["-p", "distil-three-tier"])
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DATABASE_PASSWORD", "s3cret")
            .env("FRONT_PORT", self.port.to_string());
        command
    }

    pub(crate) fn compose(&self, arguments: &[&str]) {
        let output = self.compose_command(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker-compose {arguments:?}: {told}");
    }

    /// Starts all three, each when the one that it needs is well; the address of the front. `None`, and told, where
    /// there can be no networks of containers.
    pub(crate) fn up(&self) -> Option<String> {
        let output = self.compose_command(&["up", "-d"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && told.contains("network") {
            println!("skipped: docker-compose: {}", told.trim());
            return None;
        }
        let log = self.compose_command(&["logs", "--no-color"]).output().unwrap();
        assert!(
            output.status.success(),
            "{told}\n{}",
            String::from_utf8_lossy(&log.stdout)
        );
        let url = format!("http://127.0.0.1:{}/", self.port);
        crate::until("the front", || {
            matches!(ask("GET", &format!("{url}api/todos"), None), Ok((200, _))).then_some(())
        });
        Some(url)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = self
            .compose_command(&["down", "--volumes", "--timeout", "2"])
            .output();
        let _ = rustix::process::kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }
}
