//! What a program without a terminal writes to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread::JoinHandle;

use distil_sandbox::{Input, Output, Stdio};

/// Copies what the program writes to files of ours.
#[derive(Default)]
pub(super) struct Outputs {
    copies: Vec<JoinHandle<()>>,
}

impl Outputs {
    /// The streams of a program of `user`: ours. Another user than root may not open a file of ours
    /// again as `/dev/stdout`, which servers do for their logs; such a program gets a pipe in its
    /// place, as in docker.
    pub(super) fn open(&mut self, user: &str, stdin: Input) -> io::Result<Stdio> {
        let mut streams = Stdio {
            stdin,
            ..Stdio::inherited()
        };
        if matches!(user.split(':').next(), None | Some("" | "0" | "root")) {
            return Ok(streams);
        }
        let stdout = regular(rustix::stdio::stdout())?;
        let stderr = regular(rustix::stdio::stderr())?;
        match (stdout, stderr) {
            // One pipe, so that the order of what is written stays.
            (Some((stdout, file)), Some((_, same))) if file == same => {
                let pipe = self.copy_to(stdout)?;
                streams.stdout = Output::To(pipe.try_clone()?);
                streams.stderr = Output::To(pipe);
            }
            (stdout, stderr) => {
                if let Some((stdout, _)) = stdout {
                    streams.stdout = Output::To(self.copy_to(stdout)?);
                }
                if let Some((stderr, _)) = stderr {
                    streams.stderr = Output::To(self.copy_to(stderr)?);
                }
            }
        }
        Ok(streams)
    }

    /// The end of a pipe for the program; what comes out goes to `file`.
    fn copy_to(&mut self, mut file: File) -> io::Result<OwnedFd> {
        let (mut read, write) = io::pipe()?;
        self.copies.push(std::thread::spawn(move || {
            // Where `file` takes no more, the program's next write fails as it would have on it.
            let _ = io::copy(&mut read, &mut file);
        }));
        Ok(write.into())
    }

    /// Waits until all is copied. To be called after the program's end.
    pub(super) fn finish(self) {
        for copy in self.copies {
            // Its only outcome is that it ended.
            let _ = copy.join();
        }
    }
}

/// A descriptor of `stream` and what it is, where that is a regular file: device and inode.
fn regular(stream: BorrowedFd<'_>) -> io::Result<Option<(File, (u64, u64))>> {
    let file = File::from(stream.as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    Ok(metadata.is_file().then_some((file, identity)))
}
