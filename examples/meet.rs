//! Two programs that know nothing of each other but a path: they meet there, and share a region.
//!
//! ```sh
//! cargo run --example meet            # starts the second program itself
//! cargo run --example meet PATH       # or run it twice, by hand
//! ```

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use gristmill::{Client, Listener, Manager, MeetError, Region, SharedMap, Value};

type Failed = Box<dyn std::error::Error>;

/// A reading of an instrument, as it lies in the map.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Reading {
    unit: String,
    values: Vec<f64>,
}

fn main() -> Result<(), Failed> {
    let given = env::args_os().nth(1).map(PathBuf::from);
    let is_alone = given.is_none();
    let own = || env::temp_dir().join(format!("gristmill-meet-{}", std::process::id()));
    let path = given.unwrap_or_else(own);
    match Listener::bind(&path) {
        Ok(listener) => listen(&listener, is_alone),
        // The other program is there already.
        Err(MeetError::PathInUse { .. }) => connect(&path),
        Err(error) => Err(error.into()),
    }
}

/// The program that came first: it has the region, and waits for others.
fn listen(listener: &Listener, is_alone: bool) -> Result<(), Failed> {
    let region = Region::new(8 << 20)?;
    let manager = Manager::new(&region)?;
    let readings = SharedMap::<String, Reading>::new(&region, 100, 1 << 20)?;
    let guests = Value::new(&region, 0_u64)?;
    manager.insert("readings", &readings)?;
    manager.insert("guests", &guests)?;

    let second = match is_alone {
        true => Some(
            Command::new(env::current_exe()?)
                .arg(listener.path())
                .spawn()?,
        ),
        false => None,
    };
    println!("listening at {}", listener.path().display());
    let guest = listener.accept()?;
    println!(
        "process {:?} of user {} has come",
        guest.peer().pid(),
        guest.peer().uid()
    );
    guest.send_region(&region)?;
    // What it has to say is short; the data is in the region.
    let said = guest.recv()?;
    println!("it says: {}", String::from_utf8_lossy(&said));
    for entry in readings.iter()? {
        let (name, reading) = entry?;
        let sum: f64 = reading.values.iter().map(|value| value.to_native()).sum();
        println!(
            "{}: {} values, {sum} {} in all",
            name.as_str(),
            reading.values.len(),
            reading.unit
        );
    }
    assert_eq!((guests.get()?, readings.len()), (1, 2));
    if let Some(mut second) = second {
        assert!(second.wait()?.success());
    }
    Ok(())
}

/// The one that came second: it finds what it needs by name.
fn connect(path: &Path) -> Result<(), Failed> {
    let host = Client::connect(path)?;
    let manager = Manager::new(&host.recv_region()?)?;
    let readings: SharedMap<String, Reading> = manager.get("readings")?.ok_or("no readings")?;
    let guests: Value<u64> = manager.get("guests")?.ok_or("no guests")?;
    guests.update(|count| *count += 1)?;
    for (name, unit, scale) in [("voltage", "V", 0.5), ("current", "A", 0.01)] {
        let values = (0..1000).map(|index| f64::from(index) * scale).collect();
        let unit = unit.into();
        readings.insert(&name.into(), &Reading { unit, values })?;
    }
    host.send(b"two readings are there")?;
    Ok(())
}
