//! A server: this executable, with its constructors run and one thread, which forks workers.
//!
//! Its workers are siblings, children of the pool's own process, so that the pool's one thread
//! reaps them and their death signal is tied to it, as with any worker.

#![expect(unsafe_code, reason = "forks, and calls what is to be loaded first")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use crate::memory::region::Region;
use crate::protocol::control::Control;
use crate::protocol::function::FunctionId;
use crate::protocol::image::ImageId;
use crate::protocol::panic;
use crate::protocol::settings::find_setup;
use crate::protocol::start::{self, Answer, MESSAGE_BYTES, Request};
use crate::sys::fork;

/// Calls what the pool wants done once for all workers.
pub(super) fn preload(region: &OwnedFd, function: u64) -> Result<(), Box<dyn Error>> {
    if function == 0 {
        return Ok(());
    }
    let region = Region::attach(region.try_clone()?)?;
    let control = Control::of(&region).ok_or("the region is smaller than its control area")?;
    control.verify(region.size(), &ImageId::current())?;
    // SAFETY: the parent named a `fn()`, and runs the same image, as was just verified.
    let function = unsafe { find_setup(FunctionId::from_bits(function)) }?;
    panic::install_hook();
    panic::catch(function).map_err(|report| report.message)?;
    Ok(())
}

/// Forks a worker for each request. Returns `Some` in each of the workers, and `None` in the
/// server, once nobody can ask any more.
pub(super) fn serve(requests: OwnedFd) -> Result<Option<Request>, Box<dyn Error>> {
    let mut socket = UnixStream::from(requests);
    socket.write_all(&start::READY.to_bytes())?;
    loop {
        let mut message = [0; MESSAGE_BYTES];
        match socket.read_exact(&mut message) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let request = Request::from_bytes(message);
        let outcome = match fork::threads() {
            // SAFETY: this is the only thread, and nothing can start another before it goes on.
            Some(1) => unsafe { fork::sibling() }.map_err(|error| error.errno),
            // A constructor has started some: their locks would never be released in a copy.
            _ => Err(Errno::EBUSY),
        };
        let outcome = match outcome {
            Ok(Some(_)) => continue,
            Ok(None) => Ok(std::process::id() as i32),
            Err(errno) => Err(errno as i32),
        };
        // A worker that cannot say that it is there must not be there: then the pool has given the
        // request up, and this is an error that ends it.
        socket.write_all(&Answer { request, outcome }.to_bytes())?;
        if outcome.is_ok() {
            return Ok(Some(request));
        }
    }
}
