//! Addresses for servers of tests that run at the same time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use uuid::Uuid;

/// A free port on a loopback address of its own. A port that is free now may be taken by another test before its server
/// listens; an address of 127.0.0.0/8 that was drawn by chance is nobody else's.
///
/// # Errors
///
/// If the system gives no port.
pub fn own_loopback() -> io::Result<SocketAddr> {
    loopback_with(0)
}

/// A loopback address of its own on which `port` is free; 0 stands for any port.
///
/// # Errors
///
/// If somebody listens on that port on all addresses.
pub fn loopback_with(port: u16) -> io::Result<SocketAddr> {
    let [a, b, c, ..] = Uuid::new_v4().into_bytes();
    // Not 127.0.0.x, where everybody is, and not the first or last of a network.
    let address = Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254));
    TcpListener::bind((address, port))?.local_addr()
}
