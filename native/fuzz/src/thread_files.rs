//! Files of `/proc/PID/task/TID`: `syscall`, `stat`, `schedstat`, `wchan`.

use accept_queue_core::vm::threads::{Call, Role, Stat, scheduled, wait_channel};

pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(call) = Call::parse(bytes) {
        assert_eq!(call.stand().is_none(), call == Call::Running);
    }
    if let Some(stat) = Stat::parse(bytes) {
        assert!(bytes.len() > stat.began.to_string().len());
        let _ = Role::of(&stat.name);
        assert!(!stat.state.name().is_empty());
    }
    let _ = scheduled(bytes);
    assert!(wait_channel(bytes).is_none_or(|name| !name.is_empty()));
}
