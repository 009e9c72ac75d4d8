//! An address of loopback for each pod.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Where every pod of ours listens.
pub(crate) const PORT: u16 = 8080;
/// `127.1.0.0` to `127.255.255.255`; the first block is everybody's.
const FIRST: u32 = 0x7f01_0000;
const COUNT: u32 = 0x00ff_0000;

/// An address on which [`PORT`] is free and that this process has not handed out before.
pub(crate) fn free_address() -> Result<Ipv4Addr> {
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    // Test processes side by side begin at different places, some thousand addresses apart.
    let beginning = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::from(FIRST + beginning.wrapping_add(step) % COUNT);
        let usable = !matches!(address.octets()[3], 0 | 255);
        if usable && TcpListener::bind(SocketAddr::from((address, PORT))).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free address on loopback")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_are_of_loopback() {
        let (first, second) = (free_address().unwrap(), free_address().unwrap());
        assert!(first.is_loopback() && second.is_loopback() && first != second);
    }
}
