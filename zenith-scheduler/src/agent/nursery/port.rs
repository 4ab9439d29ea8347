//! Whether a port can be had right now.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use crate::agent::record::Refused;

/// Refused where somebody listens on the port, on whatever address: rendezvous servers listen on all of them.
pub(super) fn check(port: u32) -> Result<(), Refused> {
    let Ok(port) = u16::try_from(port) else {
        return Err(Refused::by_port(format!("there is no port {port}")));
    };
    // Asking for port 0 means that no rendezvous is needed.
    if port == 0 {
        return Ok(());
    }
    let outcome = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        // Without IPv6 there is the other half.
        Err(error) if !is_taken(&error) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        outcome => outcome,
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => Err(Refused::by_port(format!("port {port} is in use"))),
        Err(error) => Err(Refused::by_port(format!("port {port} cannot be listened on: {error}"))),
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_on_which_somebody_listens_is_taken_whatever_the_address() {
        for address in ["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0"] {
            let taken = TcpListener::bind(address).unwrap();
            let port = u32::from(taken.local_addr().unwrap().port());
            assert_eq!(check(port), Err(Refused::by_port(format!("port {port} is in use"))), "{address}");
        }
    }

    #[test]
    fn a_port_that_is_free_can_be_had() {
        let held = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let port = u32::from(held.local_addr().unwrap().port());
        drop(held);
        assert_eq!(check(port), Ok(()));
        assert_eq!(check(0), Ok(()));
        assert!(check(65_536).is_err());
    }
}
