//! Regions and objects in them, passed to a program that has met this one.

use core::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::KINDS;
use crate::commons::{self, Object, Region};
use crate::error::{Error, MeetError};
use crate::meet::Connection;
use crate::protocol::name::Handle;

/// What stands in front of a region's message.
const REGION: &[u8; 16] = b"gristmill region";

/// In front of the handle that follows.
const OBJECT: &[u8; 16] = b"gristmill object";

impl Connection {
    /// Gives the other program a region: it may do there whatever this one may. Blocks while as
    /// many messages are on their way as there may be.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("gristmill-rg-{}", std::process::id()));
    /// # let listener = gristmill::Listener::bind(&path)?;
    /// # let other = std::thread::spawn(move || gristmill::Client::connect(path));
    /// # let here = listener.accept()?;
    /// # let there = other.join().unwrap()?;
    /// use gristmill::{Manager, Region, Value};
    ///
    /// let region = Region::new(4 << 20)?;
    /// let manager = Manager::new(&region)?;
    /// let answer = manager.get_or_create("answer", |region| Value::new(region, 42))?;
    /// here.send_region(&region)?;
    ///
    /// let manager = Manager::new(&there.recv_region()?)?; // in the other program
    /// let found: Value<i32> = manager.get("answer")?.unwrap();
    /// assert_eq!(found.get()?, 42);
    /// # drop(answer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_region(&self, region: &Region) -> Result<(), Error> {
        Ok(self.send_descriptor(REGION, region)?)
    }

    /// The same for a task. Dropped before it is done, it has given nothing.
    pub fn send_region_async<'a>(
        &'a self,
        region: &'a Region,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
        let sent = self.send_descriptor_async(REGION, region.as_fd());
        async { Ok(sent.await?) }
    }

    /// Takes the region that is the next message; blocks until there is one. One that this process
    /// has already is that one.
    ///
    /// # Errors
    /// [`MeetError::Unexpected`] if something else comes; [`Error::Region`] if it is no region, or
    /// as many processes have it as may, or it has a name, by which it is to be opened.
    pub fn recv_region(&self) -> Result<Region, Error> {
        take_region(self.recv_descriptor()?)
    }

    /// The same, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn recv_region_timeout(&self, timeout: Duration) -> Result<Region, Error> {
        take_region(self.recv_descriptor_timeout(timeout)?)
    }

    /// The region, if it is there now.
    pub fn try_recv_region(&self) -> Result<Option<Region>, Error> {
        self.try_recv_descriptor()?.map(take_region).transpose()
    }

    /// The same for a task. Dropped before it is done, it has taken nothing.
    pub fn recv_region_async(&self) -> impl Future<Output = Result<Region, Error>> + Send {
        let received = self.recv_descriptor_async();
        async { take_region(received.await?) }
    }

    /// Gives the other program an object, and the region that it is in. Keep the object until the
    /// other one has it.
    pub fn send_object<T: Object>(&self, region: &Region, object: &T) -> Result<(), Error> {
        let words = Handle::<T>::new(object.name()).words();
        let words = bytemuck::cast::<_, [u8; 16]>(words);
        Ok(self.send_descriptor(&[*OBJECT, words].concat(), region)?)
    }

    /// Takes the object that is the next message; blocks until there is one.
    ///
    /// # Errors
    /// As [`recv_region`](Self::recv_region); [`Error::Region`] if it is of another kind, or nobody
    /// has it any more.
    pub fn recv_object<T: Object>(&self) -> Result<T, Error> {
        take_object(self.recv_descriptor()?)
    }

    /// The same, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn recv_object_timeout<T: Object>(&self, timeout: Duration) -> Result<T, Error> {
        take_object(self.recv_descriptor_timeout(timeout)?)
    }

    /// The same for a task. Dropped before it is done, it has taken nothing.
    pub fn recv_object_async<T: Object>(&self) -> impl Future<Output = Result<T, Error>> + Send {
        let received = self.recv_descriptor_async();
        async { take_object(received.await?) }
    }
}

fn take_region((message, file): (Vec<u8>, OwnedFd)) -> Result<Region, Error> {
    if message != REGION {
        return Err(unexpected("a region").into());
    }
    commons::know(KINDS);
    Region::adopt(file)
}

fn take_object<T: Object>((message, file): (Vec<u8>, OwnedFd)) -> Result<T, Error> {
    let words = message.strip_prefix(OBJECT.as_slice());
    let Some(words) = words.and_then(|words| <[u8; 16]>::try_from(words).ok()) else {
        return Err(unexpected("an object").into());
    };
    commons::know(KINDS);
    // Until the object is open, which keeps the region.
    let _region = Region::adopt(file)?;
    Handle::<T>::from_words(bytemuck::cast(words)).open()
}

fn unexpected(wanted: &'static str) -> MeetError {
    let found = "another descriptor";
    MeetError::Unexpected { wanted, found }
}
