//! Random bytes that nobody can foresee.

use nix::errno::Errno;

use super::failure::SysError;

/// `N` bytes from the kernel's generator. Blocks only while the machine has just started.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], SysError> {
    // The kernel gives up to 256 bytes in one piece, whatever signals arrive.
    const { assert!(N <= 256) };
    let mut bytes = [0; N];
    loop {
        // SAFETY: the array is ours for the call, and this long.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
        match Errno::result(got) {
            Ok(got) if got as usize == N => return Ok(bytes),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(SysError::of("ask the kernel for random bytes")(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_draws_are_alike() {
        assert_ne!(super::bytes::<32>().unwrap(), super::bytes::<32>().unwrap());
    }
}
