//! `RUN --mount=type=ssh`: a socket behind which an agent of the caller answers.
//!
//! The process never has the agent's own socket: requests are read one by one, and only those that list keys or
//! sign go through, as with BuildKit. The rest is answered with the protocol's failure (draft-miller-ssh-agent).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use distil_llb::pb;
use distil_sandbox::MountSource;
use distil_solver::OpError;

use super::ExecOp;

/// OpenSSH's own limit of a message, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;

/// Type bytes of the requests that go through: SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENTC_SIGN_REQUEST.
const ALLOWED: [u8; 2] = [11, 13];

/// SSH_AGENT_FAILURE, with its length in front.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// A socket that is answered as long as this lives.
pub(super) struct SshAgent {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
}

impl SshAgent {
    /// Listens in the new folder `folder` and passes on to the agent at `agent`.
    fn start(folder: PathBuf, agent: PathBuf, options: &pb::SshOpt) -> io::Result<Self> {
        std::fs::create_dir(&folder)?;
        let stop = Arc::new(AtomicBool::new(false));
        let this = Self {
            folder,
            stop: Arc::clone(&stop),
        };
        // By its descriptor: a path of a socket has at most 107 bytes.
        let directory = File::open(&this.folder)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", directory.as_raw_fd()))?;
        let socket = this.socket();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(options.mode & 0o777))?;
        std::os::unix::fs::chown(&socket, Some(options.uid), Some(options.gid))?;
        std::thread::spawn(move || accept(&listener, &agent, &stop));
        Ok(this)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("agent")
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that listens. Whatever fails here leaves refuse that goes with the store's lease.
        if let Ok(directory) = File::open(&self.folder) {
            let _ = UnixStream::connect(format!("/proc/self/fd/{}/agent", directory.as_raw_fd()));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn accept(listener: &UnixListener, agent: &Path, stop: &AtomicBool) {
    for client in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { return };
        let agent = agent.to_owned();
        // It ends with the process, which holds the other end.
        std::thread::spawn(move || {
            let _ = UnixStream::connect(&agent).and_then(|agent| relay(client, agent));
        });
    }
}

/// Answers every request of `client` until it hangs up.
fn relay(mut client: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    while let Some(request) = read_message(&mut client)? {
        if request.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            agent.write_all(&request)?;
            match read_message(&mut agent)? {
                Some(answer) => client.write_all(&answer)?,
                None => return Ok(()),
            }
        } else {
            client.write_all(&FAILURE)?;
        }
    }
    Ok(())
}

/// A message with its length in front; `None` at the end.
fn read_message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if size > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; 4 + size];
    message[..4].copy_from_slice(&length);
    stream.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

impl ExecOp {
    /// The socket of an agent; `None` for one that was not given and need not be. It answers as long as what is
    /// put into `agents` lives.
    pub(super) fn ssh_socket(
        &self,
        mount: &pb::Mount,
        agents: &mut Vec<SshAgent>,
    ) -> Result<Option<MountSource>, OpError> {
        let options = mount.ssh_opt.clone().unwrap_or_default();
        let id = match options.id.as_str() {
            "" => "default",
            id => id,
        };
        let Some(agent) = self.environment.ephemeral.ssh_agents.get(id) else {
            return match options.optional {
                true => Ok(None),
                false => Err(OpError::failed(format!(
                    "ssh agent `{id}` is required and was not given: `--ssh {id}` gives it"
                ))),
            };
        };
        let folder = self.environment.store.temporary().map_err(OpError::failed)?;
        let started = SshAgent::start(folder, agent.clone(), &options)
            .map_err(|error| OpError::failed(format!("cannot pass on the ssh agent `{id}`: {error}")))?;
        let path = started.socket();
        agents.push(started);
        Ok(Some(MountSource::Bind {
            path,
            readonly: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers every request with its type plus 100, in one byte.
    fn agent(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                while let Ok(Some(request)) = read_message(&mut client) {
                    client.write_all(&[0, 0, 0, 1, request[4] + 100]).unwrap();
                }
            }
        });
    }

    #[test]
    fn keys_are_listed_and_used_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        agent(&real);
        let options = pb::SshOpt {
            mode: 0o640,
            uid: std::os::unix::fs::MetadataExt::uid(&directory.path().metadata().unwrap()),
            gid: std::os::unix::fs::MetadataExt::gid(&directory.path().metadata().unwrap()),
            ..pb::SshOpt::default()
        };
        let folder = directory.path().join("relay");
        let relayed = SshAgent::start(folder.clone(), real, &options).unwrap();
        let mode = relayed.socket().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let mut stream = UnixStream::connect(relayed.socket()).unwrap();
        for (kind, answer) in [
            (11, 111),
            (13, 113),
            (17, 5),
            (18, 5),
            (19, 5),
            (22, 5),
            (27, 5),
            (11, 111),
        ] {
            stream.write_all(&[0, 0, 0, 3, kind, 1, 2]).unwrap();
            let got = read_message(&mut stream).unwrap().unwrap();
            assert_eq!(got, [0, 0, 0, 1, answer], "request {kind}");
        }
        // An empty message has no type.
        stream.write_all(&[0, 0, 0, 0]).unwrap();
        assert_eq!(read_message(&mut stream).unwrap().unwrap(), FAILURE);
        stream.write_all(&[0xff; 4]).unwrap();
        assert!(matches!(read_message(&mut stream), Ok(None) | Err(_)));
        drop(relayed);
        assert!(!folder.exists());
    }
}
