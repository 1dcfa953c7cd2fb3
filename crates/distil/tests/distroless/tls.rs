//! TLS handshakes with a server whose authority no public bundle knows: refused for that reason, and made where the
//! authority is named by the means of the language.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::world::World;
use crate::{PROGRAMS, all, compile};

/// OpenSSL's server on the loopback; it ends with this value. Its authority is `ca.pem` among the programs.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    /// `None`, and told, where there is no `openssl`.
    fn start(world: &World) -> Option<Server> {
        let folder = world.path("programs");
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.args(arguments.split_whitespace()).current_dir(&folder);
            command
        };
        let steps = [
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -addext keyUsage=critical,keyCertSign \
             -keyout ca.key -out ca.pem",
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
             -keyout server.key -out server.csr",
            "x509 -req -in server.csr -copy_extensions copy -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial \
             -out server.pem",
        ];
        for step in steps {
            let output = match openssl(step).output() {
                Ok(output) => output,
                Err(error) => {
                    println!("skipped: `openssl`: {error}");
                    return None;
                }
            };
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{step}: {error}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let serve = format!("s_server -accept 127.0.0.1:{port} -cert server.pem -key server.key -quiet -www");
        let process = openssl(&serve)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { process, port };
        for _ in 0..400 {
            if TcpStream::connect(format!("127.0.0.1:{}", server.port)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("`openssl s_server` did not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a program says as it is, and with `trusting` among the options of the run.
fn says(world: &World, image: &str, program: &[&str], trusting: &[&str]) -> [String; 2] {
    let of = |options: &[&str]| world.run_with(image, &[&["--network=host"], options].concat(), program);
    [of(&[]), of(trusting)]
}

#[test]
fn python_tls() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    let Some(server) = Server::start(&world) else {
        return;
    };
    for image in ["python3-debian12:nonroot", "python3-debian13:slim-nonroot"] {
        if !world.make(image) {
            return;
        }
        let program = ["/programs/tls.py", &server.port];
        let found = says(&world, image, &program, &["-e", "SSL_CERT_FILE=/programs/ca.pem"]);
        let expected = [
            "refused: unable to get local issuer certificate",
            "connected by TLSv1.3",
        ];
        assert_eq!(found, expected, "{image}");
    }
}

#[test]
fn node_tls() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    let Some(server) = Server::start(&world) else {
        return;
    };
    for image in ["nodejs18-debian12:nonroot", "nodejs20-debian13:slim-nonroot"] {
        if !world.make(image) {
            return;
        }
        let program = ["/programs/tls.js", &server.port];
        let trusting = ["-e", "NODE_EXTRA_CA_CERTS=/programs/ca.pem"];
        let found = says(&world, image, &program, &trusting);
        let expected = ["refused: UNABLE_TO_VERIFY_LEAF_SIGNATURE", "connected by TLSv1.3"];
        assert_eq!(found, expected, "{image}");
    }
}

#[test]
fn java_tls() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    let Some(server) = Server::start(&world) else {
        return;
    };
    let keystore = "-importcert -noprompt -alias ca -file ca.pem -keystore trust.p12 -storepass changeit";
    let keystore: Vec<&str> = keystore.split(' ').collect();
    let compiled = compile(&world, "javac", &["--release", "17", "-d", "classes", "Tls.java"])
        && compile(&world, "keytool", &keystore);
    if !compiled {
        return;
    }
    let trusting = "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=/programs/trust.p12 \
                    -Djavax.net.ssl.trustStorePassword=changeit";
    for image in [
        "java17-debian12:nonroot",
        "java21-debian13:slim-nonroot",
        "java25-debian13:nonroot",
    ] {
        if !world.make(image) {
            return;
        }
        let program = ["-cp", "/programs/classes", "Tls", &server.port];
        let of = |options: &[&str]| {
            let options = [&["--network=host", "--entrypoint=java"], options].concat();
            world.run_with(image, &options, &program)
        };
        let refused = of(&[]);
        assert!(
            refused.contains("unable to find valid certification path to requested target"),
            "{image}: {refused}"
        );
        assert_eq!(of(&["-e", trusting]), "connected by TLSv1.3", "{image}");
    }
}
