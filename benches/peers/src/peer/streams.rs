//! Exchanges over what the kernel copies: a pipe each way, or a pair of sockets.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::kernels::{read, write};
use crate::peer::exchange::{Exchange, Message};
use crate::remote::SERVE;

/// The parent's side.
pub(crate) struct Streams {
    child: Child,
    ends: Option<(File, File)>,
    buffer: Vec<u64>,
    answer: Vec<u64>,
}

impl Streams {
    pub(crate) fn pipes(message: Message) -> Result<Self, String> {
        let (child_reads, we_write) = io::pipe().map_err(|error| error.to_string())?;
        let (we_read, child_writes) = io::pipe().map_err(|error| error.to_string())?;
        let child = start(message, child_reads.into(), child_writes.into())?;
        let [we_read, we_write] = [OwnedFd::from(we_read), OwnedFd::from(we_write)];
        Ok(Self::new(child, we_read, we_write, message))
    }

    pub(crate) fn sockets(message: Message) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let (ours, theirs) = UnixStream::pair().map_err(text)?;
        let copy = theirs.try_clone().map_err(text)?;
        let child = start(message, theirs.into(), copy.into())?;
        let copy = ours.try_clone().map_err(text)?;
        Ok(Self::new(child, ours.into(), copy.into(), message))
    }

    fn new(child: Child, input: OwnedFd, output: OwnedFd, message: Message) -> Self {
        Self {
            child,
            ends: Some((input.into(), output.into())),
            buffer: vec![0; message.words],
            answer: vec![0; message.answer()],
        }
    }
}

fn start(message: Message, input: OwnedFd, output: OwnedFd) -> Result<Child, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let name = format!("streams/{}", message.name());
    let mut command = Command::new(program);
    let command = command.args([SERVE, &name]);
    let command = command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output));
    command.spawn().map_err(|error| error.to_string())
}

impl Exchange for Streams {
    fn exchange(&mut self, seed: u64) -> u64 {
        write(&mut self.buffer, seed);
        let Some((input, output)) = &mut self.ends else {
            return 0;
        };
        let sent = output.write_all(bytemuck::cast_slice(&self.buffer));
        // A wrong answer shows that something failed.
        let answer = bytemuck::cast_slice_mut(&mut self.answer);
        match sent.and_then(|()| input.read_exact(answer)) {
            Ok(()) => read(&self.answer),
            Err(_) => 0,
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        drop(self.ends.take());
        let _ = self.child.wait();
    }
}

/// The child's side: its standard streams are the ends.
pub(crate) fn serve(message: Message) {
    let mut buffer = vec![0_u64; message.words];
    let mut answer = vec![0_u64; message.answer()];
    let copy = |end: BorrowedFd<'_>| end.try_clone_to_owned().map(File::from);
    let (input, output) = (io::stdin(), io::stdout());
    let (Ok(mut input), Ok(mut output)) = (copy(input.as_fd()), copy(output.as_fd())) else {
        return;
    };
    while input
        .read_exact(bytemuck::cast_slice_mut(&mut buffer))
        .is_ok()
    {
        write(&mut answer, read(&buffer));
        if output.write_all(bytemuck::cast_slice(&answer)).is_err() {
            return;
        }
    }
}
