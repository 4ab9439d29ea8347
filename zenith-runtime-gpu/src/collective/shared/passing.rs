//! Descriptors over a Unix socket, and whose process is on its other end.
#![expect(unsafe_code, reason = "control messages are built and read by pointers")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

/// Words of a buffer for control messages, which are aligned to a word.
type Control = Vec<usize>;

/// Descriptors of one message at most; the kernel's limit is 253.
pub(super) const MAX_FDS: usize = 200;

/// The user of the process that connected, or that listened when this side did.
pub(super) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = MaybeUninit::<libc::ucred>::uninit();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which the buffer has.
    let code = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    if length as usize != size_of::<libc::ucred>() {
        return Err(io::Error::other("the kernel told less than a user"));
    }
    // SAFETY: the kernel has filled all of it.
    Ok(unsafe { credentials.assume_init() }.uid)
}

fn control(fds: usize) -> (Control, usize) {
    let bytes = (fds * size_of::<RawFd>()) as u32;
    // SAFETY: arithmetic only.
    let space = unsafe { libc::CMSG_SPACE(bytes) } as usize;
    (vec![0; space.div_ceil(size_of::<usize>())], space)
}

/// Sends a few bytes with descriptors, in one piece.
pub(super) fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(fds.len() <= MAX_FDS, "{} descriptors", fds.len());
    let (mut buffer, space) = control(fds.len());
    let mut slice = IoSlice::new(bytes);
    // SAFETY: a header of zeros is a valid one, with nothing in it.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = ptr::from_mut(&mut slice).cast();
    message.msg_iovlen = 1;
    message.msg_control = buffer.as_mut_ptr().cast();
    message.msg_controllen = space;
    // SAFETY: the buffer has room for one control message with `fds.len()` descriptors and is aligned for it; a borrowed
    // descriptor is a plain number in memory. `IoSlice` is an iovec by its documentation.
    let sent = unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN((fds.len() * size_of::<RawFd>()) as u32) as usize;
        let data: *mut RawFd = libc::CMSG_DATA(head).cast();
        for (index, fd) in fds.iter().enumerate() {
            data.add(index).write_unaligned(fd.as_raw_fd());
        }
        libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::other("a short message was cut")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Receives bytes and the descriptors that came with them, which are this process's from now on.
pub(super) fn receive(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let (mut buffer, space) = control(MAX_FDS);
    let mut slice = IoSliceMut::new(bytes);
    // SAFETY: as in `send`.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = ptr::from_mut(&mut slice).cast();
    message.msg_iovlen = 1;
    message.msg_control = buffer.as_mut_ptr().cast();
    message.msg_controllen = space;
    // SAFETY: the kernel writes into the two buffers, which live and have the lengths that the header says.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut fds = Vec::new();
    // SAFETY: the kernel has put whole control messages into the buffer and said their length in the header, which the
    // macros go by. Each descriptor in it was made for this process by this call and has no other owner.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const message);
        while !head.is_null() {
            if (*head).cmsg_level == libc::SOL_SOCKET && (*head).cmsg_type == libc::SCM_RIGHTS {
                let length = (*head).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data: *const RawFd = libc::CMSG_DATA(head).cast();
                for index in 0..length / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            head = libc::CMSG_NXTHDR(&raw const message, head);
        }
    }
    Ok((count, fds))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_arrive_in_their_order() {
        let (one, other) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..MAX_FDS / 2).map(|_| io::pipe().unwrap()).collect();
        let ends: Vec<BorrowedFd<'_>> = pipes.iter().map(|(_, end)| end.as_fd()).collect();
        send(&one, b"hello", &ends).unwrap();
        let mut bytes = [0; 8];
        let (count, fds) = receive(&other, &mut bytes).unwrap();
        assert_eq!((&bytes[..count], fds.len()), (&b"hello"[..], pipes.len()));
        for (index, fd) in fds.into_iter().enumerate() {
            File::from(fd).write_all(&[index as u8]).unwrap();
        }
        for (index, (mut end, _)) in pipes.into_iter().enumerate() {
            let mut byte = [0];
            end.read_exact(&mut byte).unwrap();
            assert_eq!(usize::from(byte[0]), index);
        }
    }

    #[test]
    fn a_peer_has_a_user() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer_user(&one).unwrap(), rustix::process::getuid().as_raw());
    }
}
