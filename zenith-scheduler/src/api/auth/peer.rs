//! The other end of a connection, and who owns it where that is on this machine: the kernel says so in its tables of sockets.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::account;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    remote: SocketAddr,
    local: SocketAddr,
    uid: Arc<OnceLock<Option<u32>>>,
    user: Arc<OnceLock<String>>,
}

impl Peer {
    /// The other end at `remote` of a connection whose end here is `local`.
    pub fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        Self { remote, local, uid: Arc::default(), user: Arc::default() }
    }

    /// Where it is.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The user that owns it; none where it is not on this machine. Looked up once for a connection, when first asked.
    pub(super) fn uid(&self) -> Option<u32> {
        *self.uid.get_or_init(|| {
            ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
                let table = fs::read_to_string(table).ok()?;
                table.lines().skip(1).find_map(|line| owner(line, self.remote, self.local))
            })
        })
    }

    /// What the system calls a user of that number: the one who owns it. Looked up once for a connection.
    pub(super) fn user(&self, uid: u32) -> &str {
        self.user.get_or_init(|| account::name(uid))
    }
}

/// The owner of the socket in a line of the table, if its ends are these.
fn owner(line: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let mut fields = line.split_whitespace();
    let (source, target) = (fields.nth(1)?, fields.next()?);
    if endpoint(source)? != canonical(from) || endpoint(target)? != canonical(to) {
        return None;
    }
    let (uid, inode) = (fields.nth(4)?, fields.nth(1)?);
    // A socket that no process has open any more is shown as root's.
    if inode == "0" { None } else { uid.parse().ok() }
}

/// An end as the table has it: the address in words of the machine's own byte order, and the port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let address: IpAddr = match words?.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        words => Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into(),
    };
    Some(canonical(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?)))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn own() -> u32 {
        rustix::process::getuid().as_raw()
    }

    #[test]
    fn the_kernel_knows_the_owner_of_the_other_end() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let peer = Peer::new(remote, server.local_addr().unwrap());
            assert_eq!(peer.uid(), Some(own()), "{address}");
            drop(client);
            assert_eq!(peer.uid(), Some(own()), "it is looked up once");
            let late = Peer::new(remote, server.local_addr().unwrap());
            assert_eq!(late.uid(), None, "what nobody has open is nobody's, above all not root's");
        }
    }

    #[test]
    fn an_end_of_one_family_is_found_in_the_table_of_the_other() {
        let ends = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:50051".parse().unwrap());
        let local = u32::from_ne_bytes([127, 0, 0, 1]);
        let mapped = format!("0000000000000000{:08X}{local:08X}", u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        let line = |source: &str, inode: u32| {
            format!(
                "  5: {source}:9C40 {mapped}:C383 01 00000000:00000000 00:00000000 00000000  1000 0 {inode} 1 0"
            )
        };
        assert_eq!(owner(&line(&mapped, 77), ends.0, ends.1), Some(1000));
        assert_eq!(owner(&line(&mapped, 0), ends.0, ends.1), None);
        assert_eq!(owner(&line(&format!("{local:08X}"), 77), ends.0, ends.1), Some(1000));
        assert_eq!(owner(&line(&mapped, 77), ends.1, ends.0), None);
        assert_eq!(owner("nonsense", ends.0, ends.1), None);
    }
}
