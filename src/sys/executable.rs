//! The running executable: where it lies, what may be called in it, which constructors it has.
//!
//! A worker is the same executable at another address, so everything that the two processes tell
//! each other about code is an offset from the *load bias*: what the loader added to each address
//! of the file. The first object that `dl_iterate_phdr` reports is the executable itself; objects
//! after it are shared libraries, which another process need not have loaded at all.

use std::{
    ffi::{c_char, c_int, c_void},
    ops::Range,
    slice,
    sync::OnceLock,
};

/// An entry of `.init_array`. glibc passes the arguments of `main`; musl passes nothing, so an
/// entry may hand them on but must not look at them.
pub(crate) type Constructor =
    unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Why this executable cannot start workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ExecutableError {
    /// The hook that turns a process into a worker never ran here.
    #[error(
        "the hook that runs before `main` was not linked into this program; without it a worker \
         would run `main` again, so none is started. Link the crate as an ordinary dependency"
    )]
    NoHook,
    /// The hook belongs to a shared library.
    #[error(
        "gristmill lies in a shared library here, but a worker starts as a copy of the executable, \
         which knows nothing of that library. Link gristmill into the executable itself"
    )]
    HookInLibrary,
    /// The program was started as an argument of the dynamic loader.
    #[error(
        "this program was started through the dynamic loader (`ld.so program`), so that \
         /proc/self/exe, which workers are started from, is the loader. Start the program itself"
    )]
    StartedByLoader,
    /// The loader reports no executable, or one without the tables that we need.
    #[error(
        "the executable has no dynamic section, in which its constructors are listed. Link it as \
         a position-independent executable, which is the default"
    )]
    NoDynamicSection,
}

/// The running executable.
#[derive(Debug)]
pub(crate) struct Executable {
    bias: usize,
    headers: Vec<libc::Elf64_Phdr>,
    constructors: Range<usize>,
}

/// Address of the hook's entry, written by the hook.
static HOOK: OnceLock<usize> = OnceLock::new();

/// Notes that the hook is linked and has run in this process.
pub(crate) fn register_hook(entry: &'static Constructor) {
    HOOK.get_or_init(|| (&raw const *entry).addr());
}

