//! What a worker does to itself before its first task: limits, and the program's own set-up.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function"
)]

use core::mem::transmute;

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::function::{BadFunction, FunctionId};

/// Cores that can be named.
pub(crate) const CORES: usize = 1024;
const WORDS: usize = 32;
const NONE: u64 = u64::MAX;
/// The word of the quota.
const QUOTA: usize = 5 + CORES / 64;
/// The word of the echo's pipe.
#[cfg(feature = "tracing")]
const ECHO: usize = WORDS - 1;

/// What the program asked for; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Bytes of private memory.
    pub(crate) memory: Option<u64>,
    /// Processor time of a whole life.
    pub(crate) cpu_seconds: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) nice: Option<i32>,
    /// How many nanoseconds an idle worker looks for work at most.
    pub(crate) spin: Option<u64>,
    /// How many cores the program's control group lets it keep busy, if that is not all.
    pub(crate) quota: Option<u64>,
    /// One bit a core.
    pub(crate) cores: Option<[u64; CORES / 64]>,
    /// Where what is said through `tracing` goes, and up to which level.
    #[cfg(feature = "tracing")]
    pub(crate) echo: Option<EchoPipe>,
}

/// A descriptor that each worker finds under the same number.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EchoPipe {
    pub(crate) fd: i32,
    /// 1 for errors to 5 for traces.
    pub(crate) level: u8,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Memory,
    CpuTime,
    OpenFiles,
    Nice,
    Cores,
    Setup,
    Sandbox,
    Initializer,
    State,
}

impl Setting {
    pub(crate) const ALL: [Self; 9] = [
        Self::Memory,
        Self::CpuTime,
        Self::OpenFiles,
        Self::Nice,
        Self::Cores,
        Self::Setup,
        Self::Sandbox,
        Self::Initializer,
        Self::State,
    ];

    /// The builder's method.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "worker_memory",
            Self::CpuTime => "worker_cpu_time",
            Self::OpenFiles => "worker_open_files",
            Self::Nice => "worker_nice",
            Self::Cores => "worker_cores",
            Self::Setup => "worker_setup",
            Self::Sandbox => "sandbox",
            Self::Initializer => "initializer",
            Self::State => "worker_state",
        }
    }
}

/// The same in the control area: 256 bytes, written by the parent before it starts a worker.
///
/// ```text
/// 0        8         16      24     32      40 .. 168     168     176 .. 248   248
/// | memory | cpu     | open  | nice | spin  | cores:      | quota | reserved   | echo: level, fd |
/// |        | seconds | files |      | time  | 1024 bits   |       |            |                 |
/// ```
/// All ones mean none; for the cores, zeros.
#[repr(C, align(64))]
pub(crate) struct SettingsPage([AtomicU64; WORDS]);

const _: () = assert!(size_of::<SettingsPage>() == 256);
const _: () = assert!(QUOTA < WORDS - 1);

impl SettingsPage {
    /// Writes the settings; by the parent.
    pub(crate) fn store(&self, settings: &Settings) {
        let words = [
            settings.memory.unwrap_or(NONE),
            settings.cpu_seconds.unwrap_or(NONE),
            settings.open_files.unwrap_or(NONE),
            settings
                .nice
                .map_or(NONE, |nice| u64::from(nice.cast_unsigned())),
            settings.spin.unwrap_or(NONE),
        ];
        let cores = settings.cores.unwrap_or_default();
        let quota = settings.quota.unwrap_or(NONE);
        let words = words.into_iter().chain(cores).chain([quota]);
        for (word, value) in self.0.iter().zip(words) {
            // ORDERING: Relaxed; the worker that reads it is created afterwards.
            word.store(value, Ordering::Relaxed);
        }
        #[cfg(feature = "tracing")]
        {
            let bits = settings.echo.map_or(NONE, |echo| {
                u64::from(echo.level) << 32 | u64::from(echo.fd.cast_unsigned())
            });
            // ORDERING: Relaxed; as above.
            self.0[ECHO].store(bits, Ordering::Relaxed);
        }
    }

    /// Reads the settings; by a worker that starts.
    pub(crate) fn load(&self) -> Settings {
        // ORDERING: Relaxed; written before this process was created.
        let word = |index: usize| self.0[index].load(Ordering::Relaxed);
        let some = |index| Some(word(index)).filter(|&value| value != NONE);
        let cores = core::array::from_fn(|index| word(5 + index));
        Settings {
            memory: some(0),
            cpu_seconds: some(1),
            open_files: some(2),
            nice: some(3).map(|bits| (bits as u32).cast_signed()),
            spin: some(4),
            quota: some(QUOTA),
            cores: Some(cores).filter(|cores| cores.iter().any(|&word| word != 0)),
            #[cfg(feature = "tracing")]
            echo: some(ECHO).map(|bits| EchoPipe {
                fd: (bits as u32).cast_signed(),
                level: (bits >> 32) as u8,
            }),
        }
    }
}

/// Finds the function that the parent named.
///
/// # Safety
/// The identity was made of a `fn()` in a process that runs the same image.
pub(crate) unsafe fn find_setup(id: FunctionId) -> Result<fn(), BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `fn()` of this very image, as the caller vouches.
    Ok(unsafe { transmute::<*const (), fn()>(pointer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_wire() {
        let page = SettingsPage([const { AtomicU64::new(7) }; WORDS]);
        page.store(&Settings::default());
        assert_eq!(page.load(), Settings::default());
        let mut cores = [0; CORES / 64];
        cores[15] = 1 << 63;
        let settings = Settings {
            memory: Some(1),
            cpu_seconds: Some(2),
            open_files: Some(3),
            nice: Some(-4),
            spin: Some(5),
            quota: Some(6),
            cores: Some(cores),
            #[cfg(feature = "tracing")]
            echo: Some(EchoPipe { fd: 9, level: 5 }),
        };
        page.store(&settings);
        assert_eq!(page.load(), settings);
    }
}
