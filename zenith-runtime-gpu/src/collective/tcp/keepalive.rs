//! Signs of life of a silent connection, which the kernel asks for.
#![expect(unsafe_code, reason = "options of sockets that the standard library does not know")]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Asks after a silence of `interval`, again after each further one, and ends the connection after so many `tries`.
pub(super) fn keep_alive(stream: &TcpStream, interval: Duration, tries: u32) -> io::Result<()> {
    let seconds = libc::c_int::try_from(interval.as_secs()).unwrap_or(libc::c_int::MAX);
    let tries = libc::c_int::try_from(tries).unwrap_or(libc::c_int::MAX);
    set(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, tries)
}

fn set(stream: &TcpStream, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket lives, and the kernel reads `length` bytes of `value`.
    let code =
        unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