impl Executable {
    /// The running executable, looked up once.
    pub(crate) fn current() -> &'static Self {
        static CURRENT: OnceLock<Executable> = OnceLock::new();
        CURRENT.get_or_init(Self::look_up)
    }

    fn look_up() -> Self {
        let mut found = Self {
            bias: 0,
            headers: Vec::new(),
            constructors: 0..0,
        };
        // SAFETY: `first_object` matches the callback's type, and `found` lives through the call,
        // in which nobody else uses it.
        unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast()) };
        found.constructors = found.find_constructors().unwrap_or(0..0);
        found
    }

    /// The offset of `address` from the load bias, if it is code of this executable.
    pub(crate) fn code_offset(&self, address: usize) -> Option<u64> {
        let offset = address.wrapping_sub(self.bias) as u64;
        self.is_code(offset).then_some(offset)
    }

    /// The address at `offset`, if there is code of this executable.
    pub(crate) fn code_address(&self, offset: u64) -> Option<*const ()> {
        let address = self.bias.wrapping_add(offset as usize);
        self.is_code(offset)
            .then(|| std::ptr::with_exposed_provenance(address))
    }

    fn is_code(&self, offset: u64) -> bool {
        self.loaded(libc::PF_X).any(|range| range.contains(&offset))
    }

    /// What is loaded with `flags`, as offsets from the bias.
    fn loaded(&self, flags: u32) -> impl Iterator<Item = Range<u64>> {
        self.headers
            .iter()
            .filter(move |header| header.p_type == libc::PT_LOAD && header.p_flags & flags != 0)
            .map(|header| header.p_vaddr..header.p_vaddr.saturating_add(header.p_memsz))
    }

    /// The program headers: how the file is laid out, the same at every address.
    pub(crate) fn headers(&self) -> &[libc::Elf64_Phdr] {
        &self.headers
    }

    /// What the linker wrote into the note `NT_GNU_BUILD_ID`, if it wrote one.
    pub(crate) fn build_id(&self) -> Option<&'static [u8]> {
        const NT_GNU_BUILD_ID: u32 = 3;
        let notes = self
            .headers
            .iter()
            .filter(|header| header.p_type == libc::PT_NOTE);
        notes
            .filter_map(|header| self.bytes(header))
            .find_map(|mut rest| {
                while let Some((head, body)) = rest.split_at_checked(12) {
                    let [name_bytes, value_bytes, kind] = [0, 4, 8]
                        .map(|at| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap()));
                    let (name, body) = body.split_at_checked(padded(name_bytes))?;
                    let value = body.get(..value_bytes as usize)?;
                    if kind == NT_GNU_BUILD_ID && name.starts_with(b"GNU\0") {
                        return Some(value);
                    }
                    rest = body.get(padded(value_bytes)..)?;
                }
                None
            })
    }

    /// The constructors that the loader would call after the hook's, or why there can be no worker.
    pub(crate) fn constructors_after_hook(
        &self,
    ) -> Result<&'static [Option<Constructor>], ExecutableError> {
        const ENTRY: usize = size_of::<Constructor>();
        let hook = *HOOK.get().ok_or(ExecutableError::NoHook)?;
        // The kernel loads an interpreter for the program that it executes, and says where; if it
        // executed the interpreter itself, there was nothing to load.
        // SAFETY: reads a vector that the C library keeps.
        let interpreter = unsafe { libc::getauxval(libc::AT_BASE) };
        if interpreter == 0 && self.headers.iter().any(|it| it.p_type == libc::PT_INTERP) {
            return Err(ExecutableError::StartedByLoader);
        }
        if self.constructors.is_empty() {
            return Err(ExecutableError::NoDynamicSection);
        }
        if !self.constructors.contains(&hook) {
            return Err(ExecutableError::HookInLibrary);
        }
        let first = std::ptr::with_exposed_provenance(hook + ENTRY);
        let count = (self.constructors.end - hook) / ENTRY - 1;
        // SAFETY: the hook is an aligned entry of the executable's array of constructors, so what
        // follows up to the array's end is `count` entries of this type, which the loader has
        // relocated and which nobody writes to or unloads afterwards.
        Ok(unsafe { slice::from_raw_parts(first, count) })
    }

    /// The addresses of `.init_array`, from the dynamic section. The linker's own symbols for it
    /// (`__init_array_start`) are not defined in a shared library, which would then not load.
    fn find_constructors(&self) -> Option<Range<usize>> {
        const DT_INIT_ARRAY: u64 = 25;
        const DT_INIT_ARRAYSZ: u64 = 27;
        let dynamic = self
            .headers
            .iter()
            .find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let words =
            |pair: &[u8]| [0, 8].map(|at| u64::from_ne_bytes(pair[at..at + 8].try_into().unwrap()));
        let find = |tag| {
            let mut pairs = self.bytes(dynamic)?.chunks_exact(16).map(words);
            pairs.find_map(|[key, value]| (key == tag).then_some(value))
        };
        let start = find(DT_INIT_ARRAY)?;
        let end = start.checked_add(find(DT_INIT_ARRAYSZ)?)?;
        let readable = self
            .loaded(libc::PF_R)
            .any(|range| range.contains(&start) && end <= range.end && start < end);
        readable
            .then(|| self.bias.wrapping_add(start as usize)..self.bias.wrapping_add(end as usize))
    }

    /// The bytes that `header` describes, if they are loaded and readable.
    fn bytes(&self, header: &libc::Elf64_Phdr) -> Option<&'static [u8]> {
        let end = header.p_vaddr.checked_add(header.p_memsz)?;
        let mut loaded = self.loaded(libc::PF_R);
        if !loaded.any(|range| range.contains(&header.p_vaddr) && end <= range.end) {
            return None;
        }
        let address = self.bias.wrapping_add(header.p_vaddr as usize);
        let first = std::ptr::with_exposed_provenance(address);
        // SAFETY: the range lies in a readable segment of the executable, which is never unloaded.
        // Notes are constant; the loader wrote to the dynamic section before any constructor ran.
        Some(unsafe { slice::from_raw_parts(first, header.p_memsz as usize) })
    }
}

/// Notes pad names and values to four bytes.
fn padded(bytes: u32) -> usize {
    (bytes as usize).next_multiple_of(4)
}

/// Callback of `dl_iterate_phdr`: keeps the first object and stops.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid description that outlives this call.
    let info = unsafe { &*info };
    // SAFETY: `found` is the exclusive `Executable` that `look_up` passed.
    let found = unsafe { &mut *found.cast::<Executable>() };
    if !info.dlpi_phdr.is_null() {
        found.bias = info.dlpi_addr as usize;
        let count = usize::from(info.dlpi_phnum);
        // SAFETY: the loader says that `count` headers stand there.
        found.headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, count) }.to_vec();
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_inside_and_everything_else_outside() {
        let image = Executable::current();
        let own = own_code_is_inside_and_everything_else_outside as fn() as usize;
        let offset = image
            .code_offset(own)
            .expect("a function of the executable");
        assert_eq!(
            image.code_address(offset).map(|pointer| pointer.addr()),
            Some(own)
        );

        let heap = Box::new(0_u8);
        let outside = [
            (&raw const *heap).addr(),
            (&raw const heap).addr(),
            (&raw const HOOK).addr(),
            libc::getppid as *const () as usize,
            0,
            usize::MAX,
        ];
        for address in outside {
            assert_eq!(image.code_offset(address), None, "{address:#x}");
        }
        for offset in [u64::MAX, 0, 1 << 47] {
            assert_eq!(image.code_address(offset), None, "{offset:#x}");
        }
    }

    #[test]
    fn the_hook_stands_among_the_constructors() {
        let image = Executable::current();
        let after = image.constructors_after_hook().expect("the hook is linked");
        let all = image.constructors.len() / size_of::<Constructor>();
        assert!(after.len() < all, "{} of {all}", after.len());
        for constructor in after.iter().flatten() {
            assert!(image.code_offset(*constructor as usize).is_some());
        }
    }
}
