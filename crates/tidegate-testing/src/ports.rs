//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// The range lies below Linux' ephemeral ports (32768…), also after [`TWIN`] is added.
const FIRST: u32 = 10_240;
const COUNT: u32 = 9_600;
/// `SeaweedFS` puts the gRPC port of a service this far above its HTTP port.
pub(crate) const TWIN: u16 = 10_000;

/// A port that is free now and that this process has not handed out before.
///
/// # Errors
///
/// When the whole range is taken.
pub fn free_port() -> Result<u16> {
    find(is_free)
}

/// Like [`free_port`], and the port [`TWIN`] above it is free too.
pub(crate) fn free_port_with_twin() -> Result<u16> {
    find(|port| is_free(port) && is_free(port + TWIN))
}

fn find(wanted: impl Fn(u16) -> bool) -> Result<u16> {
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    // Processes begin at different places, so that test binaries side by side rarely meet.
    let beginning = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + beginning.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 20,000");
        if wanted(port) {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_handed_out() {
        let taken = free_port().unwrap();
        let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
        assert!(!is_free(taken));
        assert_ne!(free_port().unwrap(), taken);
    }
}
