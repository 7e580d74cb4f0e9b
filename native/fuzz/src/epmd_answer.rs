//! The answer of epmd, or of another server on its port.

use accept_queue_core::vm::epmd::named;

pub(crate) fn fuzz(bytes: &[u8]) {
    match named(bytes) {
        Ok(nodes) => assert!(nodes.len() <= bytes.split(|&byte| byte == b'\n').count()),
        Err(_) => assert!(bytes.len() < 4),
    }
}
