//! `/proc/PID/maps`.

use accept_queue_core::vm::stack::Code;

pub(crate) fn fuzz(bytes: &[u8]) {
    let code = Code::parse(bytes).expect("bytes in memory are always read");
    let lines = bytes.split(|&byte| byte == b'\n').count();
    assert!(code.libraries().len() <= lines);
    assert!(!code.is_cut || lines > 1);
}
